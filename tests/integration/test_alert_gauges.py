"""What the alert rules ask for, shown by the services as it happens."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import insert, update
from tests.integration.exit_fleet import exit_fleet
from tests.unit.inference.cases import NOW, vector

from common import tables
from common.database import create_engine
from common.settings import DatabaseSettings
from inference.core.reasons import Reason, Skip
from inference.delays import Delays
from inference.outcomes import Outcomes
from trainer.queue_watch import QueueWatch

shown = REGISTRY.get_sample_value


@pytest.fixture
async def engine(database_url):
    engine = create_engine(DatabaseSettings(database_url=database_url), application="test")
    yield engine
    await engine.dispose()


def test_a_strategy_shows_when_it_decided_last_from_the_start_on():
    began = datetime.now(UTC).timestamp()
    strategy = {"strategy_id": "of-this-test"}
    outcomes = Outcomes("here", ["of-this-test"])
    at_start = shown("flotilla_decision_timestamp_seconds", strategy)
    outcomes.note_skip("of-this-test", vector(), Skip(Reason.HOLD, {}), NOW)

    assert at_start >= began
    assert shown("flotilla_decision_timestamp_seconds", strategy) == NOW.timestamp()


def test_delays_are_counted_from_zero_so_that_the_first_late_signal_is_an_increase(engine):
    Delays(engine, 300, ["waits-for-its-first"])

    of = {"strategy_id": "waits-for-its-first"}
    assert shown("flotilla_signal_processing_delay_seconds_count", of) == 0


async def test_a_strategy_is_failing_until_its_last_training_has_not_failed(engine):
    watch = QueueWatch(engine)
    run = {
        "run_id": uuid4(),
        "strategy_id": "fails",
        "symbol": "BTCUSDT",
        "trigger": "manual",
        "priority": "HIGH",
        "state": "failed",
        "reason": "no dataset",
        "finished_at": datetime.now(UTC),
        "trace_id": "t",
    }
    async with engine.begin() as connection:
        await connection.execute(insert(tables.training_runs).values(run))
    await watch.tick()
    failing = shown("flotilla_training_failing", {"strategy_id": "fails"})
    async with engine.begin() as connection:
        await connection.execute(update(tables.training_runs).values(state="rejected"))
    await watch.tick()

    assert failing == 1
    assert shown("flotilla_training_failing", {"strategy_id": "fails"}) == 0


async def test_an_exit_shows_how_long_it_waits_for_its_fill(database_url, amqp_url, tmp_path):
    stop, target = {"rule": "stop_loss"}, {"rule": "take_profit"}
    async with exit_fleet(database_url, amqp_url, tmp_path) as fleet, fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await peer.sweep.watch_silence()
        before = shown("flotilla_exit_unanswered_seconds", stop)
        await fleet.seen(peer, "BTCUSDT", "97")
        await fleet.signal()
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET latched_at = latched_at - $1::interval", timedelta(seconds=40)
        )
        await peer.sweep.watch_silence()
        waited_s = shown("flotilla_exit_unanswered_seconds", stop)
        await fleet.closed("BTCUSDT")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NOT NULL")
        await peer.sweep.watch_silence()

        assert before == 0
        assert timedelta(seconds=40) <= timedelta(seconds=waited_s) < timedelta(seconds=60)
        assert shown("flotilla_exit_unanswered_seconds", stop) == 0
        assert shown("flotilla_exit_unanswered_seconds", target) == 0
