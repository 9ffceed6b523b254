import numpy as np
import pytest

from trainer.core.bootstrap import direction_lift

ROWS = 6_000
DOWN, FLAT, UP = 0, 1, 2


def lift(leans, classes):
    """`leans` (n,) in -1..1: how much more probable up is than down."""
    probabilities = np.stack([(1 - leans) / 3, np.full(len(leans), 1 / 3), (1 + leans) / 3], axis=1)
    return direction_lift(probabilities, classes, horizon_rows=4, draws=np.random.default_rng(1))


def market(rates, seed=7):
    return np.random.default_rng(seed).choice([DOWN, FLAT, UP], size=ROWS, p=rates)


def test_leaning_to_the_side_that_comes_is_proven():
    classes = market((0.33, 0.34, 0.33))
    known = np.where(np.random.default_rng(2).random(ROWS) < 0.2, classes - 1.0, 0.01)

    assert lift(known, classes).lower > 0


@pytest.mark.parametrize("rates", [(0.33, 0.34, 0.33), (0.2, 0.3, 0.5), (0.5, 0.3, 0.2), (0.05, 0.9, 0.05)])
def test_leaning_at_random_is_not_proven_whatever_the_market_did(rates):
    leans = np.random.default_rng(3).uniform(-1, 1, ROWS)

    assert lift(leans, market(rates)).lower <= 0


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_naming_one_side_for_ever_is_not_proven_however_far_the_market_drifts(side):
    assert lift(np.full(ROWS, side), market((0.2, 0.3, 0.5))).lower <= 0
    assert lift(np.full(ROWS, side), market((0.5, 0.3, 0.2))).lower <= 0


def test_knowing_that_a_move_comes_but_not_where_to_is_not_proven():
    classes = market((0.33, 0.34, 0.33))
    moves = (classes != FLAT).astype(float)
    probabilities = np.stack([0.1 + 0.35 * moves, 0.8 - 0.7 * moves, 0.1 + 0.35 * moves], axis=1)

    found = direction_lift(probabilities, classes, horizon_rows=4, draws=np.random.default_rng(1))

    assert found.lower <= 0
