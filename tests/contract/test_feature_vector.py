"""features.live: what the Feature Service really sends, and what else must be read or refused."""

from datetime import UTC, datetime

import msgspec
import pytest

from common.messages import FeatureVector

WARM = b"""{"timestamp": "2026-11-22T13:05:55.037185Z", "symbol": "BTCUSDT", "features": {
"mid_price": 92017.98999999999, "spread_abs": 0.09999999999126885, "spread_rel": 1.0867440159393708e-06,
"returns_1s": -4.0316577502984654e-05, "volume_1m": 0.0, "trade_count_3s": 15, "depth_bid_top5": 6.0,
"time_of_day_sin": -0.2588190451025208}, "feature_registry_version": "1.0.0"}"""
COLD = b"""{"timestamp": "2026-11-22T13:03:47.435554Z", "symbol": "BTCUSDT", "features": {"volume_3s": 0.0,
"buy_sell_volume_ratio": 1.0, "depth_bid_top5": 0.0}, "feature_registry_version": "1.0.0"}"""


def read(body: bytes) -> FeatureVector:
    return msgspec.json.decode(body, type=FeatureVector)


def vector(**changes: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(WARM), **changes})


def test_a_warm_vector_is_read_exactly():
    assert read(WARM) == FeatureVector(
        timestamp=datetime(2026, 11, 22, 13, 5, 55, 37185, tzinfo=UTC),
        symbol="BTCUSDT",
        features={
            "mid_price": 92017.98999999999,
            "spread_abs": 0.09999999999126885,
            "spread_rel": 1.0867440159393708e-06,
            "returns_1s": -4.0316577502984654e-05,
            "volume_1m": 0.0,
            "trade_count_3s": 15.0,
            "depth_bid_top5": 6.0,
            "time_of_day_sin": -0.2588190451025208,
        },
        feature_registry_version="1.0.0",
    )


def test_a_cold_vector_is_a_vector_without_price():
    assert "mid_price" not in read(COLD).features


@pytest.mark.parametrize(
    "stamp",
    ["2026-11-22T13:05:55Z", "2026-11-22T13:05:55+00:00", "2026-11-22T13:05:55", "2026-11-22T15:05:55+02:00"],
)
def test_every_spelling_of_a_moment_is_the_same_moment(stamp):
    assert read(vector(timestamp=stamp)).timestamp == datetime(2026, 11, 22, 13, 5, 55, tzinfo=UTC)


def test_unknown_keys_are_ignored_and_a_trace_id_is_kept():
    assert read(vector(trace_id="5f0c", next_release="x")).trace_id == "5f0c"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"null", "FeatureVector|object"),
        (WARM.replace(b"92017.98999999999", b"NaN"), "malformed|invalid"),
        (WARM.replace(b"92017.98999999999", b"null"), r"\$\.features"),
        (WARM.replace(b"92017.98999999999", b'"92017"'), r"\$\.features"),
        (vector(timestamp="yesterday"), r"\$\.timestamp"),
        (vector(symbol="../etc"), r"\$\.symbol"),
        (vector(symbol="btcusdt"), r"\$\.symbol"),
        (vector(symbol="B" * 21), r"\$\.symbol"),
        (vector(features=[1, 2]), r"\$\.features"),
        (msgspec.json.encode({"symbol": "BTCUSDT"}), "timestamp"),
    ],
)
def test_a_body_that_is_no_vector_is_refused_naming_the_place(body, names):
    with pytest.raises(msgspec.DecodeError, match=f"(?i){names}"):
        read(body)
