import asyncio
import json

import httpx
import pytest

from common import tracing
from common.errors import TryAgain, Unusable
from common.feature_service import FeatureService
from common.settings import FeatureServiceSettings

BODY = {
    "timestamp": "2026-11-22T13:05:55.340854Z",
    "symbol": "BTCUSDT",
    "features": {"mid_price": 92018.57},
    "feature_registry_version": "1.0.0",
}


def service(answer):
    def handle(request):
        asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    asked = []
    settings = FeatureServiceSettings(feature_service_api_key="key-1")
    return FeatureService(settings, httpx.MockTransport(handle)), asked


async def test_the_latest_vector_is_asked_for_with_key_and_trace_id():
    features, asked = service(httpx.Response(200, json=BODY))

    with tracing.bound("trace-1"):
        vector = await features.latest("BTCUSDT")

    await features.aclose()
    assert vector.features == {"mid_price": 92018.57}
    assert asked[0].url.params["symbol"] == "BTCUSDT"
    assert asked[0].headers["X-API-Key"] == "key-1"
    assert asked[0].headers["X-Trace-ID"] == "trace-1"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.ReadTimeout("deaf"), TryAgain, "ReadTimeout"),
        (httpx.ConnectError("away"), TryAgain, "ConnectError"),
        (httpx.Response(500, text="Internal Server Error"), TryAgain, "is FEATURE_SERVICE_API_KEY right"),
        (httpx.Response(503, json={"detail": "not ready"}), TryAgain, "503"),
        (httpx.Response(307, headers={"location": "http://elsewhere/"}), TryAgain, "307"),
        (httpx.Response(200, text="<html>"), Unusable, "no vector"),
        (httpx.Response(200, json={**BODY, "symbol": "ETHUSDT"}), Unusable, "ETHUSDT when asked for BTCUSDT"),
        (httpx.Response(200, content=json.dumps(BODY) + " " * 1_000_001), Unusable, "more than 1000000"),
    ],
)
async def test_an_answer_that_is_no_vector_is_an_error_with_its_reason(answer, error, says):
    features, _ = service(answer)

    with pytest.raises(error, match=says):
        await features.latest("BTCUSDT")
    await features.aclose()


async def test_an_answer_without_an_end_is_cut_off():
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 100_000

    features, _ = service(httpx.Response(200, content=endless()))

    with pytest.raises(Unusable, match="more than 1000000 bytes"):
        await features.latest("BTCUSDT")
    await features.aclose()
    assert sent == 11


async def test_an_answer_that_trickles_is_given_up_after_the_whole_wait():
    async def trickling():
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    settings = FeatureServiceSettings(feature_service_timeout_seconds=0.1)
    answer = httpx.Response(200, content=trickling())
    features = FeatureService(settings, httpx.MockTransport(lambda _: answer))

    with pytest.raises(TryAgain, match="TimeoutError"):
        await features.latest("BTCUSDT")
    await features.aclose()
