"""Redeliveries of a chaos run: counted by message, and nothing of them is kept but the count."""

from datetime import UTC, datetime, timedelta

import pytest

from sandbox.core.audit.record import Heard
from sandbox.redeliveries import MOST_COUNTED, Redeliveries

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def given(body, second=0, *, queue="features.live", again=True, is_sent=False):
    return Heard(
        at=BEGAN + timedelta(seconds=second),
        is_sent=is_sent,
        exchange="",
        queue=queue,
        is_redelivered=again,
        body=body,
    )


def test_a_message_is_counted_each_time_it_is_given_again_and_not_passed_on():
    passed_on = []
    counted = Redeliveries(passed_on.append)

    counted.heard(given(b"a", again=False))
    for second in (1, 2, 3):
        counted.heard(given(b"a", second))
    counted.heard(given(b"b", 2))

    assert sorted((each.times, each.last_at - each.first_at) for each in counted.counted()) == [
        (1, timedelta(0)),
        (3, timedelta(seconds=2)),
    ]
    assert passed_on == []


@pytest.mark.parametrize(
    "message",
    [given(b"a", is_sent=True), given(b"a", queue="model-service.trading_signals")],
    ids=["sent", "given to a neighbour"],
)
def test_everything_else_is_passed_on_and_not_counted(message):
    passed_on = []
    counted = Redeliveries(passed_on.append)

    counted.heard(message)

    assert passed_on == [message]
    assert counted.counted() == []


def test_a_loop_is_not_forgotten_among_many_that_come_once():
    counted = Redeliveries(lambda message: None)

    for number in range(2 * MOST_COUNTED):
        counted.heard(given(str(number).encode()))
        counted.heard(given(b"loop"))

    found = counted.counted()
    assert len(found) == MOST_COUNTED
    assert max(each.times for each in found) == 2 * MOST_COUNTED
