"""Inference on a real broker and database: what is decided, and what the fleet agrees on."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import aio_pika
import msgspec
import pytest
from pydantic import SecretStr
from tests.integration.platform_rows import Platform
from tests.unit.inference.cases import LIMITS

from common import bus, topology
from common.core.ids import entry_signal_id
from common.core.rate_limit import Rate
from common.core.trading_state import TradingState
from common.database import create_engine
from common.errors import TryAgain
from common.messages import FeatureVector, TradingSignal
from common.position_manager import Booked, Position
from common.settings import BusSettings, DatabaseSettings
from common.signal_outbox import SignalOutbox
from inference import emission
from inference.admission import Admission
from inference.core.model import ModelPolicy
from inference.core.snapshot import SnapshotFeatures
from inference.core.warmup import WarmUp
from inference.holdings import Holdings
from inference.models import Serving
from inference.outcomes import Outcomes
from inference.policy import Policy
from inference.proposals import Proposals
from inference.worker import Listeners, Worker
from sandbox.core.order_rules import Malformed, validate

WARM_UP = WarmUp(
    enabled=True,
    min_amount_quote=Decimal(100),
    max_amount_quote=Decimal(200),
    randomness=0.0,
    signals_per_minute=60_000,
)
FALLING = {"returns_1s": -0.001}
RISING = {"returns_1s": 0.001}


def policy(**changes):
    return msgspec.structs.replace(
        Policy(
            state_initial=TradingState.ACTIVE,
            sharing=("momentum",),
            limits=LIMITS,
            warm_up=WARM_UP,
            model=ModelPolicy(
                min_amount_quote=Decimal(100),
                max_amount_quote=Decimal(200),
                probability_lead=0.05,
                confidence_threshold=None,
                cost_aware=False,
                round_trip_rate=0.003,
            ),
        ),
        **changes,
    )


def limits(**changes):
    return msgspec.structs.replace(LIMITS, **changes)


@pytest.fixture
async def platform(database_url):
    rows = Platform(database_url)
    await rows.open()
    return rows


class Same:
    """The same policy for every symbol and every one of some strategies."""

    stale_warning_s = 30.0
    snapshot_features = SnapshotFeatures()

    def __init__(self, policy, strategies=("momentum",)):
        self.limits = policy.limits
        self._policy = policy
        self._strategies = strategies

    def strategies_of(self, symbol):
        return self._strategies

    def of(self, strategy_id, symbol):
        return self._policy


class NoModels:
    """A registry without any version."""

    def of(self, strategy_id):
        return Serving(active=None, loaded=None)


class Held:
    """The Position Manager's answer: a size for every symbol, or none at all."""

    def __init__(self, size="0", others=(), booked_at=None):
        self.size = size
        self.others = others
        self.booked_at = booked_at
        self.asked = 0
        self.asked_anew = 0

    def peek(self, symbol):
        return None

    async def booked(self, symbol, *, anew=False):
        self.asked += 1
        if self.size is None:
            raise TryAgain("the Position Manager sleeps")
        self.asked_anew += anew
        at = self.booked_at or datetime.now(UTC)
        size = Decimal(self.size)
        position = Position(symbol=symbol, size=size, last_updated=at) if size else None
        return Booked(position=position, booked_at=at)

    async def everything(self):
        return {each.symbol: Booked(position=each, booked_at=each.last_updated) for each in self.others}


class NoProfit:
    """Nothing is above its target."""

    async def take(self, vector, snapshot):
        return None


@asynccontextmanager
async def replica(database_url, amqp_url, configured, name="replica-1", held=None, models=None, **parts):
    engine = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=2000),
        application=name,
    )
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service=name)
    await bus.connect(broker, topology.TRADING_SIGNALS)
    try:
        yield assembled(configured, engine, broker, models or NoModels(), held or Held(), name=name, **parts)
    finally:
        await broker.stop()
        await engine.dispose()


def assembled(
    configured,
    engine,
    broker,
    models,
    held,
    *,
    name="test",
    prices=None,
    traded=None,
    held_symbols=(),
    screened=(),
    proposals=None,
):
    """A worker of these parts; `configured` is one policy for all, or policies."""
    policies = Same(configured) if isinstance(configured, Policy) else configured
    outbox = SignalOutbox(engine, broker, owner=name)
    holdings = Holdings(held)
    return Worker(
        policies,
        proposals or Proposals(models),
        Admission(engine, outbox, holdings),
        outbox,
        Outcomes(name),
        take_profit=NoProfit(),
        traded=lambda: traded,
        is_held=lambda symbol: symbol in held_symbols,
        known_price=lambda symbol: None,
        listeners=Listeners(priced=(prices.note,) if prices else (), screened=(holdings.note, *screened)),
    )


