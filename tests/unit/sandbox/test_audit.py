"""The audit finds each planted fault, and nothing in a run that kept its promises."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from sandbox.core.audit import Delivery, Intent, Promises, Record, faults

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROMISES = Promises(max_age=timedelta(seconds=10), signals_per_minute=4, burst=2)


def intent(number=1, *, at_s=0.0, **changes):
    at = NOW + timedelta(seconds=at_s)
    return msgspec.structs.replace(
        Intent(
            signal_id=UUID(int=number),
            kind="entry",
            strategy_id="momentum",
            symbol="BTCUSDT",
            state="published",
            reason=None,
            created_at=at,
            published_at=at,
            valid_until=at + timedelta(seconds=5),
            feature_timestamp=at - timedelta(seconds=1),
            is_recorded=True,
        ),
        **changes,
    )


def delivery(of, *, late_s=0.1):
    return Delivery(
        signal_id=of.signal_id,
        strategy_id=of.strategy_id,
        symbol=of.symbol,
        delivered_at=of.created_at + timedelta(seconds=late_s),
    )


def record(*intents, deliveries=None, **changes):
    if deliveries is None:
        deliveries = [delivery(each) for each in intents if each.state == "published"]
    quiet = Record(
        deliveries=deliveries,
        intents=intents,
        slots_taken_twice=0,
        double_orders=(),
        balance_rejections=0,
        dead_letters=0,
        errors=(),
        restarts=0,
    )
    return msgspec.structs.replace(quiet, **changes)


def test_a_run_that_kept_its_promises_has_no_faults():
    kept = [intent(number, at_s=20 * number) for number in range(1, 30)]
    ended = intent(99, at_s=700, state="expired", reason="its validity had ended", published_at=None)

    assert faults(record(*kept, ended), PROMISES) == []


ONE = intent()
TWIN = intent(2, at_s=1, feature_timestamp=ONE.feature_timestamp)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (record(ONE, deliveries=[delivery(ONE), delivery(ONE)]), "was delivered 2 times"),
        (record(ONE, TWIN), "sent 2 entries for one vector of BTCUSDT"),
        (record(deliveries=[delivery(ONE)]), "was delivered and never intended"),
        (record(ONE, deliveries=[delivery(ONE, late_s=7)]), "was delivered after its validity"),
        (record(intent(feature_timestamp=NOW - timedelta(seconds=12))), "was decided on a vector of"),
        (
            record(ONE, intent(2, at_s=1, feature_timestamp=NOW - timedelta(seconds=3))),
            "came after one for a newer vector",
        ),
        (record(*(intent(n, at_s=n) for n in range(1, 8))), "7 entries were decided within a minute"),
        (record(intent(state="pending", published_at=None)), "was never finished"),
        (record(intent(state="expired")), "expired without a reason"),
        (
            record(intent(state="expired", reason="late"), deliveries=[delivery(ONE)]),
            "is said to have expired and was delivered",
        ),
        (record(intent(is_recorded=False)), "was published and not recorded"),
        (record(ONE, double_orders=[ONE.signal_id]), "was executed more than once"),
        (record(ONE, slots_taken_twice=1), "1 warm-up slots were used twice"),
        (record(ONE, balance_rejections=2), "2 orders were refused for an insufficient balance"),
        (record(ONE, dead_letters=3), "3 messages were dead-lettered"),
        (record(ONE, restarts=1), "services ended by themselves 1 times"),
        (record(ONE, errors=["inference: boom"]), "logged: inference: boom"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_promise_is_one_sentence(found, sentence):
    (only,) = faults(found, PROMISES)

    assert sentence in only


def test_an_exit_needs_no_vector_and_is_no_entry_of_the_rate():
    exits = [intent(n, at_s=n / 10, kind="exit", feature_timestamp=None) for n in range(1, 20)]

    assert faults(record(*exits), PROMISES) == []
