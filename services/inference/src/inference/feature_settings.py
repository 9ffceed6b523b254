"""What an operator can say about features and about which symbols are traded."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

from common.settings import CommaSeparated, SettingsGroup
from inference.core.alignment import Alignment, feature_names
from inference.core.assets import Wanted
from inference.core.snapshot import SnapshotFeatures, snapshot_features

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SYMBOL = re.compile(r"[A-Z0-9]{4,20}")


def _features_of(pairs: tuple[str, ...]) -> tuple[str, ...]:
    feature_names(pairs)
    return pairs


def _fields_of(pairs: tuple[str, ...]) -> tuple[str, ...]:
    snapshot_features(pairs)
    return pairs


def _symbols(symbols: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [each for each in symbols if not _SYMBOL.fullmatch(each)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no symbol (4 to 20 capital letters and digits)")
    return symbols


class FeatureSettings(SettingsGroup):
    """Where vectors come from when the queue is silent, and what their names mean."""

    feature_stream_silence_seconds: Annotated[float, Field(ge=2, allow_inf_nan=False)] = 5.0
    """A symbol that the queue brings nobody fresh vectors of for so long is polled over REST, in seconds."""
    feature_stream_prefetch: Annotated[int, Field(ge=1, le=65_535)] = 2_000
    """Vectors that a replica takes ahead at most. A symbol's newest is found only among those that it took:
    where it cannot follow, this has to exceed its symbols."""
    feature_service_feature_cache_ttl_seconds: Positive = 30.0
    """The newest vector of a symbol is remembered for so long after it came, in seconds."""
    feature_name_mapping: Annotated[CommaSeparated, AfterValidator(_features_of)] = ()
    """Names that differ, `model_name:vector_name` pairs, comma separated."""
    model_required_features: CommaSeparated = ()
    """Features that no model decides without, whatever its manifest says, comma separated."""
    snapshot_features: Annotated[CommaSeparated, AfterValidator(_fields_of)] = ()
    """Features of price, spread, volatility, volume_24h, depth: `price:mid_price,volatility:a|b`."""

    def alignment(self) -> Alignment:
        """What alignment needs to know of names."""
        return Alignment(
            names=feature_names(self.feature_name_mapping), required=self.model_required_features
        )

    def market_features(self) -> SnapshotFeatures:
        """Which features the market fields of a signal are."""
        return snapshot_features(self.snapshot_features)


class AssetSettings(SettingsGroup):
    """Which symbols are traded when balances decide."""

    auto_select_assets: bool = False
    """Of the symbols that strategies may trade, only those that balances allow are traded."""
    auto_select_min_balance_usdt: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(10)
    """Least free quote balance, or held base balance, for a pair to be chosen, USDT."""
    auto_select_quote_currencies: CommaSeparated = ("USDT", "USDC", "BUSD")
    """Quote currencies of the pairs that may be chosen, comma separated."""
    auto_select_cache_ttl_seconds: Positive = 300.0
    """A choice holds for so long, in seconds."""
    auto_select_fallback_assets: Annotated[CommaSeparated, AfterValidator(_symbols)] = ("BTCUSDT", "ETHUSDT")
    """Symbols that are traded where nothing can be chosen, comma separated."""

    def wanted(self) -> Wanted:
        """What a pair must have to be chosen."""
        return Wanted(
            quote_coins=self.auto_select_quote_currencies,
            min_value_usdt=self.auto_select_min_balance_usdt,
        )
