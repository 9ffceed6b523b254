"""The checker is checked: real workers with a bug planted are caught, the same stories without it pass."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4, uuid5

import asyncpg
import msgspec
import pytest
from tests.integration.platform_rows import Platform
from tests.integration.test_inference_worker import (
    feed,
    limits,
    policy,
    replica,
    signals_on_the_wire,
    vector,
)

from common import bus, signal_outbox
from common.core.ids import entry_signal_id
from inference import emission, situation
from inference import worker as deciding
from sandbox import chaos_record
from sandbox.core.audit import signals, trading
from sandbox.core.audit.record import TRADING_SIGNALS, Heard, Promises, Record, Signal, StateChange

PROMISES = Promises(max_age=timedelta(seconds=10))
QUICK = policy(limits=limits(in_flight_timeout_s=0))
LONG_AGO = timedelta(seconds=10)


class Story:
    """What a test does to the fleet, and what the checker reads of it."""

    def __init__(self, database_url, amqp_url, platform):
        self.database_url = database_url
        self.amqp_url = amqp_url
        self.platform = platform
        self.began = datetime.now(UTC)
        self.wire = []

    def replica(self, name="replica-1"):
        return replica(self.database_url, self.amqp_url, QUICK, name)

    async def heard(self):
        at = datetime.now(UTC)
        self.wire += [
            Heard(at=at, is_sent=True, exchange="", queue=TRADING_SIGNALS, body=message.body)
            for message, _ in await signals_on_the_wire(self.amqp_url)
        ]

    async def faults(self):
        await self.heard()
        database = await asyncpg.connect(self.database_url)
        try:
            decided = await database.fetch(chaos_record._SIGNALS)
            changes = await database.fetch(chaos_record._STATE_CHANGES)
        finally:
            await database.close()
        record = Record(
            began_at=self.began,
            ended_at=datetime.now(UTC),
            wire=self.wire,
            gaps=[],
            faults=[],
            healings=[],
            poisons=[],
            readiness=[],
            told=[],
            usage=[],
            signals=[msgspec.convert(dict(row), Signal) for row in decided],
            lifecycles=[],
            state_changes=[msgspec.convert(dict(row), StateChange) for row in changes],
            runs=[],
            versions=[],
            letters=[],
            letters_left=0,
            leaks=[],
            errors=[],
        )
        return [*signals.faults(record, PROMISES), *trading.faults(record, PROMISES)]


@pytest.fixture
async def story(database_url, amqp_url):
    platform = Platform(database_url)
    await platform.open()
    return Story(database_url, amqp_url, platform)


async def _same_vector_at_two_replicas(story):
    async with story.replica() as one, story.replica("replica-2") as two:
        before = vector(price=99.9, age_s=0.5)
        await two.on_vector(before, redelivered=False)
        moved = await feed(one)
        await two.on_vector(moved, redelivered=False)


async def _older_vector_after_a_newer_one(story):
    now = datetime.now(UTC)
    async with story.replica() as one, story.replica("replica-2") as two:
        await two.on_vector(vector(price=99.0, at=now - timedelta(seconds=3)), redelivered=False)
        await feed(one)
        await two.on_vector(vector(price=98.0, at=now - timedelta(seconds=2)), redelivered=False)


# The worker is gone before it sent anything; its intent is found when its validity is over.
async def _found_after_its_validity(story):
    async with story.replica() as one:
        await feed(one)
        await signals_on_the_wire(story.amqp_url)
        await story.platform.execute("DELETE FROM trading_signals")
        await story.platform.execute(
            "UPDATE signal_outbox SET state = 'pending', published_at = NULL, owner = 'dead',"
            " lease_until = now() - interval '1 second', valid_until = now() - interval '3 seconds'"
        )
        await one._outbox.relay("entry")


async def _halted(story):
    at = datetime.now(UTC) - LONG_AGO
    row = "('fleet', 'HALTED', 'operator', 'first day', $1)"
    for table in ("trading_states", "trading_state_changes"):
        await story.platform.execute(
            f"INSERT INTO {table} (scope, state, actor, reason, changed_at) VALUES {row}", at
        )
    async with story.replica() as one:
        await feed(one)


async def _one_signal(story):
    async with story.replica() as one:
        await feed(one)


def _no_fence(patch):
    read = emission.read_ledger

    async def unfenced(*args):
        ledger, states = await read(*args)
        return msgspec.structs.replace(ledger, newest_emitted=None), states

    patch.setattr(emission, "read_ledger", unfenced)


# Without the fence, which would hide it: then the id alone keeps a vector from being traded twice.
def _random_ids(patch):
    _no_fence(patch)
    patch.setattr(deciding, "entry_signal_id", lambda *_: uuid4())


def _version_in_id(patch):
    _no_fence(patch)
    versions = iter(range(100))

    def of_version(*about):
        return uuid5(entry_signal_id(*about), f"v{next(versions)}")

    patch.setattr(deciding, "entry_signal_id", of_version)


def _no_expiry(patch):
    patch.setattr(signal_outbox, "_seconds_until", lambda instant: 60.0)


def _said_before_sent(patch):
    async def dies_before_it(*_, **__):
        return None

    patch.setattr(bus, "publish", dies_before_it)


# As a worker does that takes "could not be read" for "was never set".
def _state_recreated(patch):
    patch.setattr(situation, "state_from", lambda stored, strategy_id, initial: initial)


BUGS = {
    "random ids": (_random_ids, _same_vector_at_two_replicas, "has 2 ids for one vector"),
    "version in id": (_version_in_id, _same_vector_at_two_replicas, "has 2 ids for one vector"),
    "no fence": (_no_fence, _older_vector_after_a_newer_one, "for a newer one"),
    "no expiry": (_no_expiry, _found_after_its_validity, "after its validity"),
    "ack before publish": (_said_before_sent, _one_signal, "was never sent"),
    "state recreated": (_state_recreated, _halted, "its state was HALTED"),
}


@pytest.mark.parametrize(("plant", "provoke", "said"), BUGS.values(), ids=BUGS.keys())
async def test_a_planted_bug_is_caught(story, monkeypatch, plant, provoke, said):
    plant(monkeypatch)

    await provoke(story)

    found = await story.faults()
    assert found
    assert all(said in each for each in found), found


@pytest.mark.parametrize(
    ("provoke", "sent"),
    [
        (_same_vector_at_two_replicas, 1),
        (_older_vector_after_a_newer_one, 1),
        (_found_after_its_validity, 0),
        (_halted, 0),
        (_one_signal, 1),
    ],
)
async def test_the_fleet_as_it_is_passes_the_same_stories(story, provoke, sent):
    await provoke(story)

    assert await story.faults() == []
    assert len(story.wire) == sent


async def test_without_its_fence_a_vector_is_still_traded_once_by_its_id(story, monkeypatch):
    _no_fence(monkeypatch)

    await _same_vector_at_two_replicas(story)

    assert await story.faults() == []
    assert len(story.wire) == 1


async def test_without_its_ids_a_vector_is_still_traded_once_by_the_fence(story, monkeypatch):
    monkeypatch.setattr(deciding, "entry_signal_id", lambda *_: uuid4())

    await _same_vector_at_two_replicas(story)

    assert await story.faults() == []
    assert len(story.wire) == 1
