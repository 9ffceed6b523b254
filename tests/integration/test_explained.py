"""What the replicas write down together: outcomes, bars, modes, trips, delays, and what they delete again."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import capture_logs
from tests.integration.platform_rows import Platform

from common import model_registry, tables, trading_states
from common.alerts import recent_alerts
from common.core.trading_state import TradingState
from common.database import create_engine
from common.messages import FeatureVector, MarketSnapshot, TradingSignal, encode_signal
from common.model_registry import NewVersion
from common.modes import mode_changes
from common.processing_delay import processing_delay
from common.settings import DatabaseSettings
from common.signal_outbox import Claim
from common.trading_log import append_signal
from inference.bars import MinuteBars
from inference.core.reasons import Reason, Skip
from inference.delays import Delays
from inference.events import Event
from inference.modes import LIMIT_ACTOR, Modes
from inference.outcomes import Outcomes
from inference.rejections import BalanceRejections
from inference.retention import Retention
from inference.trips import Trips

NOW = datetime.now(UTC).replace(microsecond=0)
EXIT_BY_RULE = {"exit_strategy": True, "rule_triggered": "stop_loss"}


@pytest.fixture
async def platform(database_url):
    rows = Platform(database_url)
    await rows.open()
    return rows


@pytest.fixture
async def engine(database_url, platform):
    made = create_engine(DatabaseSettings(database_url=SecretStr(database_url)), application="test")
    yield made
    await made.dispose()


def vector(age_s=0.0, *, symbol="BTCUSDT", at=None):
    return FeatureVector(
        timestamp=at or NOW - timedelta(seconds=age_s),
        symbol=symbol,
        features={"mid_price": 100.0},
        feature_registry_version="1.0.0",
    )


def signal(strategy_id="momentum", symbol="BTCUSDT", **changes):
    return msgspec.structs.replace(
        TradingSignal(
            signal_id=uuid4(),
            signal_type="buy",
            symbol=symbol,
            amount=150.0,
            confidence=0.7,
            timestamp=datetime.now(UTC),
            strategy_id=strategy_id,
            market_data_snapshot=MarketSnapshot(price=100.0),
            model_version="v7",
            metadata={"reasoning": "because", "gates": {"rate": {"tokens": 3.0}}},
        ),
        **changes,
    )


async def intend(engine, *, count=1, feature_timestamp=None, **changes):
    """Intents that were published just now, each for a vector of its own unless one is given."""
    rows = [
        {
            "signal_id": uuid4(),
            "kind": "entry",
            "strategy_id": "momentum",
            "symbol": "BTCUSDT",
            "side": "buy",
            "amount_quote": Decimal(100),
            "payload": "{}",
            "trace_id": "t",
            "feature_timestamp": feature_timestamp or NOW - timedelta(seconds=number),
            "valid_until": NOW,
            "state": "published",
            "owner": "test",
            "lease_until": NOW,
        }
        | changes
        for number in range(count)
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(tables.signal_outbox), rows)
    return [row["signal_id"] for row in rows]


async def say(engine, scope, state, actor="operator"):
    async with engine.begin() as connection:
        await trading_states.store_state(connection, scope, TradingState(state), actor=actor, reason="I say")


async def said(engine):
    async with engine.connect() as connection:
        states = await trading_states.stored_states(connection)
        changes = await trading_states.state_changes(connection, None, 100)
        alerts = await recent_alerts(connection)
    return {scope: str(state) for scope, state in states.items()}, changes, alerts


async def execute(engine, statement, **values):
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


# Outcomes and bars


async def test_counts_of_two_replicas_add_up_and_the_newest_vector_is_the_latest_outcome(engine, platform):
    one, two = Outcomes("one"), Outcomes("two")
    stale = Skip(Reason.VECTOR_STALE, {"age_s": float("nan")})
    hold = Skip(Reason.HOLD, {"version": "v3", "lead": 0.01})
    for _ in range(3):
        two.note_skip("momentum", vector(90), stale, NOW)
    one.note_skip("momentum", vector(1), hold, NOW)
    one.note_skip("momentum", vector(95), stale, NOW)

    await one.flush(engine)
    await two.flush(engine)  # a backlog, worked off later

    [latest] = await platform.rows("SELECT * FROM latest_outcomes")
    counts = await platform.rows("SELECT reason, skips FROM skip_counts ORDER BY reason")
    assert (latest["reason"], latest["version"], latest["replica"]) == ("hold", "v3", "one")
    assert latest["feature_timestamp"] == vector(1).timestamp
    assert [(row["reason"], row["skips"]) for row in counts] == [("hold", 1), ("vector_stale", 4)]


async def test_a_signal_is_the_latest_outcome_with_its_figures_until_a_newer_vector(engine, platform):
    outcomes = Outcomes("one")
    emitted = signal()
    claim = Claim(
        signal_id=emitted.signal_id,
        body=encode_signal(emitted),
        trace_id="t",
        valid_until=NOW,
        entry_of="momentum",
        is_new=True,
    )

    outcomes.note_signal("momentum", vector(2), claim, NOW)
    await outcomes.flush(engine)
    [first] = await platform.rows("SELECT *, facts->>'reasoning' AS why FROM latest_outcomes")
    outcomes.note_skip("momentum", vector(1), Skip(Reason.SIGNAL_IN_FLIGHT, {}), NOW)
    await outcomes.flush(engine)
    [second] = await platform.rows("SELECT * FROM latest_outcomes")

    assert (first["outcome"], first["signal_id"], first["version"]) == ("signal", emitted.signal_id, "v7")
    assert (first["reason"], first["why"]) == (None, "because")
    assert (second["outcome"], second["reason"], second["signal_id"]) == ("skip", "signal_in_flight", None)


async def test_two_replicas_that_flush_at_once_lose_nothing(engine, platform):
    replicas = [Outcomes(f"replica-{n}") for n in range(4)]
    seen = [MinuteBars() for _ in replicas]
    symbols = [f"COIN{n}USDT" for n in range(20)]
    for number, (outcomes, bars) in enumerate(zip(replicas, seen, strict=True)):
        for symbol in symbols if number % 2 else symbols[::-1]:
            of = vector(number, symbol=symbol)
            outcomes.note_skip("momentum", of, Skip(Reason.HOLD, {}), NOW)
            bars.note(of, MarketSnapshot(price=100.0 + number))

    await asyncio.gather(*(each.flush(engine) for each in (*replicas, *seen)))

    [counted] = await platform.rows("SELECT sum(skips)::int AS n, count(*) AS rows FROM skip_counts")
    [newest] = await platform.rows("SELECT array_agg(DISTINCT replica) AS who FROM latest_outcomes")
    [bars] = await platform.rows("SELECT sum(vectors)::int AS n FROM minute_bars")
    assert (counted["n"], counted["rows"], bars["n"]) == (80, 20, 80)
    assert newest["who"] == ["replica-0"]


async def test_a_minute_bar_opens_with_the_earliest_and_closes_with_the_latest_of_all_replicas(
    engine, platform
):
    minute = NOW.replace(second=0)
    one, two = MinuteBars(), MinuteBars()
    for bars, second, price in ((one, 20, 101), (two, 5, 100), (two, 40, 97), (one, 30, 108), (one, 10, 99)):
        bars.note(vector(at=minute + timedelta(seconds=second)), MarketSnapshot(price=float(price)))

    await one.flush(engine)
    await two.flush(engine)
    two.note(vector(at=minute + timedelta(seconds=50)), MarketSnapshot(price=103.0))
    await two.flush(engine)

    [bar] = await platform.rows("SELECT * FROM minute_bars")
    assert [int(bar[name]) for name in ("open", "high", "low", "close")] == [100, 108, 97, 103]
    assert (bar["vectors"], bar["minute"]) == (6, minute)


# Trips


def trips_of(engine, signals_per_minute=5, frozen_predictions=10, **state):
    return Trips(
        engine, signals_per_minute=signals_per_minute, frozen_predictions=frozen_predictions, **state
    )


async def test_too_many_signals_halt_the_fleet_once_over_all_replicas(engine):
    await intend(engine, count=6)
    replicas = [trips_of(engine) for _ in range(4)]

    with capture_logs() as logged:
        await asyncio.gather(*(each.look() for each in replicas))
        await asyncio.gather(*(each.look() for each in replicas))

    states, changes, alerts = await said(engine)
    assert states == {"fleet": "HALTED"}
    assert [(each.actor, each.figures["entries"]) for each in changes] == [("automatic trip", 6)]
    assert [(each.kind, each.severity) for each in alerts] == [("too_many_signals", "critical")]
    tripped = [line for line in logged if line["event"] == Event.TRADING_TRIPPED]
    assert [line["log_level"] for line in tripped] == ["error"]


async def test_as_many_signals_as_allowed_exits_and_expired_ones_do_not_trip(engine):
    await intend(engine, count=5)
    await intend(engine, count=50, kind="exit", symbol="ETHUSDT")
    await intend(engine, count=50, state="expired", symbol="ETHUSDT")
    await intend(engine, count=50, created_at=NOW - timedelta(minutes=5), symbol="ETHUSDT")

    await trips_of(engine).look()

    assert await said(engine) == ({}, [], [])


async def test_a_released_trip_comes_back_only_on_new_evidence(engine):
    trips = trips_of(engine)
    await intend(engine, count=6)
    await trips.look()

    await say(engine, "fleet", "ACTIVE")
    await trips.look()
    released, _, [alert] = await said(engine)
    await intend(engine, count=6, feature_timestamp=None, symbol="ETHUSDT")
    await trips.look()
    again, changes, alerts = await said(engine)

    assert released == {"fleet": "ACTIVE"}
    assert alert.resolved_at is not None
    assert again == {"fleet": "HALTED"}
    assert [each.state for each in changes] == ["HALTED", "ACTIVE", "HALTED"]
    assert [each.resolved_at is None for each in alerts] == [True, False]


async def test_two_entries_for_one_vector_halt_the_fleet_and_are_named(engine):
    both = await intend(engine, count=2, feature_timestamp=NOW)

    await trips_of(engine).look()
    states, [change], [alert] = await said(engine)

    assert states == {"fleet": "HALTED"}
    assert alert.kind == "duplicate_signal"
    assert change.figures["ids"] == sorted(map(str, both))


@pytest.mark.parametrize(
    "other",
    [{"strategy_id": "reversal"}, {"symbol": "ETHUSDT"}, {"kind": "exit"}, {"state": "expired"}],
)
async def test_two_strategies_symbols_or_kinds_may_act_on_one_moment(engine, other):
    await intend(engine, feature_timestamp=NOW)
    await intend(engine, feature_timestamp=NOW, **other)

    await trips_of(engine).look()

    assert (await said(engine))[0] == {}


async def test_records_that_no_outbox_knows_are_found_as_well(engine):
    async with engine.begin() as connection:
        for _ in range(2):
            await append_signal(
                connection, signal(metadata={"feature_timestamp": "2026-03-01T12:00:00+00:00"})
            )

    await trips_of(engine).look()

    states, _, [alert] = await said(engine)
    assert (states, alert.kind) == ({"fleet": "HALTED"}, "duplicate_signal")


@pytest.mark.parametrize(
    ("statuses", "halts"),
    [
        (("filled", "pending"), True),
        (("filled", "rejected"), False),
        (("rejected", "rejected"), False),
        (("filled",), False),
    ],
)
async def test_two_orders_for_one_signal_halt_the_fleet(engine, platform, statuses, halts):
    [signal_id] = await intend(engine)
    for status in statuses:
        await platform.order("BTCUSDT", "Buy", status=status, signal_id=signal_id)

    await trips_of(engine).look()

    states, _, alerts = await said(engine)
    assert states == ({"fleet": "HALTED"} if halts else {})
    assert [each.kind for each in alerts] == (["duplicate_order"] if halts else [])


async def test_a_question_without_an_answer_does_not_keep_the_others_from_tripping(engine, platform):
    await intend(engine, count=6)
    await platform.execute("ALTER TABLE orders RENAME TO orders_of_before")

    with pytest.raises(SQLAlchemyError, match="orders"):
        await trips_of(engine).look()

    assert (await said(engine))[0] == {"fleet": "HALTED"}


async def test_a_mode_change_is_stored_where_its_signals_cannot_be_counted(engine, platform):
    await Modes({"momentum": 72.0}, engine).look()
    await platform.execute("ALTER TABLE trading_signals RENAME TO signals_of_before")
    await activate(engine)

    await Modes({"momentum": 72.0}, engine).look()

    [_, change] = await modes_of(engine)
    assert (change.mode, change.figures["former_mode_entries"]) == ("model", None)


async def test_a_frozen_model_reduces_its_strategy_and_a_release_needs_a_whole_new_run_to_trip(engine):
    trips = trips_of(engine, frozen_predictions=3)

    def predict(count, strategy_id="momentum"):
        for number in range(count):
            trips.output_seen(strategy_id, (float(number), 1.0), (0.2, 0.8))

    predict(3)
    predict(2, "reversal")
    await trips.look()
    tripped, _, [alert] = await said(engine)
    predict(2)
    await say(engine, "strategy:momentum", "ACTIVE")
    predict(2)
    await trips.look()
    released, _, _ = await said(engine)
    predict(3)
    await trips.look()
    again, changes, _ = await said(engine)

    assert tripped == {"strategy:momentum": "REDUCING"}
    assert (alert.kind, alert.scope) == ("model_output_frozen", "strategy:momentum")
    assert released == {"strategy:momentum": "ACTIVE"}
    assert again == {"strategy:momentum": "REDUCING"}
    assert len(changes) == 3


async def test_a_trip_never_loosens_what_an_operator_halted(engine):
    trips = trips_of(engine, frozen_predictions=2)
    await say(engine, "strategy:momentum", "HALTED")
    for number in range(3):
        trips.output_seen("momentum", (float(number),), (0.5,))

    await trips.look()

    states, changes, _ = await said(engine)
    assert states == {"strategy:momentum": "HALTED"}
    assert len(changes) == 1


# Modes


async def activate(engine, version="v1", strategy_id="momentum"):
    async with engine.begin() as connection:
        if await model_registry.find(connection, version) is None:
            new = NewVersion(
                version=version,
                strategy_id=strategy_id,
                model_type="xgboost",
                sha256="0" * 64,
                trained_at=NOW,
                training_duration_seconds=1,
                training_dataset_size=1000,
                training_config={},
                verdict="accepted",
                verdict_sentence="better",
                evidence={},
                run_id=uuid4(),
            )
            await model_registry.add(connection, new, [])
        await model_registry.activate(
            connection, version, strategy_id=strategy_id, actor="trainer", reason="it is better"
        )


async def deactivate(engine):
    async with engine.begin() as connection:
        await model_registry.deactivate(connection, "momentum", actor="operator", reason="it lost money")


async def modes_of(engine, strategy_id="momentum"):
    async with engine.connect() as connection:
        return (await mode_changes(connection, strategy_id))[::-1]


async def test_each_change_of_mode_is_stored_and_logged_once_over_the_replicas(engine):
    replicas = [Modes({"momentum": 72.0, "reversal": 72.0}, engine) for _ in range(3)]

    async def look():
        await asyncio.gather(*(each.look() for each in replicas))

    with capture_logs() as logged:
        await look()
        async with engine.begin() as connection:
            await append_signal(connection, signal(is_warmup=True))
            await append_signal(connection, signal(is_warmup=True, metadata={"exit_strategy": True}))
            await append_signal(connection, signal(is_warmup=True, metadata=EXIT_BY_RULE))
            await append_signal(connection, signal(strategy_id="reversal", is_warmup=True))
        await activate(engine)
        await look()
        await activate(engine, "v2")
        await look()
        await deactivate(engine)
        await look()
        await look()

    changes = await modes_of(engine)
    assert [(each.epoch, each.mode, each.version) for each in changes] == [
        (0, "warm_up", None),
        (1, "model", "v1"),
        (3, "warm_up", None),
    ]
    assert changes[1].reason == "trainer: it is better"
    assert changes[1].figures["former_mode"] == "warm_up"
    assert changes[1].figures["former_mode_entries"] == 2  # one of them reduced a position
    assert changes[2].figures["former_mode_hours"] >= 0
    assert [each.epoch for each in await modes_of(engine, "reversal")] == [0]
    logs = [line for line in logged if line["event"] == Event.MODE_CHANGED]
    assert sorted((line["strategy_id"], line["epoch"]) for line in logs) == [
        ("momentum", 0),
        ("momentum", 1),
        ("momentum", 3),
        ("reversal", 0),
    ]


async def test_what_changed_while_no_worker_ran_is_written_down_afterwards(engine):
    await activate(engine)
    await deactivate(engine)
    await activate(engine, "v2")

    await Modes({"momentum": 72.0}, engine).look()

    assert [(each.epoch, each.mode) for each in await modes_of(engine)] == [
        (1, "model"),
        (2, "warm_up"),
        (3, "model"),
    ]


@pytest.mark.parametrize(
    ("initial", "fleet", "stored"),
    [("HALTED", None, "HALTED"), ("HALTED", "ACTIVE", "REDUCING"), ("ACTIVE", None, "REDUCING")],
)
async def test_a_limited_warm_up_never_loosens_the_initial_trading_state(engine, initial, fleet, stored):
    modes = Modes({"momentum": 72.0}, engine, state_initial=TradingState(initial))
    if fleet:
        await say(engine, "fleet", fleet)

    await modes.look()
    await age_modes(engine, 73)
    await modes.look()

    states, _, _ = await said(engine)
    assert states["strategy:momentum"] == stored


@pytest.mark.parametrize(("initial", "stored"), [("HALTED", "HALTED"), ("ACTIVE", "REDUCING")])
async def test_a_frozen_model_never_loosens_the_initial_trading_state(engine, initial, stored):
    trips = trips_of(engine, frozen_predictions=2, state_initial=TradingState(initial))
    for number in range(2):
        trips.output_seen("momentum", (float(number), 1.0), (0.2, 0.8))

    await trips.look()

    states, _, _ = await said(engine)
    assert states == {"strategy:momentum": stored}


async def age_modes(engine, hours):
    await execute(engine, "UPDATE mode_changes SET changed_at = now() - make_interval(hours => :h)", h=hours)


async def test_a_warm_up_that_lasts_too_long_reduces_the_strategy_once_and_an_operator_is_heard(engine):
    replicas = [Modes({"momentum": 72.0, "reversal": 0.0}, engine) for _ in range(3)]

    async def look():
        await asyncio.gather(*(each.look() for each in replicas))

    await look()
    fresh, _, _ = await said(engine)
    await age_modes(engine, 73)
    await look()
    await look()
    limited, changes, [alert] = await said(engine)
    await say(engine, "strategy:momentum", "ACTIVE")
    await look()
    released, _, _ = await said(engine)

    assert fresh == {}
    assert limited == {"strategy:momentum": "REDUCING"}
    assert [each.actor for each in changes] == [LIMIT_ACTOR]
    assert (alert.kind, alert.scope, alert.resolved_at) == ("warmup_too_long", "strategy:momentum", None)
    assert released == {"strategy:momentum": "ACTIVE"}


async def test_a_model_ends_the_alert_and_the_next_warm_up_has_its_own_limit(engine):
    modes = Modes({"momentum": 72.0}, engine)
    await modes.look()
    await age_modes(engine, 73)
    await modes.look()
    await activate(engine)
    await modes.look()
    _, _, [alert] = await said(engine)
    await say(engine, "strategy:momentum", "ACTIVE")
    await deactivate(engine)
    await modes.look()
    fresh, _, _ = await said(engine)

    with capture_logs() as logged:
        await execute(engine, "UPDATE mode_changes SET changed_at = changed_at - interval '80 hours'")
        await execute(engine, "UPDATE alerts SET raised_at = raised_at - interval '200 hours'")
        await execute(
            engine, "UPDATE trading_state_changes SET changed_at = changed_at - interval '200 hours'"
        )
        await modes.look()

    again, _, _ = await said(engine)
    assert alert.resolved_at is not None
    assert fresh == {"strategy:momentum": "ACTIVE"}
    assert again == {"strategy:momentum": "REDUCING"}
    assert [line["event"] for line in logged] == [Event.WARM_UP_TOO_LONG]


# Delays and rejections


async def test_the_processing_delay_is_the_fleets_with_average_maximum_and_buckets(engine):
    for delay_s in (0.02, 0.07, 4.0, 400.0):
        await intend(
            engine,
            created_at=NOW - timedelta(minutes=10),
            published_at=NOW - timedelta(minutes=10) + timedelta(seconds=delay_s),
        )
    await intend(engine, state="expired")
    since = NOW - timedelta(hours=1)

    async with engine.connect() as connection:
        found = await processing_delay(connection, since)
        none = await processing_delay(connection, NOW + timedelta(hours=1))

    assert (found.total_signals, found.max_delay_seconds, found.last_reset) == (4, 400.0, since)
    assert found.average_delay_seconds == pytest.approx(101.0225)
    counted = {name: signals for name, signals in found.bucket_counts.items() if signals}
    assert counted == {"<0.05": 1, "<0.1": 1, "<5": 1, ">=300": 1}
    assert (none.total_signals, none.average_delay_seconds, none.max_delay_seconds) == (0, None, None)


async def test_late_signals_are_an_alert_until_none_is_late_any_more(engine):
    delays = Delays(engine, threshold_s=300)
    began = datetime.now(UTC) - timedelta(seconds=330)
    late = {"created_at": began, "published_at": began + timedelta(seconds=301)}
    await intend(engine, created_at=began, published_at=began + timedelta(seconds=299))
    await delays.look()
    _, _, before = await said(engine)

    await intend(engine, **late)
    await intend(engine, created_at=began, state="pending")
    await delays.look()
    _, _, [alert] = await said(engine)
    await execute(engine, "DELETE FROM signal_outbox WHERE published_at IS NULL")
    await execute(
        engine,
        "UPDATE signal_outbox SET created_at = created_at - interval '11 minutes',"
        " published_at = published_at - interval '11 minutes'",
    )
    await delays.look()
    _, _, [over] = await said(engine)

    assert before == []
    assert (alert.kind, alert.figures["signals"], alert.resolved_at) == ("processing_delay", 2, None)
    assert over.resolved_at is not None


async def test_entries_refused_for_want_of_balance_are_counted_with_their_amounts(engine, platform):
    entries = [signal() for _ in range(4)]
    async with engine.begin() as connection:
        for entry in entries:
            await append_signal(connection, entry)
        await append_signal(connection, signal(metadata=EXIT_BY_RULE))
    for entry, reason in zip(
        entries,
        ("Risk limit exceeded: Insufficient balance: 5 < 150", "Risk limit exceeded: Position size", None),
        strict=False,
    ):
        await platform.order("BTCUSDT", "Buy", status="rejected", signal_id=entry.signal_id)
        await platform.execute(
            "UPDATE orders SET rejection_reason = $1 WHERE signal_id = $2", reason, entry.signal_id
        )
    watch = BalanceRejections(engine)

    with capture_logs() as logged:
        found = await watch.look()
        await watch.look()

    assert (found.entries, found.refused, found.refused_quote) == (4, 1, Decimal(150))
    assert found.newest_signal_id == str(entries[0].signal_id)
    assert [line["event"] for line in logged] == [Event.ENTRIES_REFUSED_FOR_BALANCE]


# Retention


async def test_what_is_old_goes_and_what_somebody_still_needs_stays(engine, platform):
    def days(number):
        return NOW - timedelta(days=number)

    gone = await intend(engine, count=3, created_at=days(40))
    expired = await intend(engine, created_at=days(40), state="expired")
    newest_of_a_symbol = await intend(engine, created_at=days(60), symbol="ETHUSDT")
    newest_exit = await intend(engine, created_at=days(60), kind="exit")
    pending = await intend(engine, created_at=days(50), state="pending")
    recent = await intend(engine, created_at=days(29))
    for letter_days in ((91, 91), (91, 89), (89, 89)):
        await platform.execute(_OLD_LETTER, *map(days, letter_days))
    for table, column in (("skip_counts", "minute"), ("latest_outcomes", "decided_at")):
        for age in (91, 89):
            await platform.execute(_OLD_ROWS[table].replace("$when", column), days(age), f"S{age}USDT")

    retention = Retention(engine, outbox=timedelta(days=30), monitoring=timedelta(days=90))
    await asyncio.gather(retention.sweep(), retention.sweep())
    await retention.sweep()

    kept = {row["signal_id"] for row in await platform.rows("SELECT signal_id FROM signal_outbox")}
    assert kept == {*newest_of_a_symbol, *newest_exit, *pending, *recent}
    assert kept.isdisjoint({*gone, *expired})
    letters = await platform.rows("SELECT collected_at FROM dead_letters")
    assert [row["collected_at"] for row in letters] == [days(89)] * 2
    for table in _OLD_ROWS:
        assert [row["symbol"] for row in await platform.rows(f"SELECT symbol FROM {table}")] == ["S89USDT"]


async def test_more_than_a_batch_is_deleted_in_several(engine, platform, monkeypatch):
    monkeypatch.setattr("inference.retention.BATCH", 10)
    await platform.execute(
        "INSERT INTO minute_bars SELECT 'BTCUSDT', now() - interval '100 days' - n * interval '1 minute',"
        " 1, 1, 1, 1, now(), now(), 1 FROM generate_series(1, 45) AS n"
    )

    await Retention(engine, outbox=timedelta(days=30), monitoring=timedelta(days=90)).sweep()

    assert await platform.rows("SELECT 1 FROM minute_bars") == []


_OLD_LETTER = (
    "INSERT INTO dead_letters (letter_id, queue, service, reason, body, headers, trace_id, failed_at,"
    " collected_at) VALUES (gen_random_uuid(), 'features.live', 'inference', 'no', '', '{}', 't', $1, $2)"
)
_OLD_ROWS = {
    "skip_counts": "INSERT INTO skip_counts ($when, symbol, strategy_id, reason, skips)"
    " VALUES ($1, $2, 'momentum', 'hold', 1)",
    "latest_outcomes": "INSERT INTO latest_outcomes ($when, symbol, strategy_id, feature_timestamp, outcome,"
    " replica) VALUES ($1, $2, 'momentum', $1, 'skip', 'one')",
}
