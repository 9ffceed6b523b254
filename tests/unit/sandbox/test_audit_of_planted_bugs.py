"""What each of eight bugs would leave behind, and the one promise by which the checker finds it."""

from dataclasses import dataclass
from uuid import UUID

import msgspec
import pytest
from tests.unit.sandbox.test_audit_of_chaos import (
    EXIT,
    HALTED,
    PROMISES,
    at,
    on_the_wire,
    payload,
    position,
    price,
    record,
    signal,
)

from sandbox.core.audit.chaos import violations
from sandbox.core.audit.record import Letter, Poison

POISONS = [Poison(queue="features.live", body="[1]"), Poison(queue="features.live", body="[2]")]
FALLING = [price(seconds, 97) for seconds in range(110, 140)]


@dataclass
class Trace:
    """One run with the bug, the same run without it, and what is said of the first."""

    broken: object
    sound: object
    said: str


def decided(number, seconds, **changes):
    body = payload(signal_id=str(UUID(int=number)), strategy_id="momentum", asset="BTCUSDT")
    return signal(number, seconds, payload=body, **changes)


def sent(*known, **changes):
    wire = [on_the_wire(each) for each in known if each.published_at]
    return record(signals=list(known), wire=wire, lifecycles=[], **changes)


def stopped(*exits, heard=FALLING):
    known = [signal(), *exits]
    return record(signals=known, wire=[*map(on_the_wire, known), *heard], lifecycles=[position()])


def letters(*bodies):
    return [Letter(queue="features.live", body=body.encode(), reason="not a vector") for body in bodies]


FIRST = decided(1, 100.0)
LAPSED = decided(1, 100.0, published_at=at(110), valid_until=at(105))
EXPIRED = msgspec.structs.replace(
    LAPSED, state="expired", reason="its validity had ended", published_at=None, is_recorded=False, orders=0
)
RECREATED = msgspec.structs.replace(HALTED, state="ACTIVE", actor="operator", changed_at=at(97))

TRACES = {
    "random ids: a vector that came again is decided anew": Trace(
        broken=sent(FIRST, decided(2, 100.4, feature_timestamp=at(99))),
        sound=sent(FIRST),
        said="has 2 ids for one vector",
    ),
    "version in id: a version was swapped between two replicas": Trace(
        broken=sent(FIRST, decided(2, 101.4, feature_timestamp=at(99)), decided(3, 104.0)),
        sound=sent(FIRST, decided(3, 104.0)),
        said="has 2 ids for one vector",
    ),
    "no fence: a replica that was frozen goes on where it was": Trace(
        broken=sent(FIRST, decided(2, 103.0), decided(3, 104.0, feature_timestamp=at(98))),
        sound=sent(FIRST, decided(2, 103.0)),
        said="for a newer one",
    ),
    "leading debounce: of many prices only the first was looked at": Trace(
        broken=stopped(heard=[price(109, 99), *FALLING]),
        sound=stopped(EXIT, heard=[price(109, 99), *FALLING]),
        said="and no exit was sent",
    ),
    "ack before publish: the worker died in between": Trace(
        broken=record(signals=[FIRST], wire=[], lifecycles=[]),
        sound=sent(FIRST),
        said="was never sent",
    ),
    "requeue loop: a poison goes round and never to the dead letters": Trace(
        broken=record(poisons=POISONS, letters=letters("[1]")),
        sound=record(poisons=POISONS, letters=letters("[1]", "[2]")),
        said="was put aside 1 times too few: b'[2]'",
    ),
    "no expiry: found by the relay and sent all the same": Trace(
        broken=sent(LAPSED),
        sound=sent(EXPIRED),
        said="5.0 s after its validity",
    ),
    "state recreated on a read error: HALTED was forgotten": Trace(
        broken=sent(FIRST, state_changes=[HALTED]),
        sound=sent(FIRST, state_changes=[HALTED, RECREATED]),
        said="its state was HALTED",
    ),
}


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_the_trace_of_a_bug_is_named_by_its_promise_alone(trace):
    [sentence] = violations(trace.broken, PROMISES)

    assert trace.said in sentence


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_the_same_run_without_the_bug_passes(trace):
    assert violations(trace.sound, PROMISES) == []
