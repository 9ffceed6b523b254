import asyncio
from datetime import UTC, datetime

import httpx

from common.background import BackgroundTasks, every
from common.feature_service import FeatureService
from common.settings import FeatureServiceSettings
from inference import handlers


class Decisions:
    """Takes the worker's place and keeps what it is given."""

    def __init__(self):
        self.vectors = asyncio.Queue()

    async def on_vector(self, vector, *, redelivered):
        assert not redelivered
        self.vectors.put_nowait(vector.symbol)


def answer(request):
    symbol = request.url.params["symbol"]
    if symbol == "DEAFUSDT":
        return httpx.Response(503)
    stamp = datetime.now(UTC).isoformat()
    return httpx.Response(
        200,
        json={"timestamp": stamp, "symbol": symbol, "features": {}, "feature_registry_version": "1.0.0"},
    )


async def test_polling_goes_round_the_symbols_and_past_one_that_is_not_answered(monkeypatch):
    monkeypatch.setattr(handlers, "POLL_INTERVAL_S", 0.01)
    features = FeatureService(FeatureServiceSettings(), httpx.MockTransport(answer))
    decisions = Decisions()

    async with BackgroundTasks() as tasks:
        tasks.start(handlers.poll(features, decisions, ("BTCUSDT", "DEAFUSDT", "ETHUSDT")))
        async with asyncio.timeout(5):
            polled = [await decisions.vectors.get() for _ in range(4)]

    await features.aclose()
    assert polled == ["BTCUSDT", "ETHUSDT", "BTCUSDT", "ETHUSDT"]


async def test_a_failed_round_does_not_end_the_rounds(capsys):
    rounds = asyncio.Queue()

    async def round_():
        rounds.put_nowait("begun")
        raise ZeroDivisionError("once more")

    async with BackgroundTasks() as tasks:
        tasks.start(every(0.01, round_))
        async with asyncio.timeout(5):
            for _ in range(3):
                await rounds.get()

    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_work_beside_the_messages_ends_with_its_block():
    stopped = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with BackgroundTasks() as tasks:
        tasks.start(work())
        await asyncio.sleep(0)

    assert stopped.is_set()
