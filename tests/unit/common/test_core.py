import time
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from common.core import rate_limit
from common.core.ids import entry_signal_id
from common.core.rate_limit import Bucket, Rate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RATE = Rate(per_minute=60, burst=10)
PINNED = "1f4d5411-baa3-54fb-936e-a17192d7ccb4"


def test_an_entry_id_never_changes():
    # Pinned: another value would let a vector that was traded before an upgrade be traded again after it.
    assert str(entry_signal_id("momentum", "BTCUSDT", NOW)) == PINNED


def test_an_entry_id_is_of_the_instant_not_of_its_zone():
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))

    assert entry_signal_id("s", "BTCUSDT", elsewhere) == entry_signal_id("s", "BTCUSDT", NOW)


def test_an_entry_id_is_not_of_the_machines_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert str(entry_signal_id("momentum", "BTCUSDT", NOW)) == PINNED
    finally:
        monkeypatch.undo()
        time.tzset()


def test_entry_ids_keep_their_parts_apart():
    assert entry_signal_id("a", "BBTCUSDT", NOW) != entry_signal_id("aB", "BTCUSDT", NOW)
    assert entry_signal_id("a", "BTCUSDT", NOW) != entry_signal_id(
        "a", "BTCUSDT", NOW + timedelta(microseconds=1)
    )


def test_a_bucket_refills_by_the_minute_up_to_its_burst():
    empty = Bucket(tokens=0, refilled_at=NOW)

    assert rate_limit.refilled(empty, RATE, NOW + timedelta(seconds=2)).tokens == 2
    assert rate_limit.refilled(empty, RATE, NOW + timedelta(minutes=5)).tokens == 10


def test_a_clock_that_goes_back_neither_adds_nor_takes():
    bucket = Bucket(tokens=3, refilled_at=NOW)

    assert rate_limit.refilled(bucket, RATE, NOW - timedelta(hours=1)) == bucket


def test_nan_tokens_deny():
    assert not rate_limit.has_token(Bucket(tokens=float("nan"), refilled_at=NOW))


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=200))
def test_no_minute_sees_more_than_rate_and_burst(pauses_s):
    bucket, now, sent = rate_limit.full(RATE, NOW), NOW, []
    for pause_s in pauses_s:
        now += timedelta(seconds=pause_s)
        bucket = rate_limit.refilled(bucket, RATE, now)
        if rate_limit.has_token(bucket):
            bucket = rate_limit.taken(bucket)
            sent.append(now)

    for start in sent:
        assert sum(start <= at < start + timedelta(minutes=1) for at in sent) <= RATE.per_minute + RATE.burst
