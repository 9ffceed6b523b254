"""Pure decisions about versions: what changes nothing, which figure is better, where a version comes from."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.calibration import of_evidence, of_live
from api.core.comparison import HIGHER_IS_BETTER, LOWER_IS_BETTER, Figure, better, compared, newest
from api.core.lineage import Training, lineage
from api.core.model_performance import Counted, model_performance
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