@pytest.fixture
async def worker(database_url, amqp_url, platform):
    async with replica(database_url, amqp_url, policy()) as one:
        yield one


def vector(symbol="BTCUSDT", price=100.0, age_s=0.0, at=None, **features):
    return FeatureVector(
        timestamp=at or datetime.now(UTC) - timedelta(seconds=age_s),
        symbol=symbol,
        features={"mid_price": price, "spread_rel": 0.0004, **(features or FALLING)},
        feature_registry_version="1.0.0",
    )


async def feed(worker, *, symbol="BTCUSDT", price=100.0, **features):
    """A vector of a market that has just moved."""
    await worker.on_vector(vector(symbol, price - 0.01, age_s=0.5, **features), redelivered=False)
    newest = vector(symbol, price, **features)
    await worker.on_vector(newest, redelivered=False)
    return newest


async def signals_on_the_wire(amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("model-service.trading_signals", durable=True)
        found = []
        while message := await queue.get(fail=False, no_ack=True):
            found.append((message, msgspec.json.decode(message.body, type=TradingSignal)))
        return found


async def skips(worker, platform, engine=None):
    await worker._outcomes.flush(worker._admission._engine)
    rows = await platform.rows("SELECT reason, sum(skips)::int AS n FROM skip_counts GROUP BY reason")
    return {row["reason"]: row["n"] for row in rows}


async def test_a_moving_market_becomes_a_signal_published_recorded_and_acceptable(worker, platform, amqp_url):
    moved = await feed(worker)

    [(message, signal)] = await signals_on_the_wire(amqp_url)
    [outbox] = await platform.rows("SELECT * FROM signal_outbox")
    [logged] = await platform.rows("SELECT * FROM trading_signals")
    assert signal.signal_id == entry_signal_id("momentum", "BTCUSDT", moved.timestamp)
    assert not isinstance(validate(msgspec.json.decode(message.body)), Malformed)
    assert message.message_id == str(signal.signal_id) == str(logged["signal_id"])
    assert message.headers["trace_id"] == signal.trace_id == logged["trace_id"] == outbox["trace_id"]
    assert 0 < message.expiration <= 5
    assert outbox["state"] == "published"
    assert (logged["side"], logged["is_warmup"], logged["price"]) == ("buy", True, Decimal(100))
    assert logged["amount_quote"] == Decimal(repr(signal.amount))
    assert set(signal.metadata["gates"]) >= {"balance", "rate", "open_order"}


async def test_a_vector_that_comes_again_gives_no_second_signal(worker, platform, amqp_url):
    moved = await feed(worker)

    await worker.on_vector(moved, redelivered=True)
    await worker.on_vector(moved, redelivered=False)

    assert len(await signals_on_the_wire(amqp_url)) == 1
    assert (await skips(worker, platform))["vector_already_decided"] == 2


async def test_a_vector_from_the_future_does_not_silence_those_that_follow(worker, platform, amqp_url):
    await worker.on_vector(vector(age_s=-3600), redelivered=False)

    await feed(worker)

    assert (await skips(worker, platform))["vector_from_future"] == 1
    assert len(await signals_on_the_wire(amqp_url)) == 1


async def test_of_a_symbol_that_is_held_and_no_longer_traded_only_the_price_counts(
    database_url, amqp_url, platform
):
    seen = []
    parts = {
        "traded": frozenset({"ETHUSDT"}),
        "held_symbols": ("BTCUSDT",),
        "screened": (lambda vector, snapshot: seen.append((vector.symbol, snapshot.price)),),
    }
    async with replica(database_url, amqp_url, policy(), **parts) as one:
        await feed(one, symbol="BTCUSDT", price=100.0)
        await feed(one, symbol="SOLUSDT", price=50.0)

        assert seen == [("BTCUSDT", 100.0)]
        assert await skips(one, platform) == {"not_selected": 4}
        assert await signals_on_the_wire(amqp_url) == []


async def test_an_unfinished_intent_of_a_dead_worker_is_published_as_it_was(
    worker, platform, amqp_url, database_url
):
    moved = await feed(worker)
    [(_, first)] = await signals_on_the_wire(amqp_url)
    await platform.execute("UPDATE signal_outbox SET state = 'pending', published_at = NULL, owner = 'dead'")
    await platform.execute("DELETE FROM trading_signals")

    async with replica(database_url, amqp_url, policy(), "replica-2") as other:
        await other.on_vector(moved, redelivered=True)

    [(_, again)] = await signals_on_the_wire(amqp_url)
    [outbox] = await platform.rows("SELECT state, owner FROM signal_outbox")
    assert again == first
    assert outbox == {"state": "published", "owner": "replica-2"}
    assert len(await platform.rows("SELECT 1 FROM trading_signals")) == 1


@pytest.mark.parametrize(("has_order", "ends"), [(False, "expired"), (True, "published")])
async def test_the_relay_ends_what_nobody_finished(worker, platform, amqp_url, has_order, ends):
    await feed(worker)
    [(_, signal)] = await signals_on_the_wire(amqp_url)
    await platform.execute(
        "UPDATE signal_outbox SET state = 'pending', published_at = NULL, owner = 'dead',"
        " lease_until = now() - interval '1 second', valid_until = now() - interval '1 second'"
    )
    await platform.execute("DELETE FROM trading_signals")
    if has_order:
        await platform.order("BTCUSDT", "Buy", signal_id=signal.signal_id)

    assert await worker._outbox.relay("exit") == 0
    assert await worker._outbox.relay("entry") == 1

    [outbox] = await platform.rows("SELECT state, reason FROM signal_outbox")
    assert outbox["state"] == ends
    assert (outbox["reason"] is None) == has_order
    assert len(await platform.rows("SELECT 1 FROM trading_signals")) == has_order
    assert await signals_on_the_wire(amqp_url) == []


async def test_the_relay_leaves_a_live_lease_alone(worker, platform):
    await feed(worker)
    await platform.execute("UPDATE signal_outbox SET state = 'pending', owner = 'busy'")

    assert await worker._outbox.relay("entry") == 0


async def test_a_sell_sells_what_is_held_and_no_more(database_url, platform, amqp_url):
    async with replica(database_url, amqp_url, policy(), held=Held("0.75")) as worker:
        await feed(worker, **RISING)

    [(_, signal)] = await signals_on_the_wire(amqp_url)
    assert signal.signal_type == "sell"
    assert signal.amount == 75.0


@pytest.mark.parametrize("direction", [RISING, FALLING])
async def test_an_unknown_position_stops_every_entry(database_url, platform, amqp_url, direction):
    async with replica(database_url, amqp_url, policy(), held=Held(None)) as worker:
        await feed(worker, **direction)

        assert (await skips(worker, platform))["position_unknown"] == 1
    assert await signals_on_the_wire(amqp_url) == []


async def test_a_state_that_changes_while_a_decision_is_made_is_honoured(
    database_url, platform, amqp_url, monkeypatch
):
    emitting = emission.emitting

    def halted_first(*arguments):
        return _after(
            platform.execute("INSERT INTO trading_states VALUES ('fleet', 'HALTED', 'me', 'now', now())"),
            emitting(*arguments),
        )

    monkeypatch.setattr(emission, "emitting", halted_first)
    async with replica(database_url, amqp_url, policy()) as worker:
        await feed(worker)

        assert (await skips(worker, platform))["trading_halted"] == 1
    assert await signals_on_the_wire(amqp_url) == []


@asynccontextmanager
async def _after(first, then):
    await first
    async with then as entered:
        yield entered


async def test_nothing_held_is_nothing_to_sell(worker, platform, amqp_url):
    await feed(worker, **RISING)

    assert await signals_on_the_wire(amqp_url) == []
    assert (await skips(worker, platform))["would_open_short"] == 1


@pytest.mark.parametrize(
    ("strategy_of_the_order", "reason"),
    [("momentum", "open_order"), (None, "open_order"), ("another", None)],
)
async def test_an_open_order_counts_for_its_strategy_and_an_unknown_one_for_all(
    worker, platform, amqp_url, strategy_of_the_order, reason
):
    await platform.order("BTCUSDT", "Buy", status="pending", signal_id=UUID(int=1))
    if strategy_of_the_order:
        await platform.execute(
            "INSERT INTO trading_signals (signal_id, strategy_id, asset, side, price, confidence, timestamp)"
            " VALUES ($1, $2, 'BTCUSDT', 'buy', 1, 0.5, now())",
            UUID(int=1),
            strategy_of_the_order,
        )

    await feed(worker)

    assert (reason in await skips(worker, platform)) == bool(reason)
    assert len(await signals_on_the_wire(amqp_url)) == (0 if reason else 1)


@pytest.mark.parametrize("scope", ["fleet", "strategy:momentum"])
async def test_a_halted_fleet_or_strategy_sends_nothing(worker, platform, amqp_url, scope):
    await platform.execute(
        "INSERT INTO trading_states VALUES ($1, 'HALTED', 'operator', 'first day', now())", scope
    )

    await feed(worker)

    assert await signals_on_the_wire(amqp_url) == []
    assert "trading_halted" in await skips(worker, platform)


async def test_the_symbols_previous_signal_must_be_answered_first(worker, platform, amqp_url):
    await feed(worker)
    await feed(worker)
    assert len(await signals_on_the_wire(amqp_url)) == 1
    assert "signal_in_flight" in await skips(worker, platform)

    [intent] = await platform.rows("SELECT signal_id FROM signal_outbox")
    await platform.order("BTCUSDT", "Buy", signal_id=intent["signal_id"])
    await feed(worker)

    assert len(await signals_on_the_wire(amqp_url)) == 1


async def test_signals_in_flight_do_not_spend_the_same_balance(worker, platform, amqp_url):
    await platform.balance("150")

    await feed(worker, symbol="BTCUSDT")
    await feed(worker, symbol="ETHUSDT")

    spent = sum(signal.amount for _, signal in await signals_on_the_wire(amqp_url))
    assert spent * 1.0015 <= 150 * 0.95
    assert len(await platform.rows("SELECT 1 FROM signal_outbox")) >= 1


async def test_a_database_that_does_not_answer_stops_entries_not_the_stream(amqp_url):
    away = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    async with replica(away, amqp_url, policy()) as worker:
        await feed(worker)

        counted = {reason: n for (_, _, _, reason), n in worker._outcomes._counts.items()}
    assert counted["database_unavailable"] == 1
    assert await signals_on_the_wire(amqp_url) == []


async def test_the_rate_limit_is_exact_over_replicas(database_url, amqp_url, platform):
    symbols = [f"COIN{n}USDT" for n in range(30)]
    configured = policy(limits=limits(rate=Rate(per_minute=0.001, burst=7)))
    async with (
        replica(database_url, amqp_url, configured, "replica-1") as one,
        replica(database_url, amqp_url, configured, "replica-2") as two,
    ):
        await asyncio.gather(*(feed(worker, symbol=symbol) for worker in (one, two) for symbol in symbols))

        assert len(await signals_on_the_wire(amqp_url)) == 7
        assert len(await platform.rows("SELECT 1 FROM trading_signals")) == 7


async def test_one_warm_up_signal_fits_into_a_slot_of_the_whole_fleet(database_url, amqp_url, platform):
    configured = policy(warm_up=msgspec.structs.replace(WARM_UP, signals_per_minute=0.01))
    async with (
        replica(database_url, amqp_url, configured, "replica-1") as one,
        replica(database_url, amqp_url, configured, "replica-2") as two,
    ):
        await asyncio.gather(
            *(feed(worker, symbol=f"COIN{n}USDT") for worker in (one, two) for n in range(10))
        )

    assert len(await signals_on_the_wire(amqp_url)) == 1


async def test_no_replica_signals_on_a_vector_older_than_one_already_traded(database_url, amqp_url, platform):
    quick = policy(limits=limits(in_flight_timeout_s=0))
    async with (
        replica(database_url, amqp_url, quick, "replica-1") as one,
        replica(database_url, amqp_url, quick, "replica-2") as two,
    ):
        now = datetime.now(UTC)
        await two.on_vector(vector(price=99.0, at=now - timedelta(seconds=3)), redelivered=False)
        await feed(one)
        await two.on_vector(vector(price=98.0, at=now - timedelta(seconds=2)), redelivered=False)

        assert len(await signals_on_the_wire(amqp_url)) == 1
        assert (await skips(two, platform))["newer_signal_exists"] == 1


async def test_skip_counts_add_up_over_replicas(database_url, amqp_url, platform):
    async with (
        replica(database_url, amqp_url, policy(), "replica-1") as one,
        replica(database_url, amqp_url, policy(), "replica-2") as two,
    ):
        for worker in (one, two, two):
            await worker.on_vector(vector(age_s=100), redelivered=False)
        await one._outcomes.flush(one._admission._engine)

        assert (await skips(two, platform))["vector_stale"] == 3
