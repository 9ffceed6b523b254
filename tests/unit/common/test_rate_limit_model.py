"""The rate limit under any order of signals and clocks: no window may hold more than burst and inflow."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.machines import finds_a_bug

from common.core import rate_limit
from common.core.rate_limit import Bucket, Rate, full, has_token, taken

RATE = Rate(per_minute=30, burst=4)
PER_S = Fraction(1, 2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Quarters of a second are exact in a float, so the two may be compared without a tolerance.
quarters = st.integers(0, 40).map(lambda count: timedelta(seconds=count / 4))


class Limited(RuleBasedStateMachine):
    """Replicas whose clocks differ share a bucket; the model knows only when signals were sent.

    The latest time that any of them saw is the time that counts.
    """

    refilled = staticmethod(rate_limit.refilled)

    def __init__(self):
        super().__init__()
        self.now = NOON
        self.latest = NOON
        self.bucket = full(RATE, NOON)
        self.sent = []

    @rule(by=quarters)
    def time_passes(self, by):
        self.now += by

    @rule(by=st.sampled_from([-600, -5, -0.25, 5, 3600]))
    def the_clock_jumps(self, by):
        self.now += timedelta(seconds=by)

    @rule(count=st.integers(1, 6))
    def signals_are_asked_for(self, count):
        for _ in range(count):
            self.bucket = self.refilled(self.bucket, RATE, self.now)
            self.latest = max(self.latest, self.now)
            expected = self.window_has_room()

            assert has_token(self.bucket) == expected
            if expected:
                self.bucket = taken(self.bucket)
                self.sent.append(self.latest)

    @rule()
    def somebody_only_looks(self):
        self.bucket = self.refilled(self.bucket, RATE, self.now)
        self.latest = max(self.latest, self.now)

    @invariant()
    def the_bucket_holds_between_nothing_and_its_burst(self):
        assert 0 <= self.bucket.tokens <= RATE.burst

    def window_has_room(self):
        newest_first = enumerate(reversed(self.sent), start=1)
        return all(
            in_window + 1 <= RATE.burst + PER_S * Fraction((self.latest - since) / timedelta(seconds=1))
            for in_window, since in newest_first
        )


TestLimited = Limited.TestCase
TestLimited.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def earns_twice_after_a_clock_went_back(bucket, rate, now):
    return Bucket(tokens=rate_limit.refilled(bucket, rate, now).tokens, refilled_at=now)


def pays_for_a_clock_that_went_back(bucket, rate, now):
    elapsed_s = (now - bucket.refilled_at) / timedelta(seconds=1)
    tokens = min(rate.burst, bucket.tokens + elapsed_s * rate.per_minute / 60)
    return Bucket(tokens=tokens, refilled_at=max(bucket.refilled_at, now))


def holds_more_than_its_burst(bucket, rate, now):
    return rate_limit.refilled(bucket, Rate(per_minute=rate.per_minute, burst=rate.burst + 1), now)


@pytest.mark.parametrize(
    "bug",
    [earns_twice_after_a_clock_went_back, pays_for_a_clock_that_went_back, holds_more_than_its_burst],
)
def test_the_model_finds_a_planted_bug(bug):
    assert finds_a_bug(type("Planted", (Limited,), {"refilled": staticmethod(bug)}))
