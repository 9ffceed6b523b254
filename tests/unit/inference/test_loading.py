"""Version files on disk: which are made ready to predict, and with which sentence the others are refused."""

import math
from typing import ClassVar

import pytest
from onnx import TensorProto
from tests.unit.inference.model_files import FEATURES, echo, manifest, regression, weighted

from common import artifacts
from common.artifacts import Golden
from common.errors import Unusable
from common.model_directory import ModelDirectory
from inference.contributions import explained
from inference.core.model import Model
from inference.loading import load


def loaded(root, described, onnx):
    sha256 = artifacts.write(ModelDirectory(root), described.version, described, {"model.onnx": onnx})
    return load(ModelDirectory(root), described.version, sha256)


@pytest.mark.parametrize(
    ("described", "onnx", "row", "answer"),
    [
        (manifest(), echo(), (0.1, 0.3, 0.6), (0.1, 0.3, 0.6)),
        (
            manifest(labels=(-1, 1), golden=(Golden((0.4, 0.6, 9.0), (0.4, 0.6)),)),
            echo(2),
            (0.1, 0.9, 0.0),
            (0.1, 0.9),
        ),
        (
            manifest(calibration=(((0.0, 0.0), (1.0, 0.5)), ((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.2),))),
            echo(),
            (0.1, 0.2, 0.7),
            (0.05 / 0.45, 0.2 / 0.45, 0.2 / 0.45),
        ),
        (regression(), weighted(1, 2, 1), (0.01, -0.02, 0.0), (-0.03,)),
    ],
)
def test_a_version_answers_with_what_its_manifest_says_it_means(tmp_path, described, onnx, row, answer):
    assert loaded(tmp_path, described, onnx).answer(row) == pytest.approx(answer, abs=1e-6)


@pytest.mark.parametrize(
    ("described", "onnx", "says"),
    [
        (manifest(features=(*FEATURES, "fourth")), echo(), "rows of shape .* its manifest names 4 features"),
        (
            manifest(labels=(-1, 1), golden=(Golden((0.4, 0.6, 9.0), (0.4, 0.6)),)),
            echo(),
            r"answers 1 rows in the shape \(1, 3\), its manifest asks for 2 labels",
        ),
        (
            manifest(golden=(Golden((0.9, 0.1, -0.4), (0.9, 0.1, -0.4)),)),
            echo(),
            "no probabilities, as a classification's would be",
        ),
        (
            manifest(),
            weighted(1, 2, 1, gives="probabilities"),
            r"the shape \(1, 1\), its manifest asks for 3 labels",
        ),
        (
            regression(output_name="probabilities"),
            echo(),
            r"the shape \(1, 3\), its manifest asks for one prediction",
        ),
        (manifest(), echo(flat=True), r"in the shape \(3,\)"),
        (manifest(), echo(dtype=TensorProto.INT64), r"is tensor\(int64\), not floats"),
        (manifest(), echo(takes="rows"), "takes 'rows' as .* not one input 'features'"),
        (manifest(output_name="label"), echo(), "no output 'label', only probabilities"),
        (manifest(golden=()), echo(), "no golden rows"),
        (manifest(golden=(Golden((0.2, 0.3), (0.2, 0.3, 0.5)),)), echo(), "not 3 features and 3 outputs"),
        (
            manifest(golden=(Golden((0.2, 0.3, 0.5), (0.3, 0.2, 0.5)),)),
            echo(),
            "its golden rows differ by 0.1",
        ),
        (manifest(golden=(Golden((None, 0.3, 0.5), (0.2, 0.3, 0.5)),)), echo(), "NaN or infinity"),
        (manifest(), b"not a model", "cannot be served"),
    ],
)
def test_a_version_that_does_not_do_what_its_manifest_says_is_refused(tmp_path, described, onnx, says):
    with pytest.raises(Unusable, match=says):
        loaded(tmp_path, described, onnx)


def test_a_golden_row_may_differ_by_rounding_alone(tmp_path):
    near = manifest(golden=(Golden((0.2, 0.3, 0.5), (0.200009, 0.3, 0.5)),))
    far = manifest("v2", golden=(Golden((0.2, 0.3, 0.5), (0.200011, 0.3, 0.5)),))

    loaded(tmp_path, near, echo())
    with pytest.raises(Unusable, match=r"golden rows differ by 1\.1e-05"):
        loaded(tmp_path, far, echo())


def test_a_contribution_is_what_the_answer_loses_without_the_features_value(tmp_path):
    served = loaded(tmp_path, manifest(medians={"p_down": 0.3, "p_flat": 0.2, "p_up": 0.4}), echo())

    record = explained(served, (0.1, 0.2, 0.7), "buy")

    assert record["method"] == "occlusion_by_training_median"
    assert record["of"] == "probability of buy"
    assert record["answer"] == pytest.approx(0.7)
    # An echo's p(+1) depends on p_up alone.
    assert record["top"] == [{"feature": "p_up", "value": 0.7, "median": 0.4, "change": 0.3}]
    sold = explained(served, (0.1, 0.2, 0.7), "sell")
    assert sold["top"] == [{"feature": "p_down", "value": 0.1, "median": 0.3, "change": -0.2}]


def test_the_largest_contributions_are_kept_a_missing_feature_among_them(tmp_path):
    names = tuple(f"f{n}" for n in range(7))
    weights = (1, -6, 3, 0, 5, 2, 4)
    described = regression(
        features=names, medians=dict.fromkeys(names, 0.0), golden=(Golden((0.0,) * 7, (0.0,)),)
    )
    served = loaded(tmp_path, described, weighted(*weights))

    record = explained(served, (0.01,) * 7, "sell")

    assert record["of"] == "prediction"
    assert [each["feature"] for each in record["top"]] == ["f1", "f4", "f6", "f2", "f5"]
    assert [each["change"] for each in record["top"]] == pytest.approx([-0.06, 0.05, 0.04, 0.03, 0.02])


def test_a_missing_value_contributes_as_well():
    record = explained(SureWithoutTheFirst(), (math.nan, 0.5, 0.2), "buy")

    assert record["top"] == [{"feature": "p_down", "value": None, "median": 0.3, "change": 0.25}]


class SureWithoutTheFirst:
    """A model that learnt what a missing feature means."""

    medians: ClassVar = dict.fromkeys(FEATURES, 0.3)
    model = Model(
        version="v1",
        sha256="ab" * 32,
        symbol="BTCUSDT",
        features=FEATURES,
        optional_features=frozenset(FEATURES),
        labels=(-1, 0, 1),
        threshold=0.5,
        calibration=(),
        feature_registry_version="1.0.0",
        horizon_s=2.0,
    )

    def predict(self, rows):
        return [(0.0, 0.25, 0.75) if math.isnan(row[0]) else (0.25, 0.25, 0.5) for row in rows]
