import math
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import FeatureVector
from inference.core import live_score
from inference.core.live_score import Prediction
from inference.core.model import Model
from inference.live_quality import MOST_WAITING, LiveQuality

START = datetime(2026, 3, 1, 11, 59, 0, tzinfo=UTC)


def model(**changes):
    values = {
        "version": "v3",
        "sha256": "ab" * 32,
        "symbol": "BTCUSDT",
        "features": ("returns_1m",),
        "optional_features": frozenset(),
        "labels": (-1, 0, 1),
        "threshold": 0.5,
        "calibration": (),
        "feature_registry_version": "1.0.0",
        "horizon_s": 10.0,
        "label_threshold": 0.001,
    }
    return Model(**{**values, **changes})


REGRESSION = {"task": "regression", "labels": (), "sign_confidence": ((0.0, 0.5),), "label_threshold": 0.0}


def prediction(*answer, price=100.0, **changes):
    return Prediction(at=START, price=price, answer=answer, **changes)


def vector(at_s, **features):
    return FeatureVector(
        timestamp=START + timedelta(seconds=at_s),
        symbol="BTCUSDT",
        features=features,
        feature_registry_version="1.0.0",
    )


@pytest.mark.parametrize(("price", "actual"), [(151.0, 1), (150.0, 0), (100.0, 0), (50.0, 0), (49.0, -1)])
def test_the_label_is_the_trainers_beyond_the_threshold_not_at_it(price, actual):
    sums = live_score.scored(prediction(0.2, 0.3, 0.5), model(label_threshold=0.5), price)

    assert sums[f"confusion:{actual}:1"] == 1


@pytest.mark.parametrize(
    ("answer", "log_loss", "brier"),
    [
        ((0.0, 0.0, 1.0), 0.0, 0.0),
        ((0.2, 0.3, 0.5), -math.log(0.5), (0.04 + 0.09 + 0.25) / 2),
        ((1.0, 0.0, 0.0), -math.log(1e-15), 1.0),
    ],
)
def test_a_prediction_is_scored_by_its_calibrated_probabilities(answer, log_loss, brier):
    sums = live_score.scored(prediction(*answer), model(), 101.0)

    assert sums["log_loss"] == pytest.approx(log_loss)
    assert sums["brier"] == pytest.approx(brier)


def test_an_outcome_that_a_binary_model_does_not_know_counts_as_thought_impossible():
    sums = live_score.scored(prediction(0.3, 0.7), model(labels=(-1, 1)), 100.0)

    assert sums["confusion:0:1"] == 1
    assert sums["log_loss"] == pytest.approx(-math.log(1e-15))
    assert sums["brier"] == pytest.approx((0.3**2 + 0.7**2 + 1) / 2)


def test_a_regression_is_scored_in_the_units_of_its_target():
    plain = live_score.scored(prediction(0.01), model(**REGRESSION), 102.0)
    adjusted = live_score.scored(prediction(-3.0, volatility=0.01), model(**REGRESSION), 102.0)

    assert plain == pytest.approx(
        {"predictions": 1.0, "scored": 1.0, "squared_error": 0.01**2, "confusion:1:1": 1.0}
    )
    assert adjusted == pytest.approx(
        {"predictions": 1.0, "scored": 1.0, "squared_error": (-3.0 - 2.0) ** 2, "confusion:1:-1": 1.0}
    )


def test_the_sign_of_a_regression_has_no_threshold():
    still = live_score.scored(prediction(1e-12), model(**REGRESSION), 100.0)

    assert still["confusion:0:1"] == 1


def test_figures_are_those_of_the_sums():
    sums = {
        "predictions": 5.0,
        "scored": 4.0,
        "log_loss": 3.0,
        "brier": 1.0,
        "confusion:1:1": 2.0,
        "confusion:0:1": 1.0,
        "confusion:-1:-1": 1.0,
    }

    assert live_score.figures(sums, "classification") == {
        "coverage": 0.8,
        "accuracy": 0.75,
        "log_loss": 0.75,
        "brier": 0.25,
    }
    assert live_score.figures({"predictions": 2.0}, "classification") == {"coverage": 0.0}
    assert live_score.confusion(sums) == {"1:1": 2, "0:1": 1, "-1:-1": 1}
    regression = {"predictions": 4.0, "scored": 4.0, "squared_error": 16.0, "confusion:1:1": 3.0}
    assert live_score.figures({**regression, "confusion:1:-1": 1.0}, "regression") == {
        "coverage": 1.0,
        "mse": 4.0,
        "rmse": 2.0,
        "directional_accuracy": 0.75,
    }


_SUMS = st.dictionaries(st.sampled_from(["predictions", "scored", "confusion:1:0"]), st.integers(0, 99))


@given(_SUMS, _SUMS, _SUMS)
def test_sums_add_up_in_any_order(one, two, three):
    added = live_score.added

    assert added(added(one, two), three) == added(one, added(three, two))


