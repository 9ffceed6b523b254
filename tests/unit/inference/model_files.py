"""Model files whose answers tests choose, and manifests that describe them."""

from datetime import UTC, datetime

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common.artifacts import Golden, Manifest

FEATURES = ("p_down", "p_flat", "p_up")


def echo(
    first=3, *, features=3, takes="features", gives="probabilities", flat=False, dtype=TensorProto.FLOAT
):
    """A model that answers the first features of its input: what it says is chosen by the vector."""
    columns, name = (None if flat else first), "columns" if flat or dtype != TensorProto.FLOAT else gives
    nodes = [helper.make_node("Slice", [takes, "starts", "ends", "axes"], [name])]
    if flat:
        nodes.append(helper.make_node("Reshape", [name, "everything"], [gives]))
    elif dtype != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [name], [gives], to=dtype))
    numbers = {"starts": 0, "ends": first, "axes": 1, "everything": -1}
    shape = [None] if flat else [None, columns]
    return _file(nodes, shape, numbers, takes=takes, features=features, gives=gives, dtype=dtype)


def weighted(*weights, gives="prediction"):
    """A regression: the sum of its features, each times its weight."""
    nodes = [helper.make_node("MatMul", ["features", "weights"], [gives])]
    constant = numpy_helper.from_array(np.array([weights], dtype=np.float32).T, "weights")
    return _file(nodes, [None, 1], {}, features=len(weights), gives=gives, constants=[constant])


def manifest(version="v1", **changes):
    values = {
        "version": version,
        "strategy_id": "momentum",
        "symbol": "BTCUSDT",
        "model_type": "xgboost",
        "task": "classification",
        "target": "classification",
        "features": FEATURES,
        "optional_features": (),
        "medians": dict.fromkeys(FEATURES, 0.3),
        "labels": (-1, 0, 1),
        "output_name": "probabilities",
        "horizon_s": 2.0,
        "label_threshold": 0.001,
        "threshold": 0.5,
        "calibration": (),
        "class_rates": (0.3, 0.4, 0.3),
        "baselines": {"majority": 0.4},
        "dataset_id": "9396a9a8-6dfe-42d1-9681-fe269f6a09eb",
        "dataset_sha256": {},
        "feature_registry_version": "1.0.0",
        "libraries": {},
        "golden": (Golden((0.2, 0.3, 0.5), (0.2, 0.3, 0.5)),),
        "trained_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    return Manifest(**{**values, **changes})


def regression(version="v1", **changes):
    described = {
        "task": "regression",
        "target": "regression",
        "labels": (),
        "class_rates": (),
        "output_name": "prediction",
        "label_threshold": 0.0,
        "sign_confidence": ((0.0, 0.5), (0.02, 0.9)),
        "golden": (Golden((0.01, 0.02, 0.01), (0.06,)),),
    }
    return manifest(version, **{**described, **changes})


def _file(nodes, shape, numbers, *, features, gives, takes="features", dtype=TensorProto.FLOAT, constants=()):
    numbers = [
        numpy_helper.from_array(np.array([number], dtype=np.int64), name) for name, number in numbers.items()
    ]
    graph = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(gives, dtype, shape)],
        [*numbers, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()
