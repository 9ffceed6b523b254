"""Calibration, threshold, metrics and the bootstrap: small numbers whose answers are known."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.calibration import calibrate
from trainer.core.bootstrap import interval_of_mean
from trainer.core.fitted_calibration import calibrated, fit_sign_table, fit_tables, sign_confidence
from trainer.core.metrics import classification, confusion, persistence, regression
from trainer.core.recipe import ClassWeights, weight_of_class
from trainer.core.reliability import reliability
from trainer.core.threshold import Costs, Leaning, choose, moves, of_classes, trades

FREE = Costs(fee_rate=0.0, slippage_rate=0.0)
DOWN, FLAT, UP = 0, 1, 2
HORIZON_NS = 1_000_000


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
    before = classification(raw, classes, majority=0, labels=(-1, 1))
    after = classification(calibrated(raw, tables), classes, majority=0, labels=(-1, 1))
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
    assert (figures["recall_down"], figures["recall_flat"], figures["recall_up"]) == (1, 1, 0.5)
    assert (figures["precision_flat"], figures["f1_up"]) == (0.5, pytest.approx(2 / 3))


def test_a_confusion_tells_what_was_named_for_each_class():
    named, classes = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])

    assert confusion(named, classes, count=3) == ((1, 0, 0), (0, 1, 0), (0, 1, 1))


def test_reliability_holds_what_was_promised_against_what_came_from_low_to_high():
    confidence = np.array([0.95, 0.35, 0.39, 1.0, 0.31, 0.9])
    correct = np.array([True, False, True, True, False, False])

    low, high = reliability(confidence, correct)

    assert (low.rows, low.predicted, low.observed) == (3, pytest.approx(0.35), pytest.approx(1 / 3))
    assert (high.rows, high.predicted, high.observed) == (3, pytest.approx(0.95), pytest.approx(2 / 3))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_every_row_is_in_one_bin_and_bins_are_in_order(answers):
    confidence, correct = (np.array(column) for column in zip(*answers, strict=True))

    bins = reliability(confidence.astype(float), correct)

    assert sum(each.rows for each in bins) == len(answers)
    assert sum(each.rows * each.observed for each in bins) == pytest.approx(sum(correct))
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)


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


def chosen(probabilities, moved, costs=FREE, *, min_trades=1, least_lead=0.05):
    return choose(
        of_classes(probabilities, (-1, 0, 1)),
        moved,
        costs,
        min_trades=min_trades,
        least_lead=least_lead,
        at_ns=np.arange(len(moved)) * HORIZON_NS,
        horizon_ns=HORIZON_NS,
    )


def acted(moved, *, costs=FREE, at=None, sides=None):
    """Trades of a model that is sure of every row, up where `sides` does not say otherwise."""
    sides = np.ones(len(moved), np.int64) if sides is None else sides
    sure = Leaning(side=sides, confidence=np.full(len(moved), 0.9), lead=np.full(len(moved), 0.8))
    return trades(
        sure,
        np.array(moved, dtype=float),
        costs,
        threshold=0.5,
        least_lead=0.05,
        at_ns=np.array(at if at is not None else range(len(moved))) * HORIZON_NS,
        horizon_ns=HORIZON_NS,
    )


def test_the_threshold_leaves_out_what_does_not_pay():
    # 40 sure rows that gain 2, 60 unsure ones that lose 1
    probabilities = np.array([[0.1, 0.1, 0.8]] * 40 + [[0.2, 0.3, 0.5]] * 60)
    moved = np.array([2.0] * 40 + [-1.0] * 60)

    found = chosen(probabilities, moved, min_trades=10)

    assert 0.5 < found.threshold <= 0.8
    assert (found.trades, found.expectancy, found.win_rate) == (40, 2.0, 1.0)


def test_a_threshold_that_lets_too_few_act_is_not_chosen():
    probabilities = np.array([[0.1, 0.1, 0.8]] * 5 + [[0.2, 0.3, 0.5]] * 60)
    moved = np.array([2.0] * 5 + [-1.0] * 60)

    assert chosen(probabilities, moved, min_trades=10).trades == 65
    assert chosen(probabilities, moved, min_trades=500).trades == 65


def test_a_model_that_leans_to_no_side_has_a_threshold_and_no_trades():
    found = chosen(np.array([[0.2, 0.6, 0.2]] * 9), np.zeros(9))

    assert (found.trades, found.expectancy, found.win_rate) == (0, 0.0, 0.0)
    assert 0 <= found.threshold <= 1
    assert found.notes == ("no trades: profit factor, Sharpe ratio and drawdown have no value",)
    assert (found.profit_factor, found.sharpe, found.max_drawdown) == (None, None, None)


def test_a_side_is_taken_where_inference_takes_it_although_flat_is_likelier():
    found = chosen(np.array([[0.05, 0.55, 0.40]] * 9), np.full(9, 0.01))

    assert (found.trades, found.win_rate) == (9, 1.0)


def test_a_side_that_leads_by_too_little_is_not_taken():
    probabilities = np.array([[0.44, 0.10, 0.46]] * 9)

    assert chosen(probabilities, np.ones(9)).trades == 0
    assert chosen(probabilities, np.ones(9), least_lead=0.0).trades == 9


def test_a_class_that_does_not_exist_has_no_probability():
    leaning = of_classes(np.array([[0.3, 0.7], [0.6, 0.4]]), (0, 1))

    assert leaning.side.tolist() == [1, 1]
    assert leaning.confidence.tolist() == [0.7, 0.4]


def test_a_trade_pays_its_costs_twice_and_goes_its_way():
    found = acted(
        [-0.01, 0.002],
        sides=np.array([-1, 1]),
        costs=Costs(fee_rate=0.001, slippage_rate=0.0005),
    )

    assert found.trades == 2
    assert found.expectancy_before_costs == pytest.approx(0.006)
    assert found.expectancy == pytest.approx(0.003)
    assert found.win_rate == 0.5


def test_the_trading_figures_of_a_known_sequence():
    found = acted([0.03, -0.01, -0.02, 0.04])

    assert found.profit_factor == pytest.approx(0.07 / 0.03)
    assert found.max_drawdown == pytest.approx(0.03)
    assert found.sharpe == pytest.approx(0.01 / np.std([0.03, -0.01, -0.02, 0.04], ddof=1))
    assert found.notes == ()


def test_one_position_is_held_at_a_time():
    found = acted([0.01, -0.5, -0.5, 0.02, 0.03], at=[0, 0.25, 0.75, 1, 2.5])

    assert (found.trades, found.in_sequence) == (5, 3)
    assert found.max_drawdown == 0.0
    assert found.win_rate == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("moved", "absent"),
    [
        ([0.01, 0.02], {"profit_factor"}),
        ([0.01, 0.01], {"profit_factor", "sharpe"}),
        ([-0.01], {"sharpe"}),
        ([0.0, 0.0], {"profit_factor", "sharpe"}),
    ],
)
def test_a_trading_figure_without_a_value_is_absent_with_a_note(moved, absent):
    found = acted(moved)

    figures = {name: getattr(found, name) for name in ("profit_factor", "sharpe", "max_drawdown")}
    assert {name for name, value in figures.items() if value is None} == absent
    assert len(found.notes) == len(absent)
    assert all(math.isfinite(value) for value in figures.values() if value is not None)


def test_moves_come_from_prices_and_from_elsewhere_where_there_is_none():
    at_ns = np.arange(5) * 10
    price = np.array([100.0, 110.0, np.nan, 121.0, 0.0])
    labelled = np.array([0.01, 0.01, -0.01, -0.01, 0.0])

    assert moves(at_ns, price, labelled, horizon_ns=10).tolist() == pytest.approx(
        [0.1, 0.01, -0.01, -1.0, 0.0]
    )
    assert moves(at_ns, None, labelled, horizon_ns=10).tolist() == labelled.tolist()
    np.testing.assert_allclose(
        moves(at_ns, price, horizon_ns=10), [0.1, np.nan, np.nan, -1.0, np.nan], equal_nan=True
    )


def test_a_number_is_as_sure_as_numbers_of_its_size_were_right():
    predicted = np.linspace(-1, 1, 4001)
    right = rng().random(4001) < 0.5 + np.abs(predicted) / 4
    came = np.where(right, np.sign(predicted), -np.sign(predicted))

    table = fit_sign_table(predicted, came)

    assert all(left < right and low <= high for (left, low), (right, high) in pairwise(table))
    assert sign_confidence(np.array([-0.9, 0.9]), table) == pytest.approx([0.725, 0.725], abs=0.03)
    assert sign_confidence(np.array([0.05, 50.0]), table) == pytest.approx([0.52, 0.74], abs=0.06)


def test_figures_of_known_numbers():
    figures = regression(
        np.array([0.02, -0.01, 0.01, 0.03]),
        np.array([0.01, -0.02, -0.01, 0.03]),
        majority=1,
        persisted=np.array([1.0, 0.01, -0.02, -0.01]),
    )

    assert figures["mse"] == pytest.approx(0.00015)
    assert figures["rmse"] == pytest.approx(math.sqrt(0.00015))
    assert figures["mae"] == pytest.approx(0.01)
    assert figures["directional_accuracy"] == figures["accuracy"] == 0.75
    assert figures["baseline_accuracy"] == 0.5
    assert figures["persistence_accuracy"] == 0.5
    assert figures["r2"] == pytest.approx(1 - 0.0006 / 0.001475)
    assert figures["roc_auc"] == 1.0


def test_figures_of_numbers_that_never_change_leave_out_what_has_no_value():
    figures = regression(np.array([0.1, 0.1]), np.array([0.0, 0.0]), majority=1)

    assert not {"r2", "roc_auc", "persistence_accuracy"} & set(figures)
    assert all(math.isfinite(value) for value in figures.values())


def test_persistence_names_what_was_known_at_the_instant():
    at_ns = np.array([0, 10, 20, 30, 100])
    came = np.array([1, 2, 0, 1, 2])

    assert persistence(at_ns, came, horizon_ns=20, first=9).tolist() == [9, 9, 1, 2, 1]


def test_rare_classes_weigh_more_and_the_mean_weight_is_one():
    classes = np.array([0] * 90 + [1] * 10)

    assert weight_of_class(classes, ClassWeights.NONE, count=2).tolist() == [1, 1]
    balanced = weight_of_class(classes, ClassWeights.BALANCED, count=2)
    halfway = weight_of_class(classes, ClassWeights.SQRT_BALANCED, count=2)
    assert balanced[1] / balanced[0] == pytest.approx(9)
    assert halfway[1] / halfway[0] == pytest.approx(3)
    assert balanced[classes].mean() == pytest.approx(1)
    assert halfway[classes].mean() == pytest.approx(1)