class Sums(LiveQuality):
    """What would be flushed, without a database."""

    def __init__(self):
        super().__init__(engine=None)

    def total(self):
        total = {}
        for sums in self.pending.values():
            total = live_score.added(total, sums)
        return total


@pytest.mark.parametrize(
    ("later_s", "scored"), [((9.999,), None), ((10.0,), 1), ((12.0,), 1), ((12.001,), 0), ((9.0, 11.0), 1)]
)
def test_a_prediction_is_scored_by_the_first_vector_after_its_horizon_if_that_comes_in_time(later_s, scored):
    quality = Sums()
    quality.observe(vector(0), 100.0)
    quality.noted(model(), vector(0), (0.2, 0.3, 0.5))

    for at_s in later_s:
        quality.observe(vector(at_s), 101.0)

    total = quality.total()
    assert total == {} if scored is None else total["predictions"] == 1
    assert total.get("scored", 0) == (scored or 0)


def test_an_answer_that_cannot_be_scored_lowers_the_coverage():
    quality = Sums()
    adjusted = model(**REGRESSION, volatility_feature="volatility_5m")
    quality.observe(vector(0), 100.0)

    quality.noted(model(), vector(0), (math.nan, 0.5, 0.5))
    quality.noted(model(), vector(1), (0.2, 0.3, 0.5))  # its price was never observed
    quality.noted(adjusted, vector(0), (2.0,))
    quality.noted(adjusted, vector(0, volatility_5m=0.0), (2.0,))

    assert quality.total() == {"predictions": 4}


def test_a_long_horizon_keeps_a_bounded_number_of_predictions_spread_over_it():
    quality = Sums()
    long = model(horizon_s=10.0 * MOST_WAITING)

    for n in range(2_000):
        quality.observe(vector(n), 100.0)
        quality.noted(long, vector(n), (0.2, 0.3, 0.5))

    assert quality.waiting == 200
    assert quality.total() == {"predictions": 1_800}


def test_live_figures_are_exactly_those_of_a_straightforward_reference():
    random_ = random.Random(5)
    versions = [model(), model(version="v4", horizon_s=45.0, labels=(1, -1), label_threshold=0.0)]
    stream, at_s, price = [], 0.0, 100.0
    for _ in range(600):
        # Now and then the stream is silent for longer than any tolerance.
        at_s += 30.0 if random_.random() < 0.02 else random_.uniform(0.1, 1.5)
        price *= 1 + random_.gauss(0, 0.0008)
        stream.append((at_s, price))
    said = {
        (of.version, at_s): _shares(random_, len(of.labels))
        for of in versions
        for at_s, _ in stream
        if random_.random() < 0.9
    }

    quality = Sums()
    for at_s, price in stream:
        seen = vector(at_s)
        quality.observe(seen, price)
        for of in versions:
            if (of.version, at_s) in said:
                quality.noted(of, seen, said[of.version, at_s])

    hours = {hour for _, hour in quality.pending}
    assert len(hours) == 2
    for of in versions:
        for hour in hours:
            expected = _reference(of, stream, said, hour)
            found = quality.pending[of.version, hour]
            assert found.keys() == expected.keys()
            assert found == pytest.approx(expected)
            assert 0 < found["scored"] < found["predictions"]


def _shares(random_, count):
    parts = [random_.random() for _ in range(count)]
    return tuple(part / sum(parts) for part in parts)


def _reference(of, stream, said, hour):
    """Every prediction looks through the whole stream for its outcome."""
    sums = dict.fromkeys(("predictions", "scored", "log_loss", "brier"), 0.0)
    last_s = stream[-1][0]
    tolerance_s = max(2.0, of.horizon_s / 10)
    for at_s, price in stream:
        answer = said.get((of.version, at_s))
        due_s = at_s + of.horizon_s
        same_hour = vector(at_s).timestamp.replace(minute=0, second=0, microsecond=0) == hour
        if answer is None or not same_hour or due_s > last_s:
            continue
        sums["predictions"] += 1
        later = next((p for t, p in stream if due_s <= t <= due_s + tolerance_s), None)
        if later is None:
            continue
        moved = later / price - 1
        actual = 1 if moved > of.label_threshold else -1 if moved < -of.label_threshold else 0
        predicted = of.labels[answer.index(max(answer))]
        by_label = dict.fromkeys((-1, 0, 1), 0.0) | dict(zip(of.labels, answer, strict=True))
        sums["scored"] += 1
        sums["log_loss"] -= math.log(max(by_label[actual], 1e-15))
        sums["brier"] += sum((p - (label == actual)) ** 2 for label, p in by_label.items()) / 2
        name = f"confusion:{actual}:{predicted}"
        sums[name] = sums.get(name, 0) + 1
    return sums
