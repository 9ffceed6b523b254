import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from common.background import BackgroundTasks, every
from common.feature_service import FeatureService
from common.settings import FeatureServiceSettings
from inference.feature_fallback import CONCURRENT, DEAF_AFTER, RestVectors, SilentStreams
from inference.live_vectors import LiveVectors, LiveVectorsLimits

INTERVAL_S = 0.02


class Service:
    """A Feature Service of which each symbol can be slow, deaf or answering."""

    def __init__(self):
        self.asked = []
        self.deaf = set()
        self.slow = {}
        self.under_way = 0
        self.most_under_way = 0

    async def __call__(self, request):
        symbol = request.url.params["symbol"]
        self.asked.append(symbol)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if symbol in self.slow:
                await self.slow[symbol].wait()
            if symbol in self.deaf or "*" in self.deaf:
                return httpx.Response(503)
            return httpx.Response(
                200,
                json={
                    "timestamp": datetime.now(UTC).isoformat(),
                    "symbol": symbol,
                    "features": {},
                    "feature_registry_version": "1.0.0",
                },
            )
        finally:
            self.under_way -= 1


class Taken:
    """Takes the worker's place and keeps what it is given."""

    def __init__(self):
        self.symbols = asyncio.Queue()
        self.error = None

    async def __call__(self, vector):
        self.symbols.put_nowait(vector.symbol)
        if self.error:
            raise self.error

    async def next(self, n):
        async with asyncio.timeout(5):
            return [await self.symbols.get() for _ in range(n)]


@asynccontextmanager
async def polling(service, taken, wanted):
    features = FeatureService(FeatureServiceSettings(), httpx.MockTransport(service))
    rest = RestVectors(features, taken, wanted, interval_s=INTERVAL_S)
    async with BackgroundTasks() as tasks:
        tasks.start(rest.run())
        yield rest
    await features.aclose()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_every_symbol_is_asked_for_again_and_again():
    service, taken = Service(), Taken()

    async with polling(service, taken, lambda: ["BTCUSDT", "ETHUSDT"]):
        symbols = await taken.next(6)

    assert symbols.count("BTCUSDT") == symbols.count("ETHUSDT") == 3


async def test_a_slow_symbol_holds_up_no_other_and_is_not_asked_twice_at_once():
    service, taken = Service(), Taken()
    service.slow["SLOWUSDT"] = asyncio.Event()

    async with polling(service, taken, lambda: ["SLOWUSDT", "BTCUSDT"]):
        assert await taken.next(5) == ["BTCUSDT"] * 5
        assert service.asked.count("SLOWUSDT") == 1
        service.slow["SLOWUSDT"].set()
        await until(lambda: service.asked.count("SLOWUSDT") > 1)


async def test_a_symbol_that_is_not_answered_is_asked_for_ever_more_rarely(capsys):
    service, taken = Service(), Taken()
    service.deaf.add("DEAFUSDT")

    async with polling(service, taken, lambda: ["DEAFUSDT", "BTCUSDT"]) as rest:
        await taken.next(30)
        assert await rest.problem() is None

    # 30 intervals: asked at 0, 1, 3, 7, 15 of them.
    assert 2 <= service.asked.count("DEAFUSDT") <= 7
    assert capsys.readouterr().out.count("feature poll failed") == 1


async def test_no_more_questions_than_allowed_are_under_way():
    service, taken = Service(), Taken()
    hold = asyncio.Event()
    symbols = [f"COIN{n}USDT" for n in range(3 * CONCURRENT)]
    service.slow = dict.fromkeys(symbols, hold)

    async with polling(service, taken, lambda: symbols):
        await until(lambda: service.under_way == CONCURRENT)
        hold.set()
        assert sorted(await taken.next(len(symbols))) == sorted(symbols)

    assert service.most_under_way == CONCURRENT


async def test_a_service_that_answers_nothing_is_probed_by_one_question_until_it_does(capsys):
    service, taken = Service(), Taken()
    service.deaf.add("*")
    symbols = [f"COIN{n}USDT" for n in range(CONCURRENT)]

    async with polling(service, taken, lambda: symbols) as rest:
        await until(lambda: len(service.asked) >= CONCURRENT + 2)
        assert await rest.problem() == "the Feature Service does not answer over REST"
        service.most_under_way = 0
        asked = len(service.asked)
        await until(lambda: len(service.asked) > asked)
        assert service.most_under_way == 1

        service.deaf.clear()
        await taken.next(len(symbols))
        assert await rest.problem() is None

    out = capsys.readouterr().out
    assert out.count("feature service deaf") == out.count("feature service answers") == 1
    assert out.count("feature poll failed") <= CONCURRENT
    assert DEAF_AFTER <= CONCURRENT


async def test_a_vector_that_cannot_be_worked_on_does_not_end_the_polling(capsys):
    service, taken = Service(), Taken()
    taken.error = ZeroDivisionError("once")

    async with polling(service, taken, lambda: ["BTCUSDT"]):
        await taken.next(3)

    assert "polled vector lost" in capsys.readouterr().out


async def test_nothing_wanted_is_nothing_asked_and_no_problem():
    service, taken = Service(), Taken()
    service.deaf.add("*")
    wanted = [f"COIN{n}USDT" for n in range(4)]

    async with polling(service, taken, lambda: wanted) as rest:
        await until(lambda: len(service.asked) >= DEAF_AFTER)
        wanted.clear()
        while await rest.problem() is not None:
            await asyncio.sleep(0.005)
        asked = len(service.asked)
        await asyncio.sleep(5 * INTERVAL_S)

    assert len(service.asked) == asked


async def test_silent_streams_are_said_once_and_named(capsys):
    now = [0.0]
    live = LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60), clock=lambda: now[0])
    streams = SilentStreams(live, lambda: frozenset({"BTCUSDT", "ETHUSDT"}))
    assert streams.symbols() == frozenset()

    now[0] = 6.0
    live.note_heard(["ETHUSDT"])
    assert streams.symbols() == streams.symbols() == {"BTCUSDT"}
    assert "BTCUSDT (1 in all)" in await streams.problem()

    live.note_heard(["BTCUSDT"])
    assert streams.symbols() == frozenset()
    assert await streams.problem() is None
    out = capsys.readouterr().out
    assert out.count("stream silent") == out.count("stream back") == 1


async def test_without_a_list_the_streams_that_were_heard_are_watched():
    now = [0.0]
    live = LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60), clock=lambda: now[0])
    streams = SilentStreams(live, lambda: None)
    live.note_heard(["BTCUSDT"])
    now[0] = 5.1

    assert streams.symbols() == {"BTCUSDT"}


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


async def test_an_answer_that_is_no_vector_is_said_once_and_never_taken_for_silence(capsys):
    asked = []

    async def garbage(request):
        asked.append(request)
        return httpx.Response(200, text="<html>")

    async with polling(garbage, Taken(), lambda: ["BTCUSDT"]) as rest:
        await until(lambda: len(asked) >= DEAF_AFTER + 1)
        assert await rest.problem() is None

    out = capsys.readouterr().out
    assert out.count("feature poll failed") == 1
    assert "feature service deaf" not in out
