"""The market fields of a signal, from a vector's features: which feature is which, and nothing invented."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from common.messages import FeatureVector, MarketSnapshot

_PERCENT = 100
_ALTERNATIVES = "|"
FIELDS = ("price", "spread", "volatility", "volume_24h", "depth")


class SnapshotFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """The vector's feature behind each market field, the first present one; none: the field is null."""

    price: tuple[str, ...] = ("mid_price",)
    """Quote currency."""
    spread: tuple[str, ...] = ("spread_rel",)
    """A fraction of the price."""
    volatility: tuple[str, ...] = ("volatility_5m", "volatility_1m")
    volume_24h: tuple[str, ...] = ()
    depth: tuple[str, ...] = ("depth_bid_top5",)
    """Not shown; where the vector has it, it must be positive."""


class KnownPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A price from elsewhere than the vector, for registries without one."""

    price: Decimal
    at: datetime


def snapshot_features(pairs: Sequence[str]) -> SnapshotFeatures:
    """The standard ones, but for those that `pairs` name as `field:feature` or `field:first|second`.

    A field without a feature (`volatility:`) is null. Raises ValueError naming a pair that is none.
    """
    named: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        field, colon, features = pair.partition(":")
        if not colon or field.strip() not in FIELDS:
            raise ValueError(f"{pair!r} is not FIELD:FEATURE with one of {', '.join(FIELDS)}")
        listed = (each.strip() for each in features.split(_ALTERNATIVES))
        named[field.strip()] = tuple(each for each in listed if each)
    if not named.get("price", ("mid_price",)):
        raise ValueError("price needs a feature")
    return SnapshotFeatures(**named)


def feature_of(vector: FeatureVector, names: Sequence[str]) -> float | None:
    """The first of the features that the vector has."""
    return next((vector.features[name] for name in names if name in vector.features), None)


def snapshot_of(
    vector: FeatureVector,
    names: SnapshotFeatures | None = None,
    known: KnownPrice | None = None,
) -> MarketSnapshot:
    """The signal's market fields; what a vector lacks is null. The vector's own price wins over `known`.

    TRAP: the Order Manager reads `spread` as percent, the registry's spread_rel is a fraction.
    Raises KeyError where there is no price: screening has refused such a vector.
    """
    names = names or SnapshotFeatures()
    price = feature_of(vector, names.price)
    if price is None and known is not None:
        price = float(known.price)
    if price is None:
        raise KeyError(names.price[0])
    spread_rel = _not_negative(feature_of(vector, names.spread))
    return MarketSnapshot(
        price=price,
        spread=None if spread_rel is None else spread_rel * _PERCENT,
        volume_24h=_not_negative(feature_of(vector, names.volume_24h)),
        volatility=_not_negative(feature_of(vector, names.volatility)),
    )


def _not_negative(value: float | None) -> float | None:
    return value if value is not None and value >= 0 else None
