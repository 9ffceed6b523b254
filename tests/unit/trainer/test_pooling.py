"""Pooled evidence: whose rows count, how often, and what they are held against."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Unusable
from trainer.core.overlap import excess_agreement
from trainer.core.pooling import Scored, evidence, folds, pool, score_classes, score_returns, weigh
from trainer.scored_rows import read_rows, write_rows

LABELS = (-1, 0, 1)


def part(start, count, *, step=1, named=1):
    """Rows at start, start + step, ...; the model always names `named`, which tells the parts apart."""
    came = np.tile([1, 0, -1], count)[:count].astype(np.int8)
    return Scored(
        at_ns=np.arange(start, start + count * step, step, dtype=np.int64),
        came=came,
        named=np.full(count, named, np.int8),
        leant=np.ones(count, np.int8),
        majority=np.zeros(count, np.int8),
        persisted=np.zeros(count, np.int8),
        net=np.full(count, np.nan),
    )


def draws():
    return np.random.default_rng(1)


def test_pooled_rows_are_in_time_order_whatever_order_the_runs_came_in():
    pooled = pool([part(200, 10), part(0, 10), part(100, 10)])

    assert pooled.at_ns.tolist() == [*range(10), *range(100, 110), *range(200, 210)]


def test_an_instant_that_several_runs_tested_counts_once_and_the_newest_runs_answer_holds():
    pooled = pool([part(5, 10, named=1), part(0, 10, named=-1), part(0, 20, named=0)])

    assert pooled.at_ns.tolist() == list(range(20))
    assert pooled.named.tolist() == [-1] * 5 + [1] * 10 + [0] * 5


def test_the_same_stretch_on_another_grid_of_instants_is_not_counted_again():
    assert len(pool([part(0, 10, step=10), part(3, 9, step=10)])) == 10


@given(spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(1, 3)), max_size=6))
def test_no_instant_is_ever_pooled_twice_and_time_only_rises(spans):
    pooled = pool([part(start, count, step=step) for start, count, step in spans])

    assert np.all(np.diff(pooled.at_ns) > 0)
    assert {name: len(getattr(pooled, name)) for name in Scored.__struct_fields__} == dict.fromkeys(
        Scored.__struct_fields__, len(pooled)
    )


def test_persistence_names_the_newest_outcome_that_was_known_by_then():
    probabilities = np.tile([0.2, 0.3, 0.5], (6, 1))
    found = score_classes(
        np.arange(6) * 10,
        probabilities=probabilities,
        classes=np.array([0, 1, 2, 2, 0, 1]),
        labels=LABELS,
        majority=1,
        net=np.full(6, np.nan),
        horizon_ns=20,
    )

    assert found.came.tolist() == [-1, 0, 1, 1, -1, 0]
    assert found.persisted.tolist() == [0, 0, -1, 0, 1, 1]
    assert set(found.named) == set(found.leant) == {1}


def test_of_two_classes_without_a_side_no_move_is_the_other_side():
    found = score_classes(
        np.arange(3),
        probabilities=np.array([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]]),
        classes=np.array([0, 1, 1]),
        labels=(0, 1),
        majority=0,
        net=np.zeros(3),
        horizon_ns=1,
    )

    assert found.came.tolist() == [-1, 1, 1]
    assert (found.named[0], found.leant[0], found.named[1], found.leant[1]) == (-1, -1, 1, 1)
    assert set(found.majority) == {-1}


def test_a_regression_is_held_by_the_signs_of_its_answers():
    found = score_returns(
        np.arange(4),
        predicted=np.array([0.1, -0.2, 0.0, 0.3]),
        came=np.array([0.5, 0.1, -0.1, 0.0]),
        majority=1,
        net=np.array([0.1, np.nan, -0.2, np.nan]),
        horizon_ns=1,
    )
    proof = weigh(found, horizon_rows=1, draws=draws())

    assert found.named.tolist() == [1, -1, 1, 1]
    assert found.came.tolist() == [1, 1, -1, 0]
    assert (proof.accuracy, proof.baseline_accuracy) == (0.25, 0.5)
    assert (proof.trades, proof.expectancy.mean) == (2, pytest.approx(-0.05))


def test_more_rows_of_the_same_kind_narrow_what_is_known():
    rng = np.random.default_rng(3)

    def run(start):
        known = rng.random(400) < 0.3
        came = rng.choice([-1, 0, 1], 400).astype(np.int8)
        named = np.where(known, came, rng.choice([-1, 0, 1], 400)).astype(np.int8)
        rows = part(start, 400)
        return Scored(
            **{name: getattr(rows, name) for name in ("at_ns", "majority", "persisted", "net")},
            came=came,
            named=named,
            leant=np.where(named < 0, -1, 1).astype(np.int8),
        )

    runs = [run(start) for start in (3000, 2000, 1000, 0)]
    given_runs = {
        "source": "test",
        "horizon_rows": 4.0,
        "majority_label": 0,
        "roc_auc": None,
        "validation_lift": 0.0,
        "validation_effective_rows": 1.0,
        "champion": None,
    }
    alone = evidence(runs[0], draws=draws(), **given_runs)
    together = evidence(runs[0], runs[1:], draws=draws(), **given_runs)

    assert (alone.effective_rows, together.effective_rows) == (100, 400)
    assert together.own_lift.mean == alone.lift.mean
    assert together.lift.upper - together.lift.lower < 0.7 * (alone.lift.upper - alone.lift.lower)
    assert together.lift.lower > 0


def test_without_rows_nothing_is_known():
    proof = weigh(pool([]), horizon_rows=4, draws=draws())

    assert (proof.rows, proof.effective_rows, proof.accuracy) == (0, 0.0, 0.0)
    assert (proof.lift.lower, proof.direction.lower, proof.expectancy.lower) == (-1, -1, -1)


@given(rows=st.integers(0, 20_000), wanted=st.integers(1, 20_000), least=st.integers(1, 5_000))
def test_folds_walk_forward_touch_and_leave_enough_to_be_fitted_to(rows, wanted, least):
    found = folds(rows, wanted=wanted, most=4, min_train_rows=least)

    assert len(found) in {0, 4}
    for before, after in pairwise(found):
        assert before.end == after.test
    for fold in found:
        assert least <= fold.validation < fold.test < fold.end <= rows
    if found:
        assert found[-1].end == rows
        assert sum(fold.end - fold.test for fold in found) == min(wanted, rows // 2)


def test_the_rows_of_a_version_are_read_back_as_they_were_and_written_alike(tmp_path):
    written = part(0, 50)
    for name in ("one", "other"):
        write_rows(tmp_path / name, written)

    found = read_rows((tmp_path / "one").read_bytes())

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    for name in Scored.__struct_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))


@pytest.mark.parametrize("content", [b"", b"PAR1 not a parquet file"])
def test_bytes_that_are_no_rows_are_unusable(content):
    with pytest.raises(Unusable, match="cannot be read"):
        read_rows(content)


@pytest.mark.parametrize("horizon_rows", [2, 4, 30])
def test_neighbours_share_their_future_until_somebody_shuffles_them(horizon_rows):
    steps = np.random.default_rng(5).normal(size=4_000 + horizon_rows)
    walk = np.convolve(steps, np.ones(horizon_rows), mode="valid")[:4_000]
    came = (walk > 0.5).astype(np.int64) - (walk < -0.5)

    assert excess_agreement(came, horizon_rows=horizon_rows) > 0.15
    shuffled = np.random.default_rng(6).permutation(came)
    assert abs(excess_agreement(shuffled, horizon_rows=horizon_rows)) < 0.05


@pytest.mark.parametrize(("rows", "horizon_rows"), [(999, 4.0), (4_000, 1.0)])
def test_of_few_rows_or_rows_a_horizon_apart_nothing_is_said(rows, horizon_rows):
    assert excess_agreement(np.arange(rows) % 3 - 1, horizon_rows=horizon_rows) is None


def test_one_outcome_only_says_nothing():
    assert excess_agreement(np.zeros(5_000, np.int64), horizon_rows=4) is None
