"""The checker of a chaos run: a run that kept its promises passes, the smallest break of each is named."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from sandbox.core.audit.chaos import violations
from sandbox.core.audit.growth import Usage
from sandbox.core.audit.record import (
    Gap,
    Heard,
    Letter,
    Lifecycle,
    Poison,
    Promises,
    Readiness,
    Record,
    Redelivered,
    Signal,
    Span,
    StateChange,
    Told,
    TrainingRun,
    Version,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
PROMISES = Promises(max_age=timedelta(seconds=10))
RUN = UUID(int=77)


def at(seconds):
    return BEGAN + timedelta(seconds=seconds)


def payload(*, size="0", reduces=False, **fields):
    gates = {"position": {"live_size": size}, "holdings": {"reduces": reduces}}
    return json.dumps({"metadata": {"gates": gates}, "market_data_snapshot": {"price": 100.0}, **fields})


def signal(number=1, seconds=100.0, **changes):
    signal_id = UUID(int=number)
    body = payload(signal_id=str(signal_id), strategy_id="momentum", asset="BTCUSDT")
    known = Signal(
        signal_id=signal_id,
        kind="entry",
        strategy_id="momentum",
        symbol="BTCUSDT",
        side="buy",
        amount_quote=Decimal(100),
        payload=body,
        feature_timestamp=at(seconds - 1),
        valid_until=at(seconds + 5),
        state="published",
        reason=None,
        created_at=at(seconds),
        published_at=at(seconds + 0.1),
        is_recorded=True,
        orders=1,
    )
    return msgspec.structs.replace(known, **changes)


def closing(number, seconds, *, size="1", peak="100", **changes):
    """An exit of all, or of `size`, of the position."""
    metadata = {"lifecycle_id": str(UUID(int=500)), "size_to_close": size, "peak_price": peak}
    body = payload(
        signal_id=str(UUID(int=number)), strategy_id="momentum", asset="BTCUSDT", metadata=metadata
    )
    known = {"kind": "exit", "side": "sell", "feature_timestamp": None, "payload": body}
    return signal(number, seconds, amount_quote=Decimal(size) * 100, **{**known, **changes})


def on_the_wire(known, seconds=None, body=None):
    return Heard(
        at=known.published_at if seconds is None else at(seconds),
        is_sent=True,
        exchange="",
        queue="model-service.trading_signals",
        body=(known.payload if body is None else body).encode(),
    )


def price(seconds, value):
    body = {"symbol": "BTCUSDT", "price": str(value), "timestamp": at(seconds).isoformat()}
    return Heard(
        at=at(seconds), is_sent=True, exchange="flotilla.price_seen", queue="", body=json.dumps(body).encode()
    )


def position(**changes):
    held = Lifecycle(
        lifecycle_id=UUID(int=500),
        symbol="BTCUSDT",
        side="long",
        strategy_id="momentum",
        opened_at=at(100),
        created_at=at(100.2),
        closed_at=at(160),
        entry_price=Decimal(100),
        size=Decimal(1),
        stop_price=Decimal(98),
        latched_rule=None,
        latched_at=None,
    )
    return msgspec.structs.replace(held, **changes)


def told(seconds, active=("v1",), served="v1"):
    return Told(
        at=at(seconds),
        active={"momentum": list(active)} if active else {},
        states={},
        served={"one": {"momentum": served}},
    )


def record(**changes):
    known = signal()
    clean = Record(
        began_at=BEGAN,
        ended_at=at(600),
        wire=[on_the_wire(known), price(101, 100), price(130, 99)],
        gaps=[],
        faults=[],
        healings=[(at(50), at(60))],
        poisons=[Poison(queue="features.live", body="[1]")],
        readiness=[Readiness(at=at(1), ready={"api": True})],
        told=[told(1), told(2)],
        usage=[used(100)],
        signals=[known],
        lifecycles=[position()],
        state_changes=[],
        runs=[run()],
        versions=[version()],
        letters=[Letter(queue="features.live", body=b"[1]", reason="not a vector")],
        letters_left=0,
        leaks=[],
        errors=[],
    )
    return msgspec.structs.replace(clean, **changes)


def given_again(times, until_s=60):
    return Redelivered(queue="features.live", digest="aa", times=times, first_at=at(20), last_at=at(until_s))


def used(mib):
    return Usage(at=at(1), process="api", pid=1, rss_bytes=mib * 2**20, descriptors=1, tasks=1)


def run(**changes):
    ended = TrainingRun(
        run_id=RUN,
        strategy_id="momentum",
        state="succeeded",
        reason=None,
        version="v1",
        finished_at=at(20),
    )
    return msgspec.structs.replace(ended, **changes)


def version(**changes):
    kept = Version(
        version="v1",
        strategy_id="momentum",
        run_id=RUN,
        is_active=True,
        sha256="aa",
        sha256_on_disk="aa",
    )
    return msgspec.structs.replace(kept, **changes)


def struck(kind, began_s, healed_s):
    return Span(kind=kind, target="x", began_at=at(began_s), healed_at=at(healed_s))


def test_a_run_that_kept_its_promises_passes():
    assert violations(record(), PROMISES) == []


def blind(size, second):
    metadata = {"without_database": True, "lifecycle_id": "x", "size_to_close": size}
    gates = {"gates": {"position": {"live_size": "1"}}}
    return json.dumps(
        {
            "signal_id": str(UUID(int=1)),
            "strategy_id": "momentum",
            "asset": "BTCUSDT",
            "timestamp": at(second).isoformat(),
            "metadata": {**metadata, **gates},
            "market_data_snapshot": {"price": 100.0},
        }
    )


def blind_wire(size, second):
    return on_the_wire(signal(), body=blind(size, second))


def _signals(*known, sent=None):
    wire = [on_the_wire(each) for each in known] if sent is None else sent
    return record(signals=list(known), wire=wire, lifecycles=[])


LATE = signal(valid_until=at(101), published_at=at(103))
OTHER_BODY = payload(signal_id=str(UUID(int=1)), strategy_id="momentum", asset="ETHUSDT")
EXPIRED_SILENTLY = signal(state="expired", published_at=None, is_recorded=False, orders=0)
FALLING = [price(seconds, 97) for seconds in range(110, 140)]
STOPPED = position(latched_rule="stop_loss", latched_at=at(130))
HALTED = StateChange(scope="fleet", state="HALTED", actor="chaos", changed_at=at(90))
REDUCING = StateChange(scope="strategy:momentum", state="REDUCING", actor="chaos", changed_at=at(90))

BREAKS = {
    "random ids": (
        _signals(signal(1), signal(2, feature_timestamp=at(99))),
        "has 2 ids for one vector",
    ),
    "an older vector after a newer one": (
        _signals(signal(1), signal(2, 103.0, feature_timestamp=at(98))),
        "for a newer one",
    ),
    "a stale vector": (
        _signals(signal(feature_timestamp=at(88))),
        "on a vector that was 12.0 s old",
    ),
    "two payloads": (
        _signals(signal(), sent=[on_the_wire(signal()), on_the_wire(signal(), body=OTHER_BODY)]),
        "2 different payloads",
    ),
    "another payload than the ledger's": (
        _signals(signal(), sent=[on_the_wire(signal(), body=OTHER_BODY)]),
        "another payload",
    ),
    "two exits without the database that close different sizes": (
        _signals(signal(payload=blind("1", 1)), sent=[blind_wire("1", 1), blind_wire("2", 1)]),
        "2 different payloads",
    ),
    "on the wire and not in the ledger": (
        _signals(sent=[on_the_wire(signal())]),
        "is not in signal_outbox",
    ),
    "published late": (
        _signals(LATE, sent=[on_the_wire(LATE, 103)]),
        "2.0 s after its validity",
    ),
    "sent again after its validity": (
        _signals(signal(), sent=[on_the_wire(signal()), on_the_wire(signal(), 107)]),
        "2.0 s after its validity",
    ),
    "never finished": (_signals(signal(state="pending")), "was never finished"),
    "expired silently": (_signals(EXPIRED_SILENTLY, sent=[]), "expired without a reason"),
    "published and never sent": (_signals(signal(), sent=[]), "was never sent"),
    "not recorded": (_signals(signal(is_recorded=False)), "is not in trading_signals"),
    "executed twice": (_signals(signal(orders=2)), "was executed 2 times"),
    "a breach without an answer": (record(wire=[on_the_wire(signal()), *FALLING]), "no exit was sent"),
    "a stop without a breach": (
        record(lifecycles=[STOPPED]),
        "no price had reached it",
    ),
    "a stop that closes nothing": (
        record(
            lifecycles=[msgspec.structs.replace(STOPPED, closed_at=None)],
            wire=[on_the_wire(signal()), price(130, 97)],
        ),
        "is still open",
    ),
    "two active versions": (record(told=[told(1, active=("v1", "v2"))]), "had 2 active versions"),
    "no active version any more": (record(told=[told(1), told(2, active=())]), "no active version"),
    "a replica that does not follow": (
        record(
            told=[told(1), told(2, active=("v2",)), *(told(each, active=("v2",)) for each in range(3, 60))]
        ),
        "decides momentum with v1",
    ),
    "a training without an end": (
        record(runs=[run(state="running", version=None)], versions=[]),
        "never ended",
    ),
    "two versions of one training": (
        record(versions=[version(), version(version="v2")]),
        "2 versions instead of 1",
    ),
    "a changed file": (record(versions=[version(sha256_on_disk="bb")]), "has the hash bb on disk"),
    "a missing file": (record(versions=[version(sha256_on_disk=None)]), "has the hash None on disk"),
    "positions unknown": (
        _signals(signal(payload=payload(size=None, signal_id=str(UUID(int=1)), strategy_id="m", asset="B"))),
        "without a known position",
    ),
    "an entry while halted": (record(state_changes=[HALTED]), "its state was HALTED"),
    "an entry while reducing": (record(state_changes=[REDUCING]), "its state was REDUCING"),
    "ready too late": (record(healings=[(at(50), at(81))]), "ready only 31 s after"),
    "never ready": (record(healings=[(at(50), None)]), "never all ready"),
    "a poison that vanished": (record(letters=[]), "1 times too few"),
    "a good message put aside": (
        record(letters=[*record().letters, Letter(queue="features.live", body=b"{}", reason="?")]),
        "nobody poisoned it so",
    ),
    "letters nobody collected": (record(letters_left=2), "2 dead letters were never collected"),
    "a secret in a log": (record(leaks=["api, request answered"]), "a secret was written: api"),
    "recorded too late": (
        _signals(signal(recorded_at=at(131))),
        "was recorded in trading_signals only at",
    ),
    "a message that goes round": (
        record(redelivered=[given_again(11)]),
        "(aa) was given out again 11 times",
    ),
    "memory without bound": (record(usage=[used(500)]), "api held 500 MiB"),
}


@pytest.mark.parametrize(("broken", "said"), BREAKS.values(), ids=BREAKS.keys())
def test_the_smallest_break_is_named_and_nothing_else(broken, said):
    [sentence] = violations(broken, PROMISES)

    assert said in sentence


REDUCES = payload(signal_id=str(UUID(int=1)), strategy_id="momentum", asset="BTCUSDT", reduces=True)
EXIT = closing(2, 112.0)

ALLOWED = {
    "sent in time and heard late": _signals(signal(), sent=[on_the_wire(signal(), 107)]),
    "a version that made room for newer ones": record(
        versions=[version(sha256_on_disk=None, is_retired=True, is_active=False)]
    ),
    "one exit of two workers without the database, each by its clock": _signals(
        signal(kind="exit", payload=blind("1", 1)), sent=[blind_wire("1", 1), blind_wire("1", 2)]
    ),
    "the same message twice": _signals(signal(), sent=[on_the_wire(signal())] * 2),
    "a breach that is answered": record(
        signals=[signal(), EXIT], wire=[on_the_wire(signal()), on_the_wire(EXIT), *FALLING]
    ),
    "a breach while the database was away": record(
        wire=[on_the_wire(signal()), *FALLING], faults=[struck("server_killed database", 105, 108)]
    ),
    "a breach that passes": record(
        wire=[on_the_wire(signal()), *FALLING[:10], price(121, 99), *FALLING[20:]]
    ),
    "a stop whose price was not heard": record(
        lifecycles=[STOPPED], gaps=[Gap(began_at=at(128), ended_at=at(129))]
    ),
    "a reducing signal while reducing": record(
        signals=[signal(payload=REDUCES)],
        wire=[on_the_wire(signal(payload=REDUCES))],
        state_changes=[REDUCING],
    ),
    "a halt that nobody can know of yet": record(
        state_changes=[msgspec.structs.replace(HALTED, changed_at=at(99))]
    ),
    "a release that was just given": record(
        state_changes=[HALTED, msgspec.structs.replace(HALTED, state="ACTIVE", changed_at=at(99))]
    ),
    "late to the tap of a broker that was frozen": record(
        signals=[LATE],
        wire=[on_the_wire(LATE, 104)],
        lifecycles=[],
        faults=[struck("server_frozen broker", 99, 104)],
    ),
    "published while the tap was deaf": msgspec.structs.replace(
        _signals(signal(), sent=[]), gaps=[Gap(began_at=at(99), ended_at=at(101))]
    ),
    "recorded 30 s after the database came back": msgspec.structs.replace(
        _signals(signal(recorded_at=at(150))), faults=[struck("server_killed database", 118, 120)]
    ),
    "given again after each of two faults": record(
        redelivered=[given_again(30)],
        faults=[struck("connections_cut broker", 21, 21), struck("connections_cut broker", 50, 50)],
    ),
    "a failed training": record(runs=[run(state="failed", version=None)], versions=[]),
}


@pytest.mark.parametrize("kept", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_allowed_is_not_blamed(kept):
    assert violations(kept, PROMISES) == []
