"""Pure decisions about versions: what changes nothing, which figure is better, where a version comes from."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.calibration import Confusion, ReliabilityBin, SplitCalibration, of_evidence, of_live
from api.core.comparison import HIGHER_IS_BETTER, LOWER_IS_BETTER, Figure, better, compared, newest
from api.core.lineage import Lineage, Span, Training, lineage
from api.core.model_performance import (
    ActiveModel,
    Counted,
    ModelPerformance,
    SplitFigures,
    by_split,
    model_performance,
)
from api.core.versions import is_already_so

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def figure(name, value, *, split="test", hour=0):
    return Figure(
        metric_name=name, dataset_split=split, value=value, evaluated_at=NOON + timedelta(hours=hour)
    )


@pytest.mark.parametrize(
    ("version", "epoch", "expected", "holds"),
    [
        ("v7", 4, None, True),
        ("v7", 4, 4, True),
        ("v7", 4, 3, True),  # sent again: it stood at 3 when it was first sent
        ("v7", 4, 2, False),
        ("v7", 4, 5, False),
        ("v8", 4, None, False),
        ("v8", 4, 4, False),
    ],
)
def test_a_repeated_activation_changes_nothing(version, epoch, expected, holds):
    assert is_already_so(version, active_version="v7", epoch=epoch, expected_epoch=expected) is holds


def test_where_nothing_is_active_every_activation_changes_something():
    assert not is_already_so("v7", active_version=None, epoch=2, expected_epoch=None)


@pytest.mark.parametrize(
    ("name", "left", "right", "wins"),
    [
        ("accuracy", 0.5, 0.6, "right"),
        ("accuracy", 0.6, 0.5, "left"),
        ("recall_up", 0.6, 0.5, "left"),
        ("log_loss", 0.6, 0.5, "right"),
        ("max_drawdown", 0.1, 0.2, "left"),
        ("ece", 0.1, 0.1, "equal"),
        ("baseline_accuracy", 0.1, 0.2, None),
        ("trades", 1, 2, None),
    ],
)
def test_which_way_a_figure_is_better_follows_from_its_name(name, left, right, wins):
    assert better(name, left, right) == wins


@given(
    st.sampled_from(sorted(HIGHER_IS_BETTER | LOWER_IS_BETTER)),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_the_better_one_does_not_depend_on_the_side_it_is_shown_on(name, one, other):
    mirrored = {"left": "right", "right": "left", "equal": "equal"}

    assert better(name, one, other) == mirrored[better(name, other, one)]


def test_no_figure_is_better_both_ways():
    assert not HIGHER_IS_BETTER & LOWER_IS_BETTER


def test_of_several_evaluations_the_newest_counts():
    assert newest([figure("accuracy", 0.6, hour=2), figure("accuracy", 0.5, hour=1)]) == {
        ("accuracy", "test"): 0.6
    }


def test_what_one_side_lacks_is_shown_without_a_winner():
    [test, validation] = compared(
        [figure("accuracy", 0.5)], [figure("accuracy", 0.4), figure("accuracy", 0.7, split="validation")]
    )

    assert (test.left, test.right, test.better) == (0.5, 0.4, "left")
    assert test.difference == pytest.approx(-0.1)
    assert (validation.left, validation.difference, validation.better) == (None, None, None)


def test_a_version_without_a_past_has_an_empty_lineage():
    found = lineage(None, None, None)

    assert found.parameters == {}
    assert found.dataset_id is found.train_period is found.parent_version is found.trace_id is None


def test_everything_that_a_training_left_behind_is_in_the_lineage():
    periods = {
        split: {"start": NOON + timedelta(days=day), "end": NOON + timedelta(days=day + 1)}
        for day, split in enumerate(("train", "validation", "test"))
    }
    config = {"dataset_id": "d-1", "symbol": "BTCUSDT", "parameters": {"max_depth": 4}}
    run = Training(trigger="schedule", requested_by="ada", trace_id="t-1", figures={"periods": periods})

    found = lineage(config, {"champion": {"version": "v6"}, "unscored": ""}, run)

    assert found == Lineage(
        dataset_id="d-1",
        symbol="BTCUSDT",
        train_period=Span(**periods["train"]),
        validation_period=Span(**periods["validation"]),
        test_period=Span(**periods["test"]),
        parameters={"max_depth": 4},
        parent_version="v6",
        unscored=None,
        trigger="schedule",
        requested_by="ada",
        trace_id="t-1",
    )


def test_a_champion_that_could_not_be_scored_is_named_with_its_reason():
    run = Training(trigger="manual", requested_by="ada", trace_id="t", figures={"rows": 3})

    found = lineage({"symbol": "BTCUSDT"}, {"champion": None, "unscored": "its files are damaged"}, run)

    assert (found.parent_version, found.unscored) == (None, "its files are damaged")
    assert (found.requested_by, found.train_period) == ("ada", None)


def test_a_confusion_from_before_labels_were_kept_has_those_of_its_size():
    three = {"confusion": {"test": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}

    [found] = of_evidence(three)

    assert found.confusion.labels == [-1, 0, 1]
    assert "before they were kept" in found.reason


def test_a_regression_has_bins_and_no_labels():
    bins = {"test": [{"predicted": 0.6, "observed": 0.5, "rows": 9}]}

    [found] = of_evidence({"labels": [], "confusion": {}, "reliability": bins})

    assert (found.confusion.labels, found.confusion.counts) == ([], [])
    assert (found.bins[0].rows, found.reason) == (9, "a regression names no labels")


def test_evidence_of_both_splits_is_whole_and_needs_no_reason():
    evidence = {
        "labels": [-1, 1],
        "confusion": {"validation": [[5, 1], [2, 4]], "test": [[3, 2], [1, 6]]},
        "reliability": {
            "validation": [{"predicted": 0.55, "observed": 0.5, "rows": 12}],
            "test": [{"predicted": 0.6, "observed": 0.75, "rows": 12}],
        },
    }

    assert of_evidence(evidence) == [
        SplitCalibration(
            split="validation",
            bins=[ReliabilityBin(predicted=0.55, observed=0.5, rows=12)],
            confusion=Confusion(labels=[-1, 1], counts=[[5, 1], [2, 4]]),
            reason=None,
        ),
        SplitCalibration(
            split="test",
            bins=[ReliabilityBin(predicted=0.6, observed=0.75, rows=12)],
            confusion=Confusion(labels=[-1, 1], counts=[[3, 2], [1, 6]]),
            reason=None,
        ),
    ]


@pytest.mark.parametrize("evidence", [None, {}, {"confusion": None, "reliability": None}])
def test_without_evidence_no_split_is_calibrated(evidence):
    assert of_evidence(evidence) == []


def test_a_confusion_of_two_sides_from_before_labels_were_kept_names_the_sides():
    [found] = of_evidence({"labels": None, "confusion": {"validation": [[1, 2], [3, 4]]}})

    assert (found.split, found.bins, found.confusion.labels) == ("validation", [], [-1, 1])
    assert (
        found.reason == "its training kept none: it was made before they were kept, or its split had no rows"
    )


def test_bins_without_a_table_of_a_classifier_say_that_none_was_kept():
    [found] = of_evidence({"labels": [-1, 1], "reliability": {"test": []}})

    assert (found.confusion.counts, found.bins) == ([], [])
    assert found.reason.startswith("its training kept none")


def test_live_predictions_stand_by_what_came_and_what_was_named():
    assert of_live({"-1:1": 2.0, "1:1": 3.0, "1:-1": 1.0}) == SplitCalibration(
        split="live",
        bins=[],
        confusion=Confusion(labels=[-1, 1], counts=[[0, 2], [1, 3]]),
        reason="live predictions are counted by label, not by confidence",
    )


def test_nothing_counted_live_is_nothing():
    assert of_live({}) is None


@given(st.dictionaries(st.sampled_from(["-1:1", "1:1", "0:-1", "1:0"]), st.integers(1, 50), min_size=1))
def test_every_live_prediction_is_in_the_table_once(pairs):
    counts = of_live(pairs).confusion.counts

    assert sum(map(sum, counts)) == sum(pairs.values())
    assert {len(line) for line in counts} == {len(counts)}


def test_live_figures_without_a_baseline_have_no_lift():
    counted = [Counted(strategy_id="a", model_type="xgboost", is_active=True, versions=1)]

    found = model_performance(counted, [("a", "v1", "xgboost", [figure("accuracy", 0.5, split="live")])])

    [live] = found.active[0].metrics
    assert (live.dataset_split, live.accuracy, live.lift) == ("live", 0.5, None)
    assert (found.active_models_count, found.total_models_count) == (1, 1)


def test_versions_are_counted_by_strategy_and_type_and_those_that_trade_are_shown_in_order():
    counted = [
        Counted(strategy_id="b", model_type="xgboost", is_active=True, versions=1),
        Counted(strategy_id="b", model_type="forest", is_active=False, versions=3),
        Counted(strategy_id="a", model_type="xgboost", is_active=False, versions=4),
        Counted(strategy_id="a", model_type="xgboost", is_active=True, versions=1),
    ]

    found = model_performance(counted, [("b", "v4", "xgboost", []), ("a", "v9", "xgboost", [])])

    assert found == ModelPerformance(
        active_models_count=2,
        total_models_count=9,
        models_by_strategy={"a": 5, "b": 4},
        models_by_type={"forest": 3, "xgboost": 6},
        active=[
            ActiveModel(strategy_id="a", version="v9", model_type="xgboost", metrics=[]),
            ActiveModel(strategy_id="b", version="v4", model_type="xgboost", metrics=[]),
        ],
    )
    assert list(found.models_by_strategy) == ["a", "b"]


def test_each_split_has_its_own_figures_and_the_unnamed_one_is_first():
    figures = [
        figure("accuracy", 0.7),
        figure("baseline_accuracy", 0.4),
        figure("lift", 0.25),
        figure("lift_lower", 0.2),
        figure("lift_upper", 0.35),
        figure("directional_accuracy", 0.6, split="live"),
        figure("baseline_accuracy", 0.5, split="live"),
        figure("accuracy", 0.9, split=None),
    ]

    unnamed, live, test = by_split(figures)

    nothing = {"baseline_accuracy": None, "lift": None, "lift_lower": None, "lift_upper": None}
    assert unnamed == SplitFigures(dataset_split=None, accuracy=0.9, **nothing)
    assert live == SplitFigures(
        dataset_split="live",
        accuracy=0.6,
        baseline_accuracy=0.5,
        lift=pytest.approx(0.1),
        lift_lower=None,
        lift_upper=None,
    )
    assert test == SplitFigures(
        dataset_split="test",
        accuracy=0.7,
        baseline_accuracy=0.4,
        lift=0.25,  # as it was judged, not as it is subtracted
        lift_lower=0.2,
        lift_upper=0.35,
    )


def test_an_accuracy_is_preferred_to_a_directional_one_and_a_baseline_alone_has_no_lift():
    both, lone = by_split(
        [
            figure("accuracy", 0.5, split="a"),
            figure("directional_accuracy", 0.6, split="a"),
            figure("baseline_accuracy", 0.4, split="b"),
        ]
    )

    assert both.accuracy == 0.5
    assert (lone.accuracy, lone.baseline_accuracy, lone.lift) == (None, 0.4, None)
