"""Alignment: the model's input row from a vector's features, by name and never by position."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from common.messages import FeatureVector
from inference.core.model import Model
from inference.core.reasons import Reason, Skip

MAX_LACKING = 0.1
"""A vector that lacks a larger share of the features is not decided on."""
_SHOWN = 10


class Alignment(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says about names."""

    names: Mapping[str, str] = {}
    """The model's name of a feature -> the vector's, where they differ."""
    required: tuple[str, ...] = ()
    """Features that no decision is made without, whatever the manifest says; names as a model's."""


AS_NAMED = Alignment()
"""Models and vectors use the same names, and the manifest alone says what is optional."""


def align(vector: FeatureVector, model: Model, alignment: Alignment = AS_NAMED) -> tuple[float, ...] | Skip:
    """The model's input row: features in the manifest's order, NaN for an optional one that is missing."""
    if vector.symbol != model.symbol:
        return Skip(Reason.MODEL_OF_ANOTHER_SYMBOL, {"model_symbol": model.symbol, "version": model.version})
    if vector.feature_registry_version != model.feature_registry_version:
        versions = {
            "vector": vector.feature_registry_version,
            "model": model.feature_registry_version,
            "version": model.version,
        }
        return Skip(Reason.REGISTRY_MISMATCH, versions)
    row = [value_of(vector, name, alignment) for name in model.features]
    lacking = [name for name, value in zip(model.features, row, strict=True) if math.isnan(value)]
    needed = [name for name in lacking if name not in model.optional_features] + [
        name for name in alignment.required if math.isnan(value_of(vector, name, alignment))
    ]
    if needed or len(lacking) > MAX_LACKING * len(model.features):
        missing = list(dict.fromkeys((*needed, *lacking)))
        facts = {"missing": missing[:_SHOWN], "count": len(missing), "version": model.version}
        return Skip(Reason.FEATURES_MISSING, facts)
    return tuple(row)


def value_of(vector: FeatureVector, name: str, alignment: Alignment = AS_NAMED) -> float:
    """The vector's value of the feature that a model calls `name`; NaN: it has none."""
    return vector.features.get(alignment.names.get(name, name), math.nan)


def by_model_names(
    vector: FeatureVector, names: Sequence[str], alignment: Alignment = AS_NAMED
) -> dict[str, float]:
    """Those of the features that the vector has, as a model calls them."""
    values = {name: value_of(vector, name, alignment) for name in names}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def lacked(model: Model, row: Sequence[float]) -> tuple[str, ...]:
    """The optional features that are missing in an aligned row."""
    return tuple(name for name, value in zip(model.features, row, strict=True) if math.isnan(value))


def feature_names(pairs: Sequence[str]) -> dict[str, str]:
    """`model_name:vector_name` pairs as a mapping. Raises ValueError naming a pair that is none."""
    named: dict[str, str] = {}
    for pair in pairs:
        of_model, colon, of_vector = (part.strip() for part in pair.partition(":"))
        if not (colon and of_model and of_vector):
            raise ValueError(f"{pair!r} is not MODEL_NAME:VECTOR_NAME")
        if of_model in named:
            raise ValueError(f"names {of_model} twice")
        named[of_model] = of_vector
    return named
