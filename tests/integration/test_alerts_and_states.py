"""Alerts and trading states as every service stores them."""

import pytest
from pydantic import SecretStr

from common import alerts
from common.core.trading_state import TradingState
from common.database import create_engine
from common.settings import DatabaseSettings
from common.tables import trading_state_changes
from common.trading_states import store_state, stored_states, tighten_state


@pytest.fixture
async def engine(database_url):
    opened = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=2000),
        application="test",
    )
    yield opened
    await opened.dispose()


async def test_an_alert_is_one_row_until_it_is_over(engine):
    async with engine.begin() as connection:
        assert await alerts.raise_alert(connection, "frozen", "strategy:a", "it stands", figures={"n": 1})
        assert not await alerts.raise_alert(
            connection, "frozen", "strategy:a", "still", severity="critical", figures={"n": 2}
        )
        assert await alerts.raise_alert(connection, "frozen", "strategy:b", "it stands")

        first, second = sorted(await alerts.recent_alerts(connection), key=lambda alert: alert.scope)

    assert (first.sentence, first.severity, first.figures, first.sightings) == (
        "still",
        "critical",
        {"n": 2},
        2,
    )
    assert second.sightings == 1


async def test_an_alert_that_is_over_can_be_raised_anew(engine):
    async with engine.begin() as connection:
        await alerts.raise_alert(connection, "frozen", "fleet", "it stands")
        assert await alerts.resolve_alert(connection, "frozen", "fleet")
        assert not await alerts.resolve_alert(connection, "frozen", "fleet")
        assert await alerts.recent_alerts(connection, only_open=True) == []

        assert await alerts.raise_alert(connection, "frozen", "fleet", "again")

        assert len(await alerts.recent_alerts(connection)) == 2


async def test_a_trip_tightens_and_never_loosens_what_an_operator_set(engine):
    trip = {"actor": "trip", "reason": "too many signals"}
    async with engine.begin() as connection:
        assert await tighten_state(connection, "fleet", TradingState.REDUCING, **trip)
        await store_state(connection, "fleet", TradingState.HALTED, actor="me", reason="look first")

        assert not await tighten_state(connection, "fleet", TradingState.REDUCING, **trip)
        assert not await tighten_state(connection, "fleet", TradingState.HALTED, **trip)

        assert await stored_states(connection) == {"fleet": TradingState.HALTED}
        changes = (await connection.execute(trading_state_changes.select().order_by("change_id"))).all()

    assert [(change.state, change.actor) for change in changes] == [("REDUCING", "trip"), ("HALTED", "me")]
