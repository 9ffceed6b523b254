"""Alignment: the model's input row from a vector's features, by name and never by position."""

import math

from common.messages import FeatureVector
from inference.core.model import Model
from inference.core.reasons import Reason, Skip

MAX_LACKING = 0.1
"""A vector that lacks a larger share of the features is not decided on."""


def align(vector: FeatureVector, model: Model) -> tuple[float, ...] | Skip:
    """The model's input row: features in the manifest's order, NaN for an optional one that is missing."""
    if vector.symbol != model.symbol:
        return Skip(Reason.MODEL_OF_ANOTHER_SYMBOL, {"model_symbol": model.symbol, "version": model.version})
    if vector.feature_registry_version != model.feature_registry_version:
        facts = {"vector": vector.feature_registry_version, "model": model.feature_registry_version}
        return Skip(Reason.REGISTRY_MISMATCH, facts)
    lacking = [name for name in model.features if name not in vector.features]
    required = [name for name in lacking if name not in model.optional_features]
    if required or len(lacking) > MAX_LACKING * len(model.features):
        return Skip(Reason.FEATURES_MISSING, {"missing": lacking[:10], "count": len(lacking)})
    return tuple(vector.features.get(name, math.nan) for name in model.features)
