"""Each kind of model and target: fitted, read back as inference reads it, and never decided otherwise."""

import numpy as np
import polars as pl
import pytest
from tests.unit.trainer import market_files

from trainer import fit
from trainer.core.recipe import ClassWeights, ModelType, TargetType
from trainer.export import score
from trainer.job import ONNX, UBJ

ROWS = (2000, 800, 800)
EDGE = 0.25
REGRESSION = {"target_type": TargetType.REGRESSION}
RISK_ADJUSTED = {"target_type": TargetType.RISK_ADJUSTED, "volatility_feature": "volatility_48"}


def three_classes(frames):
    return frames


def with_holes(frames):
    def pierce(frame):
        rows = pl.int_range(pl.len())
        return frame.with_columns(
            pl.when(rows % 7 == number).then(None).otherwise(pl.col(name)).alias(name)
            for number, name in enumerate(["rsi_14", "volume_1"])
        )

    return {name: pierce(frame) for name, frame in frames.items()}


def two_classes(frames):
    return {name: frame.filter(pl.col("target") != 0) for name, frame in frames.items()}


def returns(frames):
    ahead = pl.col("mid_price").shift(-market_files.HORIZON_BARS) / pl.col("mid_price") - 1
    whole = pl.concat(frames.values()).with_columns(target=ahead.fill_null(0.0))
    found, start = {}, 0
    for name, frame in frames.items():
        found[name], start = whole[start : start + len(frame)], start + len(frame)
    return found


def risk_adjusted(frames):
    return {
        name: frame.with_columns(target=pl.col("target") / pl.col("volatility_48"))
        for name, frame in returns(frames).items()
    }


def fitted(directory, change, **changes):
    directory.mkdir(exist_ok=True)
    market_files.write(change(market_files.frames(ROWS, edge=EDGE)), directory)
    job = market_files.job(ROWS, edge=EDGE, min_train_rows=500, **changes)
    result = fit.run(job, directory)
    assert result.rejection is None
    return result.fitted


@pytest.mark.parametrize("model_type", ModelType)
@pytest.mark.parametrize("change", [three_classes, two_classes, with_holes])
def test_a_classifier_is_served_as_it_was_fitted(tmp_path, model_type, change):
    found = fitted(tmp_path, change, model_type=model_type)

    labels = (-1, 1) if change is two_classes else (-1, 0, 1)
    manifest = found.manifest
    assert (manifest.task, manifest.model_type, manifest.labels) == ("classification", model_type, labels)
    assert (manifest.output_name, len(manifest.calibration)) == ("probabilities", len(labels))
    assert found.parity.decision_flips == 0
    assert found.parity.relative_difference < 1e-4
    assert min(found.parity.rows.values()) > 100
    for golden in manifest.golden:
        assert len(golden.outputs) == len(labels)
        assert sum(golden.outputs) == pytest.approx(1, abs=1e-5)
    assert found.metrics["test"]["accuracy"] > found.metrics["test"]["baseline_accuracy"]
    assert sum(map(sum, found.confusion["test"])) == found.rows["test"]
    assert sum(each.rows for each in found.reliability["test"]) == found.rows["test"]
    assert (tmp_path / UBJ).exists() == (model_type is ModelType.XGBOOST)


def test_class_returns_are_what_prices_did_after_each_label(tmp_path):
    known = fitted(tmp_path / "prices", three_classes, model_type=ModelType.LOGISTIC_REGRESSION)
    unknown = fitted(
        tmp_path / "none",
        lambda frames: {name: frame.drop("mid_price") for name, frame in frames.items()},
        model_type=ModelType.LOGISTIC_REGRESSION,
    )

    down, flat, up = known.manifest.class_returns
    assert down < -0.001 < flat < 0.001 < up
    assert unknown.manifest.class_returns == ()


@pytest.mark.parametrize(
    ("model_type", "change", "changes"),
    [
        (ModelType.XGBOOST, returns, REGRESSION),
        (ModelType.RANDOM_FOREST, returns, REGRESSION),
        (ModelType.XGBOOST, risk_adjusted, RISK_ADJUSTED),
        (ModelType.RANDOM_FOREST, risk_adjusted, RISK_ADJUSTED),
    ],
)
def test_a_regression_is_served_as_it_was_fitted(tmp_path, model_type, change, changes):
    found = fitted(tmp_path, change, model_type=model_type, **changes)

    manifest = found.manifest
    assert (manifest.task, manifest.target, manifest.labels) == ("regression", changes["target_type"], ())
    assert manifest.volatility_feature == changes.get("volatility_feature")
    assert (manifest.output_name, manifest.calibration) == ("predictions", ())
    confidences = [confidence for _, confidence in manifest.sign_confidence]
    assert confidences == sorted(confidences)
    assert found.parity.decision_flips == 0
    assert found.parity.relative_difference < 1e-4
    assert {len(golden.outputs) for golden in manifest.golden} == {1}
    figures = found.metrics["test"]
    assert figures["directional_accuracy"] > figures["baseline_accuracy"]
    assert figures["r2"] > 0
    assert found.evidence.accuracy == pytest.approx(figures["directional_accuracy"])
    rows = np.full((2, len(manifest.features)), np.nan, np.float32)
    assert score((tmp_path / ONNX).read_bytes(), rows, output_name="predictions").shape == (2, 1)


@pytest.mark.parametrize("model_type", ModelType)
def test_the_same_data_and_seed_give_the_same_bytes_of_every_kind(tmp_path, model_type):
    for name in ("one", "other"):
        fitted(tmp_path / name, with_holes, model_type=model_type)

    assert (tmp_path / "one" / ONNX).read_bytes() == (tmp_path / "other" / ONNX).read_bytes()


def test_weights_let_rare_classes_be_named(tmp_path):
    def mostly_flat(frames):
        def thin(frame):
            calm = (pl.col("target") != 0) & (pl.int_range(pl.len()) // 40 % 4 != 0)
            return frame.with_columns(target=pl.when(calm).then(0).otherwise(pl.col("target")))

        return {name: thin(frame) for name, frame in frames.items()}

    def raw_share_of_flat(weights):
        directory = tmp_path / weights
        fitted(
            directory,
            mostly_flat,
            model_type=ModelType.LOGISTIC_REGRESSION,
            class_weights=weights,
        )
        rows = (
            fit.prepare(market_files.job(ROWS, edge=EDGE, min_train_rows=500), directory)
            .rows["test"]
            .matrix()
        )
        return score((directory / ONNX).read_bytes(), rows)[:, 1].mean()

    none, halfway, balanced = (
        raw_share_of_flat(weights)
        for weights in (ClassWeights.NONE, ClassWeights.SQRT_BALANCED, ClassWeights.BALANCED)
    )

    assert none > halfway + 0.1 > balanced + 0.2


def test_without_a_test_validation_stands_in(tmp_path):
    found = fitted(
        tmp_path,
        three_classes,
        model_type=ModelType.SGD_CLASSIFIER,
        splits={"train": "train.parquet", "validation": "validation.parquet", "test": None},
        missing={"test": "file_not_found"},
    )

    assert found.evidence.source == "validation"
    assert "test" not in found.metrics
    assert "test: missing (file_not_found)" in found.notes
