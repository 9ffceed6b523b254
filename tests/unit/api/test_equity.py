from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.performance import Course, equity, max_drawdown

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

results = st.lists(st.integers(-100, 100).map(Decimal), max_size=8)


def deepest_fall(steps):
    level = height = deepest = Decimal(0)
    for step in steps:
        level += step
        height = max(height, level)
        deepest = max(deepest, height - level)
    return deepest


def course(*steps):
    levels = [sum(steps[: index + 1], Decimal(0)) for index in range(len(steps))]
    return Course(
        timestamp=NOON,
        orders=len(steps),
        gained=sum(step > 0 for step in steps),
        realized_pnl=sum(steps, Decimal(0)),
        best=max(steps, default=None),
        worst=min(steps, default=None),
        peak=max([*levels, Decimal(0)]),
        trough=min([*levels, Decimal(0)]),
        drawdown=deepest_fall(steps),
    )


@pytest.mark.parametrize(
    ("periods", "deepest"),
    [
        ([], 0),
        ([()], 0),
        ([(5,), (5,)], 0),
        ([(-3,)], 3),  # the equity begins at 0
        ([(10, -4), (-3, 20)], 7),  # over the border of two periods
        ([(10, -9, 9)], 9),  # within one that ends well
        ([(10,), (), (-4,), (2,), (-5,)], 7),
    ],
)
def test_the_deepest_fall_is_seen_within_and_across_periods(periods, deepest):
    assert max_drawdown(course(*map(Decimal, steps)) for steps in periods) == deepest


@given(st.lists(results, max_size=6))
def test_where_periods_begin_does_not_matter(periods):
    assert max_drawdown(course(*steps) for steps in periods) == deepest_fall(
        [step for steps in periods for step in steps]
    )


@given(st.lists(results, max_size=6))
def test_the_equity_ends_at_the_sum_of_all_results(periods):
    curve = equity([course(*steps) for steps in periods])

    assert len(curve) == len(periods)
    assert not curve or curve[-1].equity == sum((step for steps in periods for step in steps), Decimal(0))
