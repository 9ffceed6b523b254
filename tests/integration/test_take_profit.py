"""Inference takes a profit by the exit worker's rule and claim: on a real database and broker."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from pydantic import SecretStr
from tests.integration.platform_rows import Platform

from common import bus, exits, topology
from common.core.exits.position import Price, Side, Tracked
from common.core.exits.step import step
from common.core.ids import exit_signal_id
from common.core.trading_state import EXITS, TradingState
from common.database import create_engine
from common.messages import FeatureVector, MarketSnapshot, TradingSignal
from common.position_manager import Position
from common.signal_outbox import Claim, Fate, SignalOutbox
from common.tables import position_lifecycles
from common.trading_states import store_state
from inference.core.reasons import Reason, Skip
from inference.settings import Settings
from inference.take_profit import TakeProfits


class Known:
    """A Position Manager's position as it is remembered."""

    def __init__(self):
        self.position = None

    def peek(self, symbol):
        return self.position


class Desk:
    """One replica's look at one position."""

    def __init__(self, settings, engine, outbox, known):
        self.settings = settings
        self.engine = engine
        self.outbox = outbox
        self.known = known
        self.profits = TakeProfits(settings, engine, outbox, known)

    async def hold(self, size="0.5", entry="100", *, row_size=None, **row):
        """A position is held, and a lifecycle shows it."""
        at = datetime.now(UTC) - timedelta(minutes=1)
        self.known.position = Position(
            symbol="BTCUSDT", size=Decimal(size), average_entry_price=Decimal(entry), last_updated=at
        )
        tracked = msgspec.structs.replace(
            Tracked(
                lifecycle_id=uuid4(),
                symbol="BTCUSDT",
                side=Side.of(Decimal(size)),
                opened_at=at,
                strategy_id="momentum",
                entry_price=Decimal(entry),
                size=Decimal(row_size or size),
                peak_price=Decimal(entry),
                newest_event_at=at,
            ),
            **row,
        )
        async with self.engine.begin() as connection:
            await connection.execute(position_lifecycles.insert(), msgspec.structs.asdict(tracked))
        return tracked

    async def see(self, price, *, profits=None):
        return await (profits or self.profits).consider(self._vector(price), MarketSnapshot(price=price))

    async def take(self, price):
        return await self.profits.take(self._vector(price), MarketSnapshot(price=price))

    def _vector(self, price):
        return FeatureVector(
            timestamp=datetime.now(UTC),
            symbol="BTCUSDT",
            features={"mid_price": price},
            feature_registry_version="1.0.0",
        )

    async def tracked(self):
        async with self.engine.begin() as connection:
            return await exits.locked(connection, "BTCUSDT")


@asynccontextmanager
async def opened(database_url, amqp_url, **changes):
    settings = Settings(
        database_url=SecretStr(database_url),
        rabbitmq_url=SecretStr(amqp_url),
        database_statement_timeout_ms=2000,
        **changes,
    )
    await Platform(database_url).open()
    engine = create_engine(settings, application="inference")
    broker = bus.create_broker(settings, service="inference")
    await bus.connect(broker, topology.TRADING_SIGNALS)
    try:
        yield Desk(settings, engine, SignalOutbox(engine, broker, owner="inference-1"), Known())
    finally:
        await broker.stop()
        await engine.dispose()


@pytest.fixture
async def desk(database_url, amqp_url):
    async with opened(database_url, amqp_url) as one:
        yield one


def signal_of(claim):
    return msgspec.json.decode(claim.body, type=TradingSignal)


async def test_nothing_is_due_while_nothing_is_held_or_the_target_is_not_passed(desk):
    assert await desk.see(200.0) is None

    tracked = await desk.hold()

    assert await desk.see(103.0) is None
    assert await desk.tracked() == tracked


@pytest.mark.parametrize(
    ("size", "price", "side", "amount"),
    [("0.5", 103.01, "sell", "51.50505151"), ("-0.5", 96.99, "buy", "48.49504850")],
)
async def test_a_position_above_its_target_is_closed_by_the_claim_of_the_exit_worker(
    desk, size, price, side, amount
):
    held = await desk.hold(size)

    claim = await desk.see(price)

    assert isinstance(claim, Claim)
    signal = signal_of(claim)
    assert signal.signal_id == exit_signal_id(held.lifecycle_id, "take_profit", 1, 1)
    assert (signal.signal_type, signal.confidence, signal.strategy_id) == (side, 1.0, "momentum")
    assert Decimal(repr(signal.amount)) == Decimal(amount)
    assert signal.metadata["exit_reason"] == "take_profit"
    assert signal.metadata["reason"] == "take_profit_triggered"
    assert signal.metadata["reduce_only"] is True
    latched = await desk.tracked()
    assert (latched.latched_rule, latched.stage, latched.generation) == ("take_profit", 1, 1)
    assert latched.exit_signal_id == signal.signal_id
    assert await desk.outbox.publish(claim) is Fate.PUBLISHED


