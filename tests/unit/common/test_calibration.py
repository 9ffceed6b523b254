"""Calibration as the trainer evaluates it and inference serves it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.calibration import calibrate

RISING = ((0.2, 0.1), (0.6, 0.5), (0.8, 0.9))
ALIKE = (RISING, RISING, RISING)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (0.0, 0.1),  # flat below the first point
        (0.2, 0.1),
        (0.4, 0.3),  # half way
        (0.6, 0.5),
        (0.7, 0.7),
        (0.8, 0.9),
        (1.0, 0.9),  # flat above the last
    ],
)
def test_a_probability_lies_on_the_line_between_its_neighbours(raw, expected):
    one_sided = (RISING, ((0.0, 0.0),), ((0.0, 1.0),))

    first, _, rest = calibrate((raw, 0.0, 0.0), one_sided)

    assert first / rest == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_calibrated_probabilities_sum_to_one_and_keep_their_order(raw):
    calibrated = calibrate(raw, ALIKE)

    assert sum(calibrated) == pytest.approx(1)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        if raw[one] > raw[other]:
            assert calibrated[one] >= calibrated[other]


def test_without_tables_nothing_changes():
    assert calibrate((0.2, 0.3, 0.5), ()) == (0.2, 0.3, 0.5)


def test_a_row_that_the_tables_send_to_nothing_keeps_its_raw_values():
    assert calibrate((0.2, 0.8), (((0.5, 0.0),), ((0.5, 0.0),))) == (0.2, 0.8)


def test_nan_stays_nan_and_decides_nothing():
    assert all(math.isnan(value) for value in calibrate((math.nan, 0.5, 0.5), ALIKE))
