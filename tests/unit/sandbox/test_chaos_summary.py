"""Recovery times of a chaos run: from the healing to ready, of who was struck, and of nobody else's fault."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sandbox.chaos_summary import recoveries
from sandbox.core.audit.record import Readiness, Record, Span

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return BEGAN + timedelta(seconds=seconds)


def struck(kind, target, began_s, healed_s):
    return Span(kind=kind, target=target, began_at=at(began_s), healed_at=at(healed_s))


def recorded(*faults, ready):
    """A record whose services are ready as `ready` says, second by second."""
    samples = [
        Readiness(
            at=at(second), ready={name: bool(up) for name, up in zip(("api", "trainer"), both, strict=True)}
        )
        for second, both in enumerate(ready)
    ]
    empty = dict.fromkeys(Record.__struct_fields__, ())
    return Record(
        **{
            **empty,
            "began_at": BEGAN,
            "ended_at": at(len(ready)),
            "faults": faults,
            "readiness": samples,
            "letters_left": 0,
        }
    )


ONE_DOWN = [(1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (1, 1)]
KILLED = struck("process_killed api", "api", 1, 1)
FROZEN = struck("server_frozen database", "database", 0, 2)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([KILLED], {"process_killed api": (3, 3, 1)}),
        ([struck("process_killed trainer", "trainer", 1, 1)], {"process_killed trainer": (0, 0, 1)}),
        ([FROZEN], {"server_frozen database": (2, 2, 1)}),
        (
            [KILLED, struck("process_killed trainer", "trainer", 2, 2)],
            {"process_killed api": (3, 3, 1), "process_killed trainer": (0, 0, 1)},
        ),
        ([struck("state_halted", "fleet", 1, 2)], {}),
        ([struck("process_killed api", "api", 9, 9)], {}),
    ],
    ids=["the process", "another process", "all need it", "a neighbour's fault", "harmless", "never ready"],
)
def test_it_takes_until_who_was_struck_is_ready(faults, expected):
    found = recoveries(recorded(*faults, ready=ONE_DOWN))

    assert {kind: tuple(each.values()) for kind, each in found.items()} == expected


def test_what_was_struck_again_before_it_was_ready_says_nothing():
    again = msgspec.structs.replace(KILLED, began_at=at(2), healed_at=at(2))

    assert recoveries(recorded(KILLED, again, ready=ONE_DOWN)) == {
        "process_killed api": {"median": 2.0, "max": 2.0, "of": 1}
    }
