"""The golden cases of the exit rules, for the side they are written for and for its mirror."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from tests.unit.exit_strategy.book import (
    MAX_AGE,
    START,
    chain,
    hold_for,
    long,
    looked,
    price,
    rules,
    short,
    sl,
    tp,
    trail,
)

from common.core.exits.holds import Hold
from common.core.exits.position import Opening, View, continues, opened, resized
from common.core.exits.step import Exit, step

LADDER = tp((3, 50), (5, 100))

CHAINS = {
    "1 long stop": (long(), rules(sl(2)), [("98.01", "hold"), ("98.0", "stop_loss 100")]),
    "1 short mirror": (short(), rules(sl(2)), [("101.99", "hold"), ("102.0", "stop_loss 100")]),
    "3 long gap": (long(), rules(sl(2)), [("99.5", "hold"), ("90", "stop_loss 100")]),
    "3 short mirror": (short(), rules(sl(2)), [("100.5", "hold"), ("110", "stop_loss 100")]),
    "4 long target": (long(), rules(tp((3, 100))), [("103.0", "hold"), ("103.01", "take_profit 100")]),
    "5 short target": (short(), rules(tp((3, 100))), [("97.0", "hold"), ("96.99", "take_profit 100")]),
    "6 long never armed": (
        long(),
        rules(trail(2, 1)),
        [("101.99", "hold"), ("101", "hold"), ("99", "hold")],
    ),
    "6 short mirror": (short(), rules(trail(2, 1)), [("98.01", "hold"), ("99", "hold"), ("101", "hold")]),
    "7 long armed": (
        long(),
        rules(trail(2, 1)),
        [("102.0", "hold"), ("101.5", "hold"), ("100.98", "trailing_stop 100")],
    ),
    "7 short mirror": (
        short(),
        rules(trail(2, 1)),
        [("98.0", "hold"), ("98.5", "hold"), ("98.98", "trailing_stop 100")],
    ),
    "8 long follows": (
        long(),
        rules(trail(2, 1)),
        [
            ("103", "hold"),
            ("102.5", "hold"),
            ("104", "hold"),
            ("103", "hold"),
            ("102.96", "trailing_stop 100"),
        ],
    ),
    "8 short mirror": (
        short(),
        rules(trail(2, 1)),
        [("97", "hold"), ("97.5", "hold"), ("96", "hold"), ("96.95", "hold"), ("96.96", "trailing_stop 100")],
    ),
    "9 long gap": (long(), rules(trail(2, 1)), [("103", "hold"), ("95", "trailing_stop 100")]),
    "9 short mirror": (short(), rules(trail(2, 1)), [("97", "hold"), ("105", "trailing_stop 100")]),
    "10 long stop first": (
        long(),
        rules(sl(2), trail(2, 1)),
        [("103", "hold"), ("95", "stop_loss 100")],
    ),
    "10 short mirror": (short(), rules(sl(2), trail(2, 1)), [("97", "hold"), ("105", "stop_loss 100")]),
    "11 long all": (long(), rules(sl(2), tp((3, 100)), trail(2, 1)), [("104", "take_profit 100")]),
    "11 short mirror": (short(), rules(sl(2), tp((3, 100)), trail(2, 1)), [("96", "take_profit 100")]),
    "12 long ladder": (
        long(),
        rules(LADDER),
        [("103.1", "take_profit 50"), ("103.2", "hold"), ("104.9", "hold"), ("105.1", "take_profit 100")],
    ),
    "12 short mirror": (
        short(),
        rules(LADDER),
        [("96.9", "take_profit 50"), ("96.8", "hold"), ("95.1", "hold"), ("94.9", "take_profit 100")],
    ),
    "13 long one stage a price": (
        long(),
        rules(LADDER),
        [("106", "take_profit 50"), ("106", "take_profit 100")],
    ),
    "13 short mirror": (short(), rules(LADDER), [("94", "take_profit 50"), ("94", "take_profit 100")]),
    "14 long too old": (
        long(),
        rules(hold_for(24)),
        [(("90", 23.99), "hold"), (("90", 24.0), "max_hold 100")],
    ),
    "14 short mirror": (
        short(),
        rules(hold_for(24)),
        [(("110", 23.99), "hold"), (("110", 24.0), "max_hold 100")],
    ),
    "15 long target shrinks": (
        long(),
        rules(hold_for(24, 1)),
        [(("101", 0.99), "hold"), (("100.9583", 1), "hold"), (("100.9584", 1), "decaying_target 100")],
    ),
    "15 short mirror": (
        short(),
        rules(hold_for(24, 1)),
        [(("99", 0.99), "hold"), (("99.0417", 1), "hold"), (("99.0416", 1), "decaying_target 100")],
    ),
    "16 long stop before age": (long(), rules(sl(2), hold_for(24)), [(("97", 24), "stop_loss 100")]),
    "16 short mirror": (short(), rules(sl(2), hold_for(24)), [(("103", 24), "stop_loss 100")]),
    "17 tiny price, stop": (
        long("2e-05"),
        rules(sl(2), tp((3, 100))),
        [("1.961e-05", "hold"), ("1.96e-05", "stop_loss 100")],
    ),
    "17 tiny price, target": (
        long("2e-05"),
        rules(sl(2), tp((3, 100))),
        [("2.06e-05", "hold"), ("2.07e-05", "take_profit 100")],
    ),
    "17 short mirror": (short("2e-05"), rules(sl(2), tp((3, 100))), [("2.04e-05", "stop_loss 100")]),
    "18 no price": (long(), rules(sl(2)), [(None, "hold"), ("NaN", "hold"), ("0.0", "hold")]),
    "18 short mirror": (short(), rules(sl(2)), [(None, "hold"), ("NaN", "hold"), ("0.0", "hold")]),
    "lock-in": (
        long(),
        rules(trail(2, 5, lock_in="0.5")),
        [("102", "hold"), ("100.51", "hold"), ("100.5", "trailing_stop 100")],
    ),
    "absolute loss": (
        long(size="2"),
        rules(sl(50, loss_quote=Decimal(10))),
        [("95.01", "hold"), ("95", "stop_loss 100")],
    ),
    "absolute profit closes all, whatever the stage": (
        short(size="2"),
        rules(tp((3, 50), (50, 100), profit_quote=Decimal(10))),
        [("96.9", "take_profit 50"), ("95", "hold"), ("94.99", "take_profit 100"), ("90", "hold")],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_golden_chain_is_decided_to_the_letter(name):
    position, of, looks = CHAINS[name]

    decisions, _ = chain(position, of, *(look for look, _ in looks))

    assert decisions == [expected for _, expected in looks]


def test_a_gap_is_reported_with_its_real_loss():
    _, _, decision = looked(long(), "90", rules(sl(2)))

    assert decision.verdict.pnl_pct == -10


def test_a_gap_through_the_trailing_stop_is_reported_with_its_real_loss():
    of = rules(trail(2, 1))
    armed, _, _ = looked(long(), "103", of)

    _, _, decision = looked(armed, "95", of)

    assert (decision.verdict.rule, decision.verdict.pnl_pct) == ("trailing_stop", -5)


def test_the_trailing_stop_shows_its_level_from_the_peak():
    levels = []
    position = long()
    for value in ("102.0", "103", "102.5", "104"):
        position, verdicts, _ = looked(position, value, rules(trail(2, 1)))
        levels.append(verdicts[0].level)

    assert levels == [Decimal("100.98"), Decimal("101.97"), Decimal("101.97"), Decimal("102.96")]


def test_the_target_after_an_hour_of_24_is_23_24ths():
    _, verdicts, _ = looked(long(), "101", rules(hold_for(24, 1)), START + timedelta(hours=1))

    assert round(verdicts[1].level, 4) == Decimal("100.9583")


@pytest.mark.parametrize("value", [None, "NaN", "sNaN", "Infinity", "-Infinity", "0.0", "-1"])
def test_a_bad_price_changes_nothing_and_says_why(value):
    position = long(peak_price=Decimal(101), last_price=Decimal(101), last_evaluated_at=START)

    after, verdicts, decision = looked(position, value, rules(sl(2), tp((3, 100)), trail(0, 1)))

    assert decision is Hold.BAD_PRICE
    assert after == position
    assert {verdict.rule for verdict in verdicts} == {"stop_loss", "take_profit", "trailing_stop"}


@pytest.mark.parametrize("value", [None, "NaN", "0"])
def test_the_greatest_age_closes_without_any_price(value):
    _, _, decision = looked(long(), value, rules(sl(2), hold_for(24)), START + timedelta(hours=24))

    assert isinstance(decision, Exit)
    assert decision.verdict.rule == "max_hold"


def test_all_rules_are_recorded_when_one_fires():
    of = rules(sl(2), tp((3, 100)), trail(2, 1), hold_for(24))

    _, verdicts, decision = looked(long(), "97", of)

    assert decision.verdict.rule == "stop_loss"
    assert [verdict.rule for verdict in verdicts] == [
        "stop_loss",
        "trailing_stop",
        "take_profit",
        "max_hold",
        "decaying_target",
    ]
    assert all(verdict.pnl_pct == -3 for verdict in verdicts)


def test_a_rule_that_fails_does_not_keep_the_others_from_firing():
    of = rules(tp((3, 100), profit_quote=Decimal(1)), hold_for(24))
    broken = long(size="1")
    broken = msgspec.structs.replace(broken, size=Decimal(0))

    _, verdicts, decision = looked(broken, "97", of, START + timedelta(hours=24))

    assert "DivisionByZero" in verdicts[0].fault
    assert decision.verdict.rule == "max_hold"


def test_s1_a_burst_that_ends_below_the_stop_fires_on_its_last_price():
    decisions, _ = chain(long(), rules(sl(2)), "99.0", "98.5", "97.9")

    assert decisions == ["hold", "hold", "stop_loss 100"]


def test_s3_a_stop_outweighs_a_latched_target():
    of = rules(sl(2), tp((3, 50), (5, 100)))
    latched, _, _ = looked(long(), "103.1", of)

    crossed, _, decision = looked(latched, "98", of, START + timedelta(seconds=5))

    assert decision.verdict.rule == "stop_loss"
    assert (crossed.latched_rule, crossed.stage) == ("stop_loss", 1)


def test_a_latch_holds_while_its_rule_goes_on_firing():
    of = rules(sl(2))
    latched, _, _ = looked(long(), "98", of)

    again, _, decision = looked(latched, "97", of, START + timedelta(seconds=1))

    assert decision is Hold.LATCHED
    assert again.latched_at == latched.latched_at


def test_a_partial_target_does_not_replace_a_full_exit_that_is_under_way():
    of = rules(tp((3, 50), (5, 100)), hold_for(1))
    latched, _, _ = looked(long(), "100", of, START + timedelta(hours=1))

    _, _, decision = looked(latched, "104", of, START + timedelta(hours=1, seconds=1))

    assert decision is Hold.LATCHED


def test_s4_a_stage_that_was_taken_is_not_taken_again():
    decisions, _ = chain(long(stage=1), rules(LADDER), "103.1", "104")

    assert decisions == ["hold", "hold"]


def test_s8_an_older_price_is_ignored():
    of = rules(sl(2))
    newer, _, _ = looked(long(), "101", of, START + timedelta(seconds=2))

    after, verdicts, decision = looked(newer, "150", of, START + timedelta(seconds=1))

    assert (after, verdicts, decision) == (newer, (), Hold.OLDER_PRICE)


@pytest.mark.parametrize(("age_s", "hold"), [(61, Hold.STALE_PRICE), (-3, Hold.FUTURE_PRICE)])
def test_a_price_of_another_time_fires_nothing(age_s, hold):
    seen = price("50", START - timedelta(seconds=age_s))

    after, _, decision = step(long(), seen, rules(sl(2)), START, MAX_AGE)

    assert (after, decision) == (long(), hold)


def view(size, entry="100", at=START + timedelta(minutes=1)):
    return View(
        symbol="BTCUSDT",
        size=Decimal(size),
        entry_price=None if entry is None else Decimal(entry),
        seen_at=at,
    )


def test_s6_a_reopened_position_starts_anew():
    opening = Opening(
        lifecycle_id=UUID(int=2), strategy_id="momentum", opened_at=START + timedelta(minutes=1)
    )

    reopened = opened(view("1", "90"), Decimal(90), opening)

    assert (reopened.peak_price, reopened.stage, reopened.armed, reopened.generation) == (90, 0, False, 0)
    assert reopened.opened_at == START + timedelta(minutes=1)


@pytest.mark.parametrize(("size", "same"), [("2", True), ("0.1", True), ("-1", False), ("0E-8", False)])
def test_s7_a_lifecycle_ends_with_its_side(size, same):
    assert continues(long(), view(size)) is same


PEAKS = [
    (long(peak_price=Decimal(105)), view("2", "102"), 105),
    (long(peak_price=Decimal(101)), view("2", "102"), 102),
    (short(peak_price=Decimal(95)), view("-2", "98"), 95),
    (short(peak_price=Decimal(99)), view("-2", "98"), 98),
]


@pytest.mark.parametrize(("position", "seen", "peak"), PEAKS)
def test_a_new_average_keeps_the_peak_only_on_its_right_side(position, seen, peak):
    after = resized(position, seen)

    assert (after.peak_price, after.entry_price, after.size) == (peak, seen.entry_price, seen.size)


def test_a_view_without_entry_leaves_the_entry_as_it_is():
    assert resized(long(), view("0.4", None)).entry_price == 100


def test_an_older_view_changes_nothing():
    position = long(newest_event_at=START + timedelta(minutes=2))

    assert resized(position, view("5", "50")) == position
