"""The sandbox's Feature Service answers in the shapes captured from the real one."""

from datetime import UTC, datetime, timedelta

import pytest
from litestar.testing import TestClient

from sandbox.core.features import FEATURE_NAMES
from sandbox.dataset_builds import DatasetBuilds
from sandbox.dataset_store import DatasetStore
from sandbox.feature_service import create_app, vector_message
from sandbox.market import Market, Series, synthetic_series

START = datetime(2026, 11, 22, 13, 5, 55, 37185, tzinfo=UTC)
KEY = {"X-API-Key": "feature-key"}
VECTOR_KEYS = ["timestamp", "symbol", "features", "feature_registry_version"]


@pytest.fixture(scope="module")
def market():
    series = {
        symbol: synthetic_series(symbol, seed=1, edge=0.08, bars=200) for symbol in ("BTCUSDT", "ETHUSDT")
    }
    return Market(series, started_at=START, bar_seconds=0.5, history_bars=100)


@pytest.fixture(scope="module")
def client(market, tmp_path_factory):
    builds = DatasetBuilds(market, DatasetStore(tmp_path_factory.mktemp("datasets")), announce_to_nobody)
    with TestClient(create_app(market, builds, api_key="feature-key", clock=lambda: START)) as client:
        yield client


async def announce_to_nobody(message):
    raise AssertionError(message)


def test_health_needs_no_key(client):
    answer = client.get("/health")

    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "service": "feature-service"}


def test_the_latest_vector_is_computed_now(client, market):
    answer = client.get("/features/latest", params={"symbol": "BTCUSDT"}, headers=KEY)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == VECTOR_KEYS
    assert answer.json()["timestamp"] == "2026-11-22T13:05:55.037185Z"
    assert answer.json()["symbol"] == "BTCUSDT"
    assert answer.json()["feature_registry_version"] == "candles-1"
    assert answer.json()["features"] == market.vector("BTCUSDT", START)
    assert set(answer.json()["features"]) == set(FEATURE_NAMES)


@pytest.mark.parametrize("symbol", ["NOPEUSDT", "btcusdt", ""])
def test_an_unknown_symbol_is_answered_with_zeros_and_no_price(client, symbol):
    answer = client.get("/features/latest", params={"symbol": symbol}, headers=KEY)

    assert answer.status_code == 200
    assert list(answer.json()) == VECTOR_KEYS
    assert answer.json()["symbol"] == symbol
    assert answer.json()["features"] == {"volume_1": 0.0, "volume_ratio_12": 1.0, "volume_ratio_48": 1.0}


def test_without_a_symbol_the_request_is_unprocessable(client):
    answer = client.get("/features/latest", headers=KEY)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "symbol"]


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}])
def test_a_wrong_key_is_an_internal_server_error_in_plain_text(client, headers):
    answer = client.get("/features/latest", params={"symbol": "BTCUSDT"}, headers=headers)

    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "Internal Server Error"


def test_whole_seconds_keep_their_microseconds(market):
    assert vector_message(market, "BTCUSDT", datetime(2026, 11, 22, 13, 6, tzinfo=UTC))["timestamp"] == (
        "2026-11-22T13:06:00.000000Z"
    )


def test_trace_id_is_absent(market):
    assert list(vector_message(market, "BTCUSDT", START)) == VECTOR_KEYS


def test_a_standing_market_is_published_under_fresh_timestamps():
    series = {
        "BTCUSDT": Series(synthetic_series("BTCUSDT", seed=1, edge=0.0, bars=120).candles(119).part(0, 120))
    }
    market = Market(series, started_at=START, bar_seconds=0.5, history_bars=100)

    first, later = (
        vector_message(market, "BTCUSDT", START + timedelta(minutes=minutes)) for minutes in (1, 61)
    )

    assert first["features"] == later["features"]
    assert first["timestamp"] < later["timestamp"]


def test_before_the_first_bar_a_vector_is_cold():
    market = Market(
        {"BTCUSDT": synthetic_series("BTCUSDT", seed=1, edge=0.0, bars=10)},
        started_at=START,
        bar_seconds=0.5,
        history_bars=0,
    )

    assert "mid_price" not in vector_message(market, "BTCUSDT", START)["features"]
