"""The Position Manager's real answers, and the ones it should not give."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest
from prometheus_client import REGISTRY

from common.errors import TryAgain, Unusable
from common.position_manager import (
    Booked,
    CachedPositions,
    Position,
    PositionManager,
    PositionManagerSettings,
)

LONG = (
    '{"id":"c2da134c-8f60-4d82-9fdc-0300004d9136","asset":"BTCUSDT","mode":"one-way","size":"0.05000000",'
    '"average_entry_price":"92000.50000000","current_price":null,"unrealized_pnl":"0E-8","realized_pnl":"0E-8",'
    '"long_size":null,"short_size":null,"version":1,"last_updated":"2026-11-22T12:59:54.458747Z",'
    '"closed_at":null,"created_at":"2026-11-22T12:59:54.458747Z","unrealized_pnl_pct":"0E+8",'
    '"time_held_minutes":0}'
)
CLOSED = LONG.replace('"size":"0.05000000"', '"size":"0E-8"').replace('"92000.50000000"', "null")
SHORT = LONG.replace("0.05000000", "-1.50000000").replace("BTCUSDT", "ETHUSDT").replace("92000.5", "3100.0")
NOT_FOUND = '{"detail":"Position not found for asset: BTCUSDT, mode: one-way"}'


def manager(body, status=200, asked=None):
    def answer(request):
        if asked is not None:
            asked.append(request)
        return httpx.Response(status, content=body)

    settings = PositionManagerSettings(position_manager_api_key="k")
    return PositionManager(settings, httpx.MockTransport(answer))


async def test_an_open_position_is_read_with_its_signed_size_and_entry():
    asked = []

    position = await manager(LONG, asked=asked).position("BTCUSDT")

    assert position == Position(
        symbol="BTCUSDT",
        size=Decimal("0.05"),
        average_entry_price=Decimal("92000.5"),
        last_updated=datetime(2026, 11, 22, 12, 59, 54, 458747, tzinfo=UTC),
    )
    assert asked[0].url.path == "/api/v1/positions/BTCUSDT"
    assert asked[0].headers["X-API-Key"] == "k"


@pytest.mark.parametrize(("body", "status"), [(CLOSED, 200), (NOT_FOUND, 404)])
async def test_a_closed_row_and_no_row_are_no_position(body, status):
    assert await manager(body, status).position("BTCUSDT") is None


async def test_the_list_has_only_what_is_open():
    listing = f'{{"positions":[{CLOSED},{SHORT}],"count":2}}'

    assert [position.size for position in await manager(listing).positions()] == [Decimal("-1.5")]


async def test_a_naive_timestamp_is_utc():
    position = await manager(LONG.replace("58747Z", "58747")).position("BTCUSDT")

    assert position.last_updated.tzinfo is UTC


@pytest.mark.parametrize("status", [401, 500, 503, 301])
async def test_any_other_answer_is_unknown_not_empty(status):
    with pytest.raises(TryAgain, match=str(status)):
        await manager("{}", status).position("BTCUSDT")
    with pytest.raises(TryAgain, match=str(status)):
        await manager("{}", status).positions()


async def test_a_list_that_is_not_found_is_unknown_not_empty():
    with pytest.raises(TryAgain, match="404"):
        await manager(NOT_FOUND, 404).positions()


GARBAGE = ["", "null", "[]", LONG.replace('"0.05000000"', '"NaN"'), LONG.replace('"size"', '"sizes"'), SHORT]


@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_is_refused(body):
    with pytest.raises(Unusable):
        await manager(body).position("BTCUSDT")


async def test_nobody_there_is_unknown():
    def refuse(request):
        raise httpx.ConnectError("refused")

    with pytest.raises(TryAgain, match="refused"):
        await PositionManager(PositionManagerSettings(), httpx.MockTransport(refuse)).positions()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def counted(what):
    return REGISTRY.get_sample_value(f"flotilla_position_cache_{what}_total")


def cached(asked, **settings):
    clock = Clock()
    return CachedPositions(manager(LONG, asked=asked), PositionManagerSettings(**settings), clock), clock


async def test_a_position_is_remembered_until_its_time_is_over():
    asked = []
    positions, clock = cached(asked, position_cache_ttl_seconds=30)

    before = counted("hits"), counted("misses")

    for clock.now in (0, 29.9, 30):
        await positions.booked("BTCUSDT")

    assert len(asked) == 2
    assert (counted("hits") - before[0], counted("misses") - before[1]) == (1, 2)
    assert REGISTRY.get_sample_value("flotilla_position_cache_size") == 1


async def test_a_change_makes_the_next_question_a_real_one():
    asked = []
    positions, _ = cached(asked)
    await positions.booked("BTCUSDT")

    positions.invalidate("BTCUSDT")
    await positions.booked("BTCUSDT")

    assert len(asked) == 2


async def test_an_answer_older_than_a_change_is_not_remembered():
    asked, reached, released = [], asyncio.Event(), asyncio.Event()

    async def slow(request):
        asked.append(request)
        reached.set()
        await released.wait()
        return httpx.Response(200, content=LONG)

    settings = PositionManagerSettings()
    positions = CachedPositions(PositionManager(settings, httpx.MockTransport(slow)), settings)
    first = asyncio.create_task(positions.booked("BTCUSDT"))
    await reached.wait()
    positions.invalidate("BTCUSDT")
    released.set()
    await first

    await positions.booked("BTCUSDT")

    assert len(asked) == 2


@pytest.mark.parametrize("off", [{"position_cache_enabled": False}, {"position_cache_ttl_seconds": 0}])
async def test_a_cache_that_is_off_remembers_nothing(off):
    asked = []
    positions, _ = cached(asked, **off)

    await positions.booked("BTCUSDT")
    await positions.booked("BTCUSDT")

    assert len(asked) == 2
    assert positions.peek("BTCUSDT") is None


async def test_the_cache_forgets_the_oldest_when_it_is_full():
    asked = []

    def echo(request):
        asked.append(request.url.path[-7:])
        return httpx.Response(200, content=LONG.replace("BTCUSDT", asked[-1]))

    settings = PositionManagerSettings(position_cache_max_size=2)
    positions = CachedPositions(PositionManager(settings, httpx.MockTransport(echo)), settings)

    for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT", "BBBUSDT", "AAAUSDT"):
        await positions.booked(symbol)

    assert asked == ["AAAUSDT", "BBBUSDT", "CCCUSDT", "AAAUSDT"]


def listed(rows, asked, **settings):
    def answer(request):
        asked.append(request.url.path)
        if request.url.path.endswith("/positions"):
            return httpx.Response(200, content=f'{{"positions":[{",".join(rows)}],"count":0}}')
        return httpx.Response(404, content=NOT_FOUND)

    configured = PositionManagerSettings(**settings)
    clock = Clock()
    return CachedPositions(PositionManager(configured, httpx.MockTransport(answer)), configured, clock), clock


async def test_one_call_for_all_positions_answers_the_questions_about_each():
    rows, asked = [LONG, SHORT], []
    positions, clock = listed(rows, asked)

    await positions.refresh()

    assert (await positions.booked("BTCUSDT")).position.size == Decimal("0.05")
    assert positions.peek("ETHUSDT").size == Decimal("-1.5")
    assert positions.peek("SOLUSDT") is None
    assert set(await positions.everything()) == {"BTCUSDT", "ETHUSDT"}
    assert len(asked) == 1
    clock.now = 30
    await positions.everything()
    assert len(asked) == 2


async def test_a_position_that_is_listed_no_more_is_flat():
    rows, asked = [LONG, SHORT], []
    positions, _ = listed(rows, asked)
    await positions.refresh()

    rows.remove(LONG)
    await positions.refresh()

    assert positions.peek("BTCUSDT") is None
    assert await positions.booked("BTCUSDT") == Booked(position=None, booked_at=None)


async def test_a_change_of_one_symbol_makes_the_whole_listing_old():
    asked = []
    positions, _ = listed([LONG, SHORT], asked)
    await positions.refresh()

    positions.invalidate("BTCUSDT")

    assert positions.peek("BTCUSDT") is None
    await positions.everything()
    assert len(asked) == 2


async def test_a_closed_row_tells_when_it_was_booked():
    booked = await manager(CLOSED).booked("BTCUSDT")

    assert booked == Booked(position=None, booked_at=datetime(2026, 11, 22, 12, 59, 54, 458747, tzinfo=UTC))


async def test_a_changed_position_is_asked_for_without_waiting_for_the_next_round():
    asked = []
    positions, _ = listed([LONG], asked, position_cache_ttl_seconds=300)
    following = asyncio.create_task(positions.follow())
    try:
        async with asyncio.timeout(5):
            while positions.peek("BTCUSDT") is None:
                await asyncio.sleep(0.01)
            positions.invalidate("BTCUSDT")
            while positions.peek("BTCUSDT") is None:
                await asyncio.sleep(0.01)
    finally:
        following.cancel()

    assert len(asked) == 2
