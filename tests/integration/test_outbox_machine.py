"""The outbox against a table in memory: processes die at any step, answers are lost, the database is away."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, insert, select, text
from tests.integration.stepped_database import stepped
from tests.machines import repeatable

from common.core.trading_state import FLEET, TradingState
from common.messages import MarketSnapshot, TradingSignal
from common.signal_outbox import Claim, Fate, SignalOutbox
from common.tables import orders, signal_outbox, trading_signals, trading_states
from common.trading_states import store_state
from sandbox.platform_schema import create_platform_tables

VALID_S = 70
SHORTLY_S = 0.3
PASSING = text(
    "UPDATE signal_outbox SET created_at = created_at - make_interval(secs => :seconds),"
    " lease_until = lease_until - make_interval(secs => :seconds),"
    " valid_until = valid_until - make_interval(secs => :seconds)"
)
KINDS = ("entry", "exit")
# What each attempt to publish comes to; the last one ends it.
ATTEMPTS = (
    ("confirmed",),
    ("dies before",),
    ("dies after",),
    ("confirmed, database away",),
    ("away", "confirmed"),
    ("unknown, arrived", "confirmed"),
    ("unknown, lost", "dies before"),
)
QUICK, SLOW = ATTEMPTS[:4], ATTEMPTS[4:]
HOPELESS = (("away",), ("unknown, arrived",), ("unknown, lost",))
attempts = st.sampled_from([*QUICK, *QUICK, *SLOW])
first_attempts = st.sampled_from([(), *QUICK, (), *QUICK, *SLOW, *HOPELESS])


class Died(Exception):
    """The process is gone."""


class Neighbours:
    """The broker, and the line to the database, as far as the script of this step lets them answer."""

    def __init__(self):
        self.script = []
        self.wire = []
        self.engine = None
        self.database_is_up = True

    async def publish(self, message, *, routing_key, mandatory):
        outcome = self.script.pop(0)
        if outcome in {"confirmed", "dies after", "confirmed, database away", "unknown, arrived"}:
            assert mandatory
            assert 0 < message.expiration <= VALID_S
            self.wire.append((message.message_id, message.body))
        if outcome.startswith("dies"):
            raise Died
        if outcome.startswith("unknown"):
            raise TimeoutError
        if outcome == "away":
            raise ConnectionError
        self.database_is_up = outcome == "confirmed"

    @asynccontextmanager
    async def begin(self):
        if not self.database_is_up:
            raise ConnectionRefusedError
        async with self.engine.begin() as connection:
            yield connection

    connect = begin


class Intent:
    """One signal as the model sees it."""

    def __init__(self, signal, kind, left_s):
        self.signal = signal
        self.kind = kind
        self.left_s = left_s
        self.state = Fate.PENDING
        self.is_leased = True
        self.has_order = False
        self.sent = 0

    def ends(self, fate):
        if fate is Fate.PUBLISHED or self.state is Fate.PENDING:
            self.state = fate
        return fate


class Outbox(RuleBasedStateMachine):
    """Workers claim, publish, die and come back; the relay finishes what they left."""

    database = None

    def __init__(self):
        super().__init__()
        self.intents = {}
        self.held = []
        self.trading_state = TradingState.ACTIVE
        self.neighbours = Neighbours()
        self.neighbours.engine = self.database.engine
        self.outbox = SignalOutbox(self.neighbours, self.neighbours, owner="worker")
        for table in (signal_outbox, trading_signals, trading_states, orders):
            self.database.ask(lambda connection, table=table: connection.execute(delete(table)))

    @rule(kind=st.sampled_from(KINDS), script=first_attempts)
    def a_signal_is_decided(self, kind, script):
        intent, claim = self.claimed(kind, SHORTLY_S if script in HOPELESS else VALID_S)
        if script in HOPELESS:
            self.publishes_until_it_is_of_no_use(intent, claim, script)
        elif script:
            self.publishes(intent, claim, script)

    @precondition(lambda self: self.intents)
    @rule(data=st.data())
    def it_is_decided_again_or_by_one_who_dies_before_the_commit(self, data):
        intent = self.some_intent(data)
        new = Intent(signal(), intent.kind, VALID_S)

        async def dies(connection):
            await self.claim(connection, new)
            raise Died

        assert self.database.ask(lambda connection: self.claim(connection, intent)) is None
        with pytest.raises(Died):
            self.database.ask(dies)
        assert self.database.run(self.outbox.resume(new.signal.signal_id)) is None

    @precondition(lambda self: self.intents)
    @rule(data=st.data(), script=attempts | st.just(()))
    def its_input_comes_again(self, data, script):
        intent = self.some_intent(data)

        answer = self.database.run(self.outbox.resume(intent.signal.signal_id))

        if intent.state is not Fate.PENDING:
            assert answer is intent.state
            return
        intent.is_leased = True
        if intent.has_order:
            assert answer is intent.ends(Fate.PUBLISHED)
            return
        assert isinstance(answer, Claim)
        self.held.append((intent, answer))
        if script:
            self.publishes(intent, answer, script)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), script=attempts)
    def a_frozen_worker_goes_on_where_it_stood(self, data, script):
        index = data.draw(st.integers(max(0, len(self.held) - 3), len(self.held) - 1))
        self.publishes(*self.held.pop(index), script)

    @rule(kind=st.sampled_from(KINDS), script=attempts)
    def the_lapsed_are_relayed(self, kind, script):
        lapsed = [one for one in self.lapsed(kind) if not one.has_order]
        if len(lapsed) == 1 and self.has_time(lapsed[0]):
            self.relayed_alone(lapsed[0], script)
        else:
            self.relayed(kind)

    @rule()
    def lapsed_exits_are_given_up(self):
        lapsed = self.lapsed("exit")

        assert self.answered(self.outbox.expire_lapsed("exit"), []) == len(lapsed)

        for one in lapsed:
            one.is_leased = True
            one.ends(Fate.PUBLISHED if one.has_order else Fate.EXPIRED)

    @precondition(lambda self: any(one.sent and not one.has_order for one in self.intents.values()))
    @rule(data=st.data())
    def the_order_manager_orders(self, data):
        arrived = [one for one in self.intents.values() if one.sent and not one.has_order]
        intent = data.draw(st.sampled_from(arrived))
        order = {"id": uuid4(), "order_id": str(uuid4()), "signal_id": intent.signal.signal_id}
        order |= {
            "asset": "BTCUSDT",
            "side": "Buy",
            "order_type": "Market",
            "quantity": 1,
            "status": "pending",
        }

        self.database.ask(lambda connection: connection.execute(insert(orders).values(order)))

        intent.has_order = True

    @rule(state=st.sampled_from(TradingState))
    def an_operator_sets_the_state(self, state):
        self.trading_state = state
        self.database.ask(
            lambda connection: store_state(connection, FLEET, state, actor="ann", reason="because")
        )

    @rule(seconds=st.sampled_from([15, 15, 15, 200]))
    def time_passes(self, seconds):
        self.database.ask(lambda connection: connection.execute(PASSING, {"seconds": seconds}))
        by = timedelta(seconds=seconds)
        self.held = [
            (one, msgspec.structs.replace(claim, valid_until=claim.valid_until - by))
            for one, claim in self.held
        ]
        for one in self.intents.values():
            one.left_s -= seconds
            one.is_leased = False

    @invariant()
    def the_database_and_the_wire_say_what_the_model_says(self):
        rows = self.database.ask(lambda connection: connection.execute(select(signal_outbox))).all()
        recorded = self.database.ask(lambda one: one.execute(select(trading_signals.c.signal_id))).all()
        sent = [name for name, _ in self.neighbours.wire]

        assert {row.signal_id: row.state for row in rows} == {
            name: one.state for name, one in self.intents.items()
        }
        assert sorted(row.signal_id for row in recorded) == sorted(
            name for name, one in self.intents.items() if one.state is Fate.PUBLISHED
        )
        assert {str(name): one.sent for name, one in self.intents.items() if one.sent} == {
            name: sent.count(name) for name in sent
        }
        bodies = {str(row.signal_id): row.payload.encode() for row in rows}
        assert all(bodies[name] == body for name, body in self.neighbours.wire)

    def teardown(self):
        self.time_passes(15)
        for kind in KINDS:
            self.relayed(kind)
        self.the_database_and_the_wire_say_what_the_model_says()
        assert Fate.PENDING not in {one.state for one in self.intents.values()}

    def claimed(self, kind, left_s):
        intent = Intent(signal(), kind, left_s)
        claim = self.database.ask(lambda connection: self.claim(connection, intent))
        self.intents[intent.signal.signal_id] = intent
        if left_s == VALID_S:
            self.held.append((intent, claim))
        return intent, claim

    def claim(self, connection, intent):
        return self.outbox.claim(
            connection,
            intent.signal,
            kind=intent.kind,
            feature_timestamp=None,
            valid_until=datetime.now(UTC) + timedelta(seconds=intent.left_s),
        )

    def publishes_until_it_is_of_no_use(self, intent, claim, script):
        fate = self.answered(self.outbox.publish(claim), script)

        intent.sent += script == ("unknown, arrived",)
        # Only who knows that nothing arrived may say so.
        assert fate is (Fate.EXPIRED if script == ("away",) else Fate.PENDING)
        intent.ends(fate)
        intent.left_s = 0

    def publishes(self, intent, claim, script):
        expected = self.expected(intent, script, is_late=not claim.is_new, unknown=claim.may_be_sent)

        if expected is Died:
            with pytest.raises(Died):
                self.answered(self.outbox.publish(claim), script)
        else:
            assert self.answered(self.outbox.publish(claim), script) is expected

    def relayed(self, kind):
        lapsed = self.lapsed(kind)
        waiting = [one for one in lapsed if not one.has_order]

        taken = self.answered(self.outbox.relay(kind), ["confirmed"] * len(waiting))

        assert taken == len(lapsed)
        for one in lapsed:
            one.is_leased = True
            if one.has_order:
                one.ends(Fate.PUBLISHED)
            else:
                self.expected(one, ["confirmed"], is_late=True)

    def relayed_alone(self, intent, script):
        for one in self.lapsed(intent.kind):
            if one.has_order:
                self.database.run(self.outbox.resume(one.signal.signal_id))
                one.ends(Fate.PUBLISHED)
        intent.is_leased = True
        if self.expected(intent, script, is_late=True) is Died:
            with pytest.raises(Died):
                self.answered(self.outbox.relay(intent.kind), script)
        else:
            assert self.answered(self.outbox.relay(intent.kind), script) == 1

    def expected(self, intent, script, *, is_late, unknown=False):
        """How a publish ends by this script; the model stands there afterwards."""
        for outcome in script:
            barred = is_late and intent.kind == "entry" and self.trading_state is not TradingState.ACTIVE
            if barred or not self.has_time(intent):
                return Fate.PENDING if unknown else intent.ends(Fate.EXPIRED)
            is_late, unknown = True, unknown or outcome.startswith("unknown")
            intent.sent += outcome not in {"dies before", "away", "unknown, lost"}
            if outcome.startswith("dies"):
                return Died
            if outcome.endswith("database away"):
                return Fate.PENDING
        return intent.ends(Fate.PUBLISHED)

    def answered(self, work, script):
        self.neighbours.script = list(script)
        try:
            return self.database.run(work)
        finally:
            self.neighbours.database_is_up = True

    def lapsed(self, kind):
        open_ones = [one for one in self.intents.values() if one.state is Fate.PENDING and one.kind == kind]
        return [one for one in open_ones if not one.is_leased]

    def has_time(self, intent):
        return intent.left_s > 1

    def some_intent(self, data):
        return data.draw(st.sampled_from(list(self.intents.values())[-4:]))


def signal():
    return TradingSignal(
        signal_id=uuid4(),
        signal_type="buy",
        symbol="BTCUSDT",
        amount=250.0,
        confidence=0.5,
        timestamp=datetime(2026, 3, 1, 12, tzinfo=UTC),
        strategy_id="momentum",
        market_data_snapshot=MarketSnapshot(price=92011.4, spread=0.2, volatility=0.0003),
        trace_id="t",
    )


async def neighbours_tables(database_url):
    connection = await asyncpg.connect(database_url)
    try:
        await create_platform_tables(connection)
    finally:
        await connection.close()


def test_every_order_of_claims_crashes_and_relays_ends_as_in_the_model(database_url):
    with stepped(database_url) as database:
        database.run(neighbours_tables(database_url))
        machine = type("Stepped", (Outbox,), {"database": database})
        run_state_machine_as_test(machine, settings=repeatable(12, steps=25))
