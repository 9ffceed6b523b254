import numpy as np
import pytest

from trainer.core.bootstrap import direction_lift

ROWS = 6_000


def lift(leant, came):
    return direction_lift(np.asarray(leant, np.int8), came, horizon_rows=4, draws=np.random.default_rng(1))


def market(rates, seed=7):
    return np.random.default_rng(seed).choice([-1, 0, 1], size=ROWS, p=rates).astype(np.int8)


def coin(seed=3):
    return np.random.default_rng(seed).choice([-1, 1], size=ROWS)


def test_leaning_to_the_side_that_comes_is_proven():
    came = market((0.33, 0.34, 0.33))
    known = np.random.default_rng(2).random(ROWS) < 0.2

    assert lift(np.where(known & (came != 0), came, coin()), came).lower > 0


@pytest.mark.parametrize("rates", [(0.33, 0.34, 0.33), (0.2, 0.3, 0.5), (0.5, 0.3, 0.2), (0.05, 0.9, 0.05)])
def test_leaning_at_random_is_not_proven_whatever_the_market_did(rates):
    assert lift(coin(), market(rates)).lower <= 0


@pytest.mark.parametrize("side", [-1, 1])
def test_naming_one_side_for_ever_is_not_proven_however_far_the_market_drifts(side):
    assert lift(np.full(ROWS, side), market((0.2, 0.3, 0.5))).lower <= 0
    assert lift(np.full(ROWS, side), market((0.5, 0.3, 0.2))).lower <= 0
