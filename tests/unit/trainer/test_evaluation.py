"""Calibration, threshold, metrics and the bootstrap: small numbers whose answers are known."""

import math
from itertools import pairwise

import numpy as np
import pytest

from common.core.calibration import calibrate
from trainer.core.bootstrap import interval_of_mean
from trainer.core.fitted_calibration import calibrated, fit_tables
from trainer.core.metrics import classification
from trainer.core.threshold import Costs, choose, moves, trades

FREE = Costs(fee_rate=0.0, slippage_rate=0.0)
DOWN, FLAT, UP = 0, 1, 2


def rng():
    return np.random.default_rng(5)


def overconfident(rows=20_000):
    """Raw probabilities of two classes and labels that come true half as far from one half."""
    raw = rng().uniform(0.01, 0.99, rows)
    classes = (rng().permutation(np.linspace(0, 1, rows)) < 0.5 + (raw - 0.5) / 2).astype(np.int64)
    return np.column_stack([1 - raw, raw]), classes


def test_an_overconfident_model_is_told_what_its_probabilities_mean():
    raw, classes = overconfident()

    tables = fit_tables(raw, classes)

    assert calibrate((0.1, 0.9), tables)[1] == pytest.approx(0.7, abs=0.03)
    assert calibrate((0.5, 0.5), tables)[1] == pytest.approx(0.5, abs=0.03)
    before = classification(raw, classes, majority=0)
    after = classification(calibrated(raw, tables), classes, majority=0)
    assert after["ece"] < 0.02 < before["ece"]
    assert after["log_loss"] < before["log_loss"]


def test_tables_rise_strictly_even_where_the_outcome_falls():
    raw = np.linspace(0, 1, 500)
    tables = fit_tables(np.column_stack([1 - raw, raw]), (raw < 0.5).astype(np.int64))

    for table in tables:
        assert all(left < right for (left, _), (right, _) in pairwise(table))
        assert all(low <= high for (_, low), (_, high) in pairwise(table))


def test_a_model_that_says_the_same_of_every_row_has_a_table_of_one_point():
    raw = np.full((100, 2), 0.5)
    classes = np.array([0, 1] * 50)

    assert [len(table) for table in fit_tables(raw, classes)] == [1, 1]


def test_metrics_of_a_known_confusion():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [0.1, 0.2, 0.7]])
    classes = np.array([DOWN, FLAT, UP, UP])

    figures = classification(probabilities, classes, majority=UP)

    assert figures["accuracy"] == 0.75
    assert figures["baseline_accuracy"] == 0.5
    assert figures["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert figures["precision"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert figures["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert figures["log_loss"] == pytest.approx(-sum(map(math.log, (0.8, 0.7, 0.3, 0.7))) / 4)
    assert figures["mcc"] == pytest.approx(0.7, abs=0.01)
    assert figures["roc_auc"] == 1.0


def test_an_always_majority_model_has_no_correlation_and_no_ranking():
    probabilities = np.tile([0.2, 0.5, 0.3], (10, 1))
    classes = np.array([DOWN, FLAT, UP, FLAT, FLAT] * 2)

    figures = classification(probabilities, classes, majority=FLAT)

    assert (figures["mcc"], figures["roc_auc"]) == (0.0, 0.5)
    assert figures["accuracy"] == figures["baseline_accuracy"] == 0.6


def test_a_figure_without_a_value_is_left_out_and_none_is_nan():
    figures = classification(np.array([[0.1, 0.9, 0.0]]), np.array([FLAT]), majority=FLAT)

    assert "roc_auc" not in figures
    assert all(math.isfinite(value) for value in figures.values())


def test_blocks_keep_the_doubt_that_neighbours_share():
    independent = rng().choice([-1.0, 1.0], 3000)
    repeated = np.repeat(independent[:75], 40)

    narrow = interval_of_mean(independent, horizon_rows=1, draws=rng())
    wide = interval_of_mean(repeated, horizon_rows=40, draws=rng())

    assert narrow.lower < narrow.mean < narrow.upper
    assert narrow.upper - narrow.lower == pytest.approx(2 * 1.96 / math.sqrt(3000), rel=0.15)
    assert wide.upper - wide.lower == pytest.approx(2 * 1.96 / math.sqrt(75), rel=0.3)


@pytest.mark.parametrize(
    ("values", "expected"), [([], (0, -1, 1)), ([1.0], (1, 1, 1)), ([0.5] * 9, (0.5,) * 3)]
)
def test_an_interval_of_hardly_anything(values, expected):
    interval = interval_of_mean(np.array(values), horizon_rows=4, draws=rng())

    assert (interval.mean, interval.lower, interval.upper) == pytest.approx(expected)


def test_the_threshold_leaves_out_what_does_not_pay():
    # 40 sure rows that gain 2, 60 unsure ones that lose 1
    probabilities = np.array([[0.1, 0.1, 0.8]] * 40 + [[0.2, 0.3, 0.5]] * 60)
    moved = np.array([2.0] * 40 + [-1.0] * 60)

    chosen = choose(probabilities, moved, FREE, min_trades=10)

    assert 0.5 < chosen.threshold <= 0.8
    assert (chosen.trades, chosen.expectancy, chosen.win_rate) == (40, 2.0, 1.0)


def test_a_threshold_that_lets_too_few_act_is_not_chosen():
    probabilities = np.array([[0.1, 0.1, 0.8]] * 5 + [[0.2, 0.3, 0.5]] * 60)
    moved = np.array([2.0] * 5 + [-1.0] * 60)

    assert choose(probabilities, moved, FREE, min_trades=10).trades == 65
    assert choose(probabilities, moved, FREE, min_trades=500).trades == 65


def test_a_model_that_only_holds_has_a_threshold_and_no_trades():
    chosen = choose(np.array([[0.2, 0.6, 0.2]] * 9), np.zeros(9), FREE, min_trades=1)

    assert (chosen.trades, chosen.expectancy, chosen.win_rate) == (0, 0.0, 0.0)
    assert 0 <= chosen.threshold <= 1


def test_a_trade_pays_its_costs_twice_and_goes_its_way():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    moved = np.array([-0.01, 0.5, 0.002])

    done = trades(probabilities, moved, Costs(fee_rate=0.001, slippage_rate=0.0005), threshold=0.5)

    assert done.trades == 2
    assert done.expectancy_before_costs == pytest.approx(0.006)
    assert done.expectancy == pytest.approx(0.003)
    assert done.win_rate == 0.5


def test_moves_come_from_prices_and_from_the_label_where_there_is_none():
    at_ns = np.arange(5) * 10
    price = np.array([100.0, 110.0, np.nan, 121.0, 0.0])
    classes = np.array([UP, UP, DOWN, DOWN, FLAT])

    by_price = moves(at_ns, price, classes, horizon_ns=10, least_move=0.01)
    by_label = moves(at_ns, None, classes, horizon_ns=10, least_move=0.01)

    assert by_price.tolist() == pytest.approx([0.1, 0.01, -0.01, -1.0, 0.0])
    assert by_label.tolist() == [0.01, 0.01, -0.01, -0.01, 0.0]