async def test_a_confirmed_exit_begins_its_cooldown_and_stands_in_the_record(desk):
    await desk.hold()

    outcome = await desk.take(104.0)

    assert outcome.reason is Reason.TAKE_PROFIT_TRIGGERED
    assert outcome.facts["fate"] == Fate.PUBLISHED
    assert (await desk.tracked()).last_exit_at is not None
    assert await desk.take(105.0) == await desk.see(105.0)


async def test_a_latched_position_is_not_closed_again_and_not_added_to(desk):
    await desk.hold()
    await desk.see(104.0)

    again = await desk.see(105.0)

    assert isinstance(again, Skip)
    assert again.reason is Reason.TAKE_PROFIT_DUE
    assert again.facts["problem"] == "take_profit is latched already"


async def test_of_many_who_see_the_profit_at_once_one_claims_it(desk):
    await desk.hold()
    peers = [TakeProfits(desk.settings, desk.engine, desk.outbox, desk.known) for _ in range(6)]

    outcomes = await asyncio.gather(*(desk.see(104.0, profits=peer) for peer in peers))

    assert sum(isinstance(outcome, Claim) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Skip) for outcome in outcomes) == 5


@pytest.mark.parametrize(
    "behind", [{"row_size": "0.4"}, {"newest_event_at": datetime.now(UTC) - timedelta(hours=1)}], ids=str
)
async def test_a_row_that_does_not_show_the_position_as_it_is_only_stops_the_entry(desk, behind):
    before = await desk.hold(**behind)

    outcome = await desk.see(104.0)

    assert isinstance(outcome, Skip)
    assert outcome.reason is Reason.TAKE_PROFIT_DUE
    assert await desk.tracked() == before


async def test_a_ladder_closes_its_stage_once_and_lets_entries_pass_below_the_next(database_url, amqp_url):
    async with opened(database_url, amqp_url, take_profit_ladder="3:50,5:100") as desk:
        await desk.hold("1", stage=1)

        assert await desk.see(104.0) is None
        claim = await desk.see(105.1)

        assert signal_of(claim).metadata["stage"] == 2


async def test_a_position_that_nobody_here_opened_has_the_strictest_target_of_all(
    database_url, amqp_url, tmp_path
):
    tables = tmp_path / "strategies.toml"
    tables.write_text(
        '[momentum]\ntake_profit_ladder = "2:50,5:100"\n\n[reversal]\nmodel_service_take_profit_pct = 4\n'
    )
    async with opened(
        database_url, amqp_url, trading_strategies=("momentum", "reversal"), strategies_file=tables
    ) as desk:
        await desk.hold("1", strategy_id="unattributed")

        assert await desk.see(102.0) is None
        claim = await desk.see(102.1)

        assert signal_of(claim).metadata["size"] == "1"


async def test_halted_exits_stay_latched_until_an_operator_lets_them_go(desk):
    await desk.hold()
    async with desk.engine.begin() as connection:
        await store_state(connection, EXITS, TradingState.HALTED, actor="me", reason="maintenance")

    outcome = await desk.see(104.0)

    assert (outcome.reason, outcome.facts["problem"]) == (Reason.TAKE_PROFIT_DUE, "exits_halted")
    assert (await desk.tracked()).latched_rule == "take_profit"


@pytest.mark.parametrize("off", ["take_profit_enabled", "exit_strategy_enabled"])
async def test_switched_off_nothing_is_due(database_url, amqp_url, off):
    async with opened(database_url, amqp_url, **{off: False}) as desk:
        await desk.hold()

        assert await desk.see(200.0) is None


async def test_inference_and_the_exit_worker_decide_the_same_of_the_same_price(desk):
    held = await desk.hold()
    now = datetime.now(UTC)
    rules = exits.Rules(take_profit=desk.settings.take_profit())
    after, _, _ = step(
        held, Price(value=Decimal(104), seen_at=now, source="price_seen"), rules, now, timedelta(minutes=1)
    )

    await desk.see(104.0)

    found = await desk.tracked()
    assert (found.latched_rule, found.stage, found.peak_price) == (
        after.latched_rule,
        after.stage,
        after.peak_price,
    )
