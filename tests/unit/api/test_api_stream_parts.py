"""What the event stream is made of: what counts as news, and what waits for a client."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from api.broadcast import MAX_WAITING_BYTES, Listener
from api.core.news import News, Sight, SkipTold, frame, unheard

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def news(key, minute=0):
    told = SkipTold(strategy_id="a", symbol="BTCUSDT", outcome="skip", reason=key, decided_at=NOON)
    return News(name="skip", key=key, at=NOON + timedelta(minutes=minute), told=told)


def sight(*found):
    return Sight(now=NOON, news=found, is_whole=True)


def test_what_the_look_before_found_is_not_told_again_and_the_rest_in_its_order():
    found = sight(news("late", minute=2), news("known"), news("early", minute=1))

    assert [each.key for each in unheard(found, {"known"})] == ["early", "late"]


def test_what_went_away_and_came_back_is_told_again():
    looks = [sight(news("hold")), sight(news("open order")), sight(news("hold"))]

    told = [
        [each.key for each in unheard(now, {each.key for each in before.news})]
        for before, now in pairwise(looks)
    ]

    assert told == [["open order"], ["hold"]]


def test_a_frame_is_one_event_whatever_its_text():
    assert frame("state", {"reason": "a\n\nevent: x"}, event_id="7") == (
        b'event: state\nid: 7\ndata: {"reason":"a\\n\\nevent: x"}\n\n'
    )
    assert frame("hello", {}) == b"event: hello\ndata: {}\n\n"


async def test_what_waits_comes_in_one_piece_and_then_the_end():
    listener = Listener()
    listener.tell([b"1", b"2"])
    listener.tell([b"3"])
    listener.end()

    assert [chunk async for chunk in listener.chunks()] == [b"123"]


async def test_a_silent_stream_is_kept_alive():
    listener = Listener(keep_alive_s=0.01)

    chunks = listener.chunks()

    assert await anext(chunks) == await anext(chunks) == b": keep-alive\n\n"


@pytest.mark.parametrize(("size", "is_dropped"), [(MAX_WAITING_BYTES, False), (MAX_WAITING_BYTES + 1, True)])
async def test_a_client_for_whom_too_much_waits_is_dropped_with_all_of_it(size, is_dropped):
    listener = Listener()
    listener.tell([b"x"])
    listener.tell([b"y" * (size - 1)])

    assert listener.dropped.is_set() == is_dropped
    listener.end()
    waiting = [len(chunk) async for chunk in listener.chunks()]
    assert waiting == ([] if is_dropped else [size])
