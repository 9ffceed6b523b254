"""What a benchmark's rounds come to: ratios, spread and verdicts, without a clock."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.benchmarks.__main__ import figure, row, table
from tests.benchmarks.result import Result, at_least, at_most, percentile, spread
from tests.benchmarks.throughput import Sample, pace

FIGURES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20)


def result(*rounds, **changes):
    return Result(**{"goal": "1 x", "unit": "ms", "rounds": list(rounds), "load": 0.5, **changes})


def test_ours_and_the_floor_are_medians():
    found = result(1.0, 9.0, 2.0, floors=[4.0, 4.0, 100.0])

    assert (found.ours, found.floor) == (2.0, 4.0)


def test_a_ratio_pairs_each_round_with_the_floor_beside_it():
    # The machine was four times slower in the second round, for both alike.
    assert result(1.0, 4.0, 1.1, floors=[2.0, 8.0, 2.0]).ratio == 0.5


def test_rounds_without_as_many_floors_are_refused():
    with pytest.raises(ValueError, match="zip"):
        _ = result(1.0, 2.0, floors=[1.0]).ratio


def test_without_a_floor_there_is_no_ratio():
    found = result(3.0)

    assert (found.floor, found.ratio) == (None, None)
    assert result(3.0, target=at_least(1.0, of="ratio")).is_met is False


@pytest.mark.parametrize(
    ("target", "is_met"),
    [
        (at_least(10.0), True),  # the limit itself is enough
        (at_least(10.1), False),
        (at_most(10.0), True),
        (at_most(9.9), False),
        (at_least(0.5, of="ratio"), True),
        (at_least(0.6, of="ratio"), False),
        (at_most(0.5, of="ratio"), True),
        (at_most(0.4, of="ratio"), False),
    ],
)
def test_a_target_is_of_the_figure_or_of_the_ratio(target, is_met):
    assert result(10.0, floors=[20.0], target=target).is_met is is_met


@pytest.mark.parametrize("target", [at_least(1.0), at_most(1.0)])
def test_what_is_no_number_meets_no_target(target):
    assert result(math.nan, target=target).is_met is False


def test_a_figure_without_a_target_is_only_reported():
    assert result(1.0).is_met is None
    assert row(result(1.0))[5] == "reported"


def test_the_spread_is_that_of_the_ratios_where_there_is_a_floor():
    assert result(1.0, 2.0, 3.0).spread == 1.0
    assert result(1.0, 2.0, 3.0, floors=[2.0, 4.0, 6.0]).spread == 0.0


@given(FIGURES)
def test_a_spread_is_never_negative_and_scale_does_not_count(figures):
    assert spread(figures) >= 0
    assert spread([each * 8 for each in figures]) == pytest.approx(spread(figures))


@given(FIGURES, st.floats(1, 100))
def test_a_percentile_is_a_figure_that_enough_do_not_exceed(figures, percent):
    found = percentile(figures, percent)

    assert found in figures
    assert sum(each <= found for each in figures) * 100 >= percent * len(figures)
    assert sum(each < found for each in figures) * 100 < percent * len(figures)


def test_a_record_is_what_the_goal_the_verdict_and_the_noise_were():
    assert result(30.0, 20.0, 10.0, floors=[10.0] * 3, target=at_most(3.0, of="ratio")).record() == {
        "goal": "1 x",
        "unit": "ms",
        "ours": 20.0,
        "floor": 10.0,
        "ratio": 2.0,
        "target": "ratio <= 3",
        "met": True,
        "rounds": 3,
        "spread": 1.0,
        "load": 0.5,
    }


def test_the_table_has_a_line_for_each_result_under_its_head():
    head, met, missed = table(
        [result(1000.0, target=at_least(200.0)), result(2.0, floors=[1.0], target=at_most(1.5, of="ratio"))]
    ).splitlines()

    assert head.split()[:4] == ["goal", "ours", "floor", "ratio"]
    assert met.split() == ["1", "x", "1,000", "ms", "-", "-", ">=", "200", "ms", "met", "0%", "0.5"]
    assert missed.split()[4:] == ["1", "2", "ratio", "<=", "1.5", "missed", "0%", "0.5"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0123456, "0.0123"),
        (4.7123, "4.71"),
        (99.96, "100"),
        (1420.6, "1,421"),
        (25_190_000.0, "25,190,000"),
    ],
)
def test_a_figure_is_shown_with_three_digits_or_whole(value, shown):
    assert figure(value) == shown


def samples(*looks):
    return [Sample(at=at, waiting=waiting, cpu_s=cpu_s) for at, waiting, cpu_s in looks]


def test_a_pace_leaves_out_the_start_and_the_end_of_a_backlog():
    # Slow at first, then 100 a second at 1 ms each, then nothing for a while.
    looks = samples((0.0, 1000, 0.0), (5.0, 950, 4.0), (6.0, 850, 4.1), (9.0, 550, 4.4), (20.0, 0, 9.0))

    found = pace(looks, 1000)

    assert (found.per_s, found.cpu_us) == (pytest.approx(100), pytest.approx(1000))


@pytest.mark.parametrize(
    "looks",
    [
        [(0.0, 1000, 0.0), (1.0, 0, 1.0)],
        [(0.0, 1000, 0.0), (0.5, 400, 0.5), (1.0, 0, 1.0)],
        [(0.0, 400, 0.0), (0.5, 400, 0.5), (1.0, 0, 1.0)],
    ],
)
def test_a_backlog_that_went_too_fast_to_be_looked_at_has_no_pace(looks):
    with pytest.raises(RuntimeError, match="too short"):
        pace(samples(*looks), 1000)
