"""The API's pure decisions: what may be activated, what is being trained, who may trade, why not."""

from datetime import UTC, datetime

import pytest

from api.core.skips import SkipCount, by_asset_and_strategy, by_reason
from api.core.versions import is_version_name, objection
from common.core.trading_state import TradingState, trading_state

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACTIVE, REDUCING, HALTED = TradingState


@pytest.mark.parametrize("name", ["v1", "v0", "v12.34", "v999999"])
def test_a_version_is_v_and_a_number_or_two(name):
    assert is_version_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "v",
        "1",
        "V1",
        "v1.",
        "v.1",
        "v1.2.3",
        "v1\n",
        " v1",
        "v-1",
        "v1e3",
        "v١",
        "../v1",
        "v1/..",
        "v1\0",
    ],
)
def test_nothing_else_is_a_version(name):
    assert not is_version_name(name)


@pytest.mark.parametrize(
    ("verdict", "force", "reason", "code"),
    [
        ("accepted", False, None, None),
        (None, False, None, None),
        ("refused", False, None, "force_needed"),
        ("refused", False, "I know better", "force_needed"),
        ("quarantined", False, None, "force_needed"),
        ("insufficient_evidence", False, None, "force_needed"),
        ("insufficient_evidence", False, "I know better", "force_needed"),
        ("insufficient_evidence", True, None, "reason_needed"),
        ("insufficient_evidence", True, "measured by hand", None),
        ("refused", True, None, "reason_needed"),
        ("accepted", True, None, "reason_needed"),
        ("refused", True, "measured by hand", None),
        ("quarantined", True, "measured by hand", None),
    ],
)
def test_a_verdict_that_does_not_speak_for_a_version_takes_force_and_a_reason(verdict, force, reason, code):
    against = objection("v7", verdict, "no lift", force=force, reason=reason)

    assert (against.code if against else None) == code


def test_the_objection_says_what_the_verdict_says():
    against = objection("v7", "refused", "lift 0.01, needs 0.02", force=False, reason=None)

    assert "version v7 is refused: lift 0.01, needs 0.02" in against.sentence


@pytest.mark.parametrize(
    ("stored", "holds"),
    [
        ({}, REDUCING),
        ({"fleet": ACTIVE}, ACTIVE),
        ({"strategy:a": ACTIVE}, ACTIVE),
        ({"fleet": HALTED, "strategy:a": ACTIVE}, HALTED),
        ({"fleet": ACTIVE, "strategy:a": REDUCING}, REDUCING),
        ({"fleet": REDUCING, "strategy:a": HALTED}, HALTED),
        ({"strategy:b": HALTED}, REDUCING),
    ],
)
def test_the_strictest_stored_state_holds_and_the_initial_one_while_none_is_stored(stored, holds):
    assert trading_state(stored, "a", REDUCING) is holds


def skip(strategy, symbol, reason, skips):
    return SkipCount(strategy_id=strategy, symbol=symbol, reason=reason, skips=skips, since=NOON)


def test_skips_add_up_by_reason_and_by_strategy_and_asset():
    counts = [
        skip("a", "BTCUSDT", "hold", 5),
        skip("a", "BTCUSDT", "rate limit", 2),
        skip("b", "BTCUSDT", "rate limit", 9),
    ]

    grouped = by_asset_and_strategy(counts)

    assert by_reason(counts) == {"rate limit": 11, "hold": 5}
    assert list(grouped) == ["a:BTCUSDT", "b:BTCUSDT"]
    assert grouped["a:BTCUSDT"].total_skips == 7
    assert grouped["a:BTCUSDT"].by_reason == {"hold": 5, "rate limit": 2}
    assert (grouped["b:BTCUSDT"].strategy_id, grouped["b:BTCUSDT"].asset) == ("b", "BTCUSDT")
