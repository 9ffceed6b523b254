import pytest
from pydantic import ValidationError

from inference.assets import ConfiguredAssets, configured_symbols
from inference.core.alignment import Alignment
from inference.core.snapshot import SnapshotFeatures
from inference.settings import Settings


@pytest.fixture
def environment(monkeypatch):
    def set_to(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return set_to


def test_names_and_fields_are_read_from_the_environment(environment):
    settings = environment(
        FEATURE_NAME_MAPPING="close_price:mid_price, vol:volatility_1m",
        MODEL_REQUIRED_FEATURES="close_price",
        SNAPSHOT_FEATURES="price:close,spread:",
    )

    names = {"close_price": "mid_price", "vol": "volatility_1m"}
    assert settings.alignment() == Alignment(names=names, required=("close_price",))
    assert settings.market_features() == SnapshotFeatures(price=("close",), spread=())


def test_without_settings_names_and_fields_are_the_registrys(environment):
    settings = environment()

    assert settings.alignment() == Alignment()
    assert settings.market_features() == SnapshotFeatures()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"FEATURE_NAME_MAPPING": "close_price"}, "MODEL_NAME:VECTOR_NAME"),
        ({"SNAPSHOT_FEATURES": "cost:mid_price"}, "FIELD:FEATURE"),
        ({"FEATURE_STREAM_SILENCE_SECONDS": "1"}, "greater than or equal to 2"),
        ({"FEATURE_STREAM_SILENCE_SECONDS": "nan"}, "feature_stream_silence_seconds"),
        ({"MARKET_DATA_MAX_AGE_SECONDS": "inf"}, "market_data_max_age_seconds"),
        ({"SIGNAL_VALIDITY_SECONDS": "inf"}, "signal_validity_seconds"),
        ({"WARMUP_SIGNAL_FREQUENCY": "inf"}, "warmup_signal_frequency"),
        ({"AUTO_SELECT_CACHE_TTL_SECONDS": "nan"}, "auto_select_cache_ttl_seconds"),
        ({"AUTO_SELECT_MIN_BALANCE_USDT": "-1"}, "greater than or equal to 0"),
        ({"AUTO_SELECT_FALLBACK_ASSETS": "btcusdt"}, "is no symbol"),
        (
            {"AUTO_SELECT_ASSETS": "true", "AUTO_SELECT_FALLBACK_ASSETS": ","},
            "AUTO_SELECT_FALLBACK_ASSETS must name",
        ),
        ({"FEATURE_SERVICE_USE_QUEUE": "false"}, "TRADING_SYMBOLS must name the symbols"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(environment, variables, says):
    with pytest.raises(ValidationError, match=says):
        environment(**variables)


def test_polling_needs_symbols_from_somewhere(environment):
    assert environment(FEATURE_SERVICE_USE_QUEUE="false", AUTO_SELECT_ASSETS="true").auto_select_assets


def test_the_traded_symbols_are_those_of_all_strategies(environment, tmp_path):
    path = tmp_path / "strategies.toml"
    path.write_text('[reversal]\nsymbols = ["SOLUSDT"]\n')
    variables = {"TRADING_STRATEGIES": "momentum,reversal", "STRATEGIES_FILE": str(path)}

    assert configured_symbols(environment(**variables)) is None
    named = configured_symbols(environment(**variables, TRADING_SYMBOLS="BTCUSDT"))
    assert ConfiguredAssets(named).symbols() == {"BTCUSDT", "SOLUSDT"}
