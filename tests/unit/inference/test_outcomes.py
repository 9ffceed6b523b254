"""Outcomes and bars before they are stored: what is kept of a vector, and what of a deaf database."""

import json
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs
from tests.unit.inference.cases import NOW, vector

from inference import bars, outcomes
from inference.bars import MinuteBars
from inference.core.reasons import Reason, Skip
from inference.core.snapshot import snapshot_of
from inference.outcomes import Outcomes, storable

HOLD = Skip(Reason.HOLD, {"version": "v3", "lead": 0.01})
STALE = Skip(Reason.VECTOR_STALE, {"age_s": 99})


@pytest.fixture
async def nowhere():
    engine = create_async_engine("postgresql+asyncpg://nobody:secret@127.0.0.1:1/nothing")
    yield engine
    await engine.dispose()


def latest_of(noted):
    [outcome] = noted._latest.values()
    return outcome


def test_a_skip_is_logged_once_per_change_of_reason():
    noted = Outcomes("here")

    with capture_logs() as logged:
        for skip in (HOLD, HOLD, STALE, HOLD, HOLD):
            noted.note_skip("momentum", vector(), skip, NOW)

    assert [line["reason"] for line in logged] == [Reason.HOLD, Reason.VECTOR_STALE, Reason.HOLD]
    assert sum(noted._counts.values()) == 5


@pytest.mark.parametrize(
    ("ages_s", "kept"),
    [([3, 1], 1), ([1, 3], 1), ([1, 1], 1), ([5, 1, 4, 2], 1)],
)
def test_the_latest_outcome_is_that_of_the_newest_vector(ages_s, kept):
    noted = Outcomes("here")

    for age_s in ages_s:
        noted.note_skip("momentum", vector(age_s=age_s), Skip(Reason.HOLD, {"age_s": age_s}), NOW)

    assert latest_of(noted).facts == {"age_s": kept}


def test_a_vector_that_comes_again_does_not_hide_what_was_decided_on_it():
    noted = Outcomes("here")

    noted.note_skip("momentum", vector(), HOLD, NOW)
    noted.note_skip("momentum", vector(), Skip(Reason.VECTOR_ALREADY_DECIDED, {}), NOW)

    assert (latest_of(noted).reason, latest_of(noted).version) == (Reason.HOLD, "v3")


def test_a_vector_from_the_future_is_not_the_newest_until_then():
    noted = Outcomes("here")

    noted.note_skip("momentum", vector(age_s=-3600), Skip(Reason.VECTOR_FROM_FUTURE, {}), NOW)
    later = NOW + timedelta(seconds=1)
    noted.note_skip("momentum", vector(age_s=-0.5), HOLD, later)

    assert latest_of(noted).reason is Reason.HOLD


async def test_a_deaf_database_loses_nothing_but_what_is_too_much(nowhere, monkeypatch):
    monkeypatch.setattr(outcomes, "MAX_KEPT", 3)
    noted = Outcomes("here")
    for minute in range(5):
        noted.note_skip("momentum", vector(), HOLD, NOW + timedelta(minutes=minute))

    with capture_logs() as logged:
        await noted.flush(nowhere)

    assert sorted(minute for minute, *_ in noted._counts) == [NOW + timedelta(minutes=n) for n in (2, 3, 4)]
    assert logged[-1]["lost"] == 2
    assert latest_of(noted).reason is Reason.HOLD


async def test_bars_wait_for_a_deaf_database_and_go_on_growing(nowhere, monkeypatch):
    monkeypatch.setattr(bars, "MAX_KEPT", 1)
    seen = MinuteBars()
    for age_s, price in ((70, 90.0), (10, 100.0)):
        seen.note(vector(age_s=age_s), snapshot_of(vector(mid_price=price)))

    await seen.flush(nowhere)
    seen.note(vector(age_s=5), snapshot_of(vector(mid_price=101.0)))

    [bar] = seen._bars.values()
    assert (bar.open, bar.high, bar.low, bar.close, bar.vectors) == (100, 101, 100, 101, 2)


class Word(StrEnum):
    ONE = "one"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (1.5, 1.5),
        (True, True),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), str(UUID(int=1))),
        (Word.ONE, "one"),
        ("a\x00b", "ab"),
        (("a", {"b": float("nan")}), ["a", {"b": None}]),
        ({"k\x00": {1: NOW}}, {"k": {"1": str(NOW)}}),
    ],
)
def test_figures_are_made_what_the_database_can_hold(value, stored):
    assert storable(value) == stored


@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.integers() | st.datetimes() | st.decimals(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_whatever_a_gate_says_becomes_strict_json(value):
    said = json.dumps(storable(value), allow_nan=False)

    assert "\\u0000" not in said.replace("\\\\", "")


@given(st.lists(st.tuples(st.integers(0, 59), st.floats(0.01, 1e9)), min_size=1, max_size=20))
def test_a_bar_is_the_same_in_whatever_order_its_vectors_come(seen):
    def bar_of(vectors):
        noted = MinuteBars()
        for second, price in vectors:
            of = vector(age_s=-second, mid_price=price)
            noted.note(of, snapshot_of(of))
        [bar] = noted._bars.values()
        return bar

    distinct = list({second: (second, price) for second, price in seen}.values())
    forward, backward = bar_of(distinct), bar_of(distinct[::-1])
    by_time = sorted(distinct)

    assert forward == backward
    assert forward.open == Decimal(repr(by_time[0][1]))
    assert forward.close == Decimal(repr(by_time[-1][1]))
    assert forward.low == min(Decimal(repr(price)) for _, price in distinct)
    assert forward.vectors == len(distinct)
