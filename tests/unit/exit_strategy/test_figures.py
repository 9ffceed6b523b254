"""Every figure that a verdict and a position carry, not only what is decided."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from tests.unit.exit_strategy.book import (
    MAX_AGE,
    START,
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
from common.core.exits.position import Opening, Side, Verdict, View, opened, resized
from common.core.exits.rules import Rules, closes_pct, levels, look_at, verdicts, whole, winner
from common.core.exits.step import Exit, step

HALVES = tp((3, 50), (5, 80))
HELD = {"held_s": 7200.0}


def said(rule, fires, pnl, level=None, **more):
    level = None if level is None else Decimal(level)
    pnl = None if pnl is None else Decimal(pnl)
    return Verdict(rule=rule, fires=fires, pnl_pct=pnl, level=level, **more)


HALF = {"close_pct": Decimal(50), "stage": 1}
SAID = {
    "long stop": (long(), sl(2), "97", [said("stop_loss", True, -3, "98")]),
    "short stop": (short(), sl(2), "103", [said("stop_loss", True, -3, "102")]),
    "short in profit": (short(), sl(2), "97", [said("stop_loss", False, 3, "102")]),
    "a tighter absolute stop": (
        long(size="2"),
        sl(2, loss_quote=Decimal(1)),
        "99.5",
        [said("stop_loss", True, "-0.5", "99.5")],
    ),
    "a looser absolute stop": (
        short(size="2"),
        sl(2, loss_quote=Decimal(10)),
        "101",
        [said("stop_loss", False, -1, "102")],
    ),
    "not armed": (long(), trail(2, 1), "101", [said("trailing_stop", False, 1)]),
    "armed": (long(), trail(2, 1), "104", [said("trailing_stop", False, 4, "102.96")]),
    "armed short": (short(), trail(2, 1), "96", [said("trailing_stop", False, 4, "96.96")]),
    "locked in": (long(), trail(2, 5, 1), "102", [said("trailing_stop", False, 2, "101")]),
    "below the first stage": (long(), HALVES, "103", [said("take_profit", False, 3, "103", **HALF)]),
    "above the first stage": (short(), HALVES, "96", [said("take_profit", True, 4, "97", **HALF)]),
    "every stage taken": (long(stage=2), HALVES, "120", [said("take_profit", False, 20)]),
    "an absolute profit": (
        long(size="2"),
        tp((3, 50), profit_quote=Decimal(10)),
        "106",
        [said("take_profit", True, 6, "105", stage=2)],
    ),
    "an absolute profit, not reached": (
        long(size="2"),
        tp((3, 50), profit_quote=Decimal(10)),
        "105",
        [said("take_profit", True, 5, "103", **HALF)],
    ),
    "an absolute profit, taken": (
        long(size="2", stage=2),
        tp((3, 50), profit_quote=Decimal(10)),
        "106",
        [said("take_profit", False, 6)],
    ),
    "half the time gone": (
        long(),
        hold_for(4, 2),
        "101",
        [said("max_hold", False, 1, **HELD), said("decaying_target", True, 1, "101", **HELD)],
    ),
    "nearly all of it gone": (
        short(),
        hold_for(2.05, 2),
        "99.9",
        [said("max_hold", False, "0.1", **HELD), said("decaying_target", False, "0.1", "99.8", **HELD)],
    ),
    "too old, at a loss": (
        short(),
        hold_for(2, 2),
        "101",
        [said("max_hold", True, -1, **HELD), said("decaying_target", False, -1, "99.8", **HELD)],
    ),
    "a time target reached exactly by a short": (
        short(),
        hold_for(4, 2),
        "99",
        [said("max_hold", False, 1, **HELD), said("decaying_target", True, 1, "99", **HELD)],
    ),
    "no price": (
        long(),
        {**sl(2), **hold_for(4, 2)},
        None,
        [
            said("stop_loss", False, None, "98"),
            said("max_hold", False, None, **HELD),
            said("decaying_target", False, None, "101", **HELD),
        ],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_every_rule_says_its_level_profit_age_share_and_stage(name):
    position, group, value, expected = SAID[name]

    _, found, _ = looked(position, value, rules(group), START + timedelta(hours=2))

    assert list(found) == expected


def test_before_an_hour_there_is_no_time_target_but_an_age():
    _, found, _ = looked(long(), "101", rules(hold_for(4, 1)), START + timedelta(minutes=59))

    assert found[1] == said("decaying_target", False, 1, held_s=3540.0)


def test_a_kept_stop_and_an_operator_say_the_profit_too():
    kept = long(stop_price=Decimal(98))
    _, found, _ = looked(kept, "97", whole(rules(sl(5))))
    assert found[1] == said("kept_stop", True, -3, "98")

    _, found, _ = looked(long(close_requested_at=START), "97", Rules())
    assert found == (said("operator", True, -3),)


def test_a_rule_that_fails_says_why_under_its_name():
    broken, of = long(size="1"), rules(sl(2), tp((3, 100), profit_quote=Decimal(1)))
    look = look_at(msgspec.structs.replace(broken, size=Decimal(0)), Decimal(97), START, of)

    found = verdicts(look, of)

    assert [(each.rule, each.fires) for each in found] == [("stop_loss", True), ("take_profit", False)]
    assert found[1].fault.startswith("DivisionByZero: ")


def test_what_is_switched_off_has_no_level():
    found = levels(Side.LONG, Decimal(100), Decimal(1), Rules())

    assert (found.loss, found.lock_in, found.stages, found.whole_profit) == (None, None, (), None)


def test_levels_are_worked_out_anew_once_the_entry_or_the_size_is_another():
    of = rules(sl(2, loss_quote=Decimal(1)), tp((3, 100), profit_quote=Decimal(4)), trail(2, 1, "0.5"))
    stood = levels(Side.LONG, Decimal(100), Decimal(1), of)
    moved, grown = (
        levels(Side.LONG, Decimal(200), Decimal(1), of),
        levels(Side.LONG, Decimal(100), Decimal(2), of),
    )

    assert levels(Side.LONG, Decimal(100), Decimal(1), of) is stood
    assert (stood.loss, stood.lock_in, stood.stages, stood.whole_profit) == (
        99,
        Decimal("100.5"),
        (103,),
        104,
    )
    assert (moved.loss, moved.lock_in, moved.stages, moved.whole_profit) == (199, 201, (206,), 204)
    assert (grown.loss, grown.whole_profit) == (Decimal("99.5"), 102)


def test_of_equal_priorities_the_first_wins():
    _, found, decision = looked(long(), "110", rules(hold_for(2, 1)), START + timedelta(hours=2))

    assert [each.fires for each in found] == [True, True]
    assert winner(found) is found[0]
    assert decision.verdict.rule == "max_hold"


SHARES = [("stop_loss", 1, 100), ("take_profit", 1, 50), ("take_profit", 2, 80)]
SHARES += [("take_profit", 0, 100), ("take_profit", 3, 100), ("max_hold", 1, 100)]


@pytest.mark.parametrize(("rule", "stage", "share"), SHARES)
def test_a_latched_rule_closes_the_share_of_its_stage_and_else_everything(rule, stage, share):
    assert closes_pct(rule, stage, rules(HALVES)) == share
    assert closes_pct(rule, stage, Rules()) == 100


def test_a_latch_knows_its_instant_and_the_position_its_price():
    at = START + timedelta(seconds=3)

    after, _, decision = step(long(), price("97", START), rules(sl(2)), at, MAX_AGE)

    assert isinstance(decision, Exit)
    assert (after.latched_rule, after.latched_at) == ("stop_loss", at)
    assert (after.last_price, after.last_evaluated_at) == (97, START)


def test_a_latch_of_a_rule_that_is_no_more_outweighs_nothing():
    old = long(latched_rule="volatility_stop")

    assert looked(old, "104", rules(tp((3, 100))))[0].latched_rule == "take_profit"


def test_without_a_trailing_stop_nothing_is_armed():
    assert not looked(long(), "150", rules(sl(2)))[0].armed


@pytest.mark.parametrize(("value", "best"), [("99", 0), ("101", 1)])
def test_the_best_profit_is_that_of_the_peak_from_the_first_price_on(value, best):
    assert looked(long(), value, rules(sl(2)))[0].best_pnl_pct == best


def test_the_best_profit_outlives_a_new_average():
    averaged = long(entry="102", peak_price=Decimal(103), best_pnl_pct=Decimal(3))

    assert looked(averaged, "104", rules(sl(2)))[0].best_pnl_pct == 3


@pytest.mark.parametrize(("age_s", "is_used"), [(60, True), (60.001, False), (-2, True), (-2.001, False)])
def test_a_price_may_be_as_old_as_allowed_and_a_little_ahead(age_s, is_used):
    held = long(opened_at=START - timedelta(hours=1))

    after, _, _ = step(held, price("97", START - timedelta(seconds=age_s)), rules(sl(2)), START, MAX_AGE)

    assert (after.latched_rule is not None) is is_used


@pytest.mark.parametrize(
    ("seen_before_s", "opened_in_s", "is_used"), [(0, 0, True), (0.001, 0, False), (0.001, 5, True)]
)
def test_a_price_from_before_the_position_is_not_its_price(seen_before_s, opened_in_s, is_used):
    """A position that is opened in the future is stamped by another clock: every price is its price."""
    held = long(opened_at=START + timedelta(seconds=opened_in_s))

    after, _, decision = step(
        held, price("97", START - timedelta(seconds=seen_before_s)), rules(sl(2)), START, MAX_AGE
    )

    assert (after.latched_rule is not None) is is_used
    assert is_used or (after, decision) == (held, Hold.OLDER_PRICE)


def test_without_a_usable_price_figures_are_kept_only_of_what_fires():
    of = whole(rules(sl(2), hold_for(24)))

    assert looked(long(), None, of)[0].verdicts is None
    assert looked(long(), None, of, START + timedelta(hours=24))[0].verdicts is not None
    assert looked(long(close_requested_at=START), None, of)[0].rules_version == of.version


def test_a_lifecycle_begins_with_what_its_view_and_its_opening_say():
    view = View(symbol="ETHUSDT", size=Decimal(-2), entry_price=Decimal(90), seen_at=START)
    opening = Opening(lifecycle_id=UUID(int=7), strategy_id="reversal", opened_at=START - timedelta(hours=1))

    begun = opened(view, Decimal(90), opening)

    assert (begun.lifecycle_id, begun.strategy_id, begun.opened_at) == (
        opening.lifecycle_id,
        "reversal",
        opening.opened_at,
    )
    assert (begun.symbol, begun.side, begun.size) == ("ETHUSDT", "short", -2)
    assert (begun.entry_price, begun.peak_price, begun.newest_event_at) == (90, 90, START)


def test_a_view_that_was_applied_guards_against_older_ones():
    at = START + timedelta(seconds=5)
    view = View(symbol="BTCUSDT", size=Decimal(2), entry_price=None, seen_at=at)

    assert resized(long(), view).newest_event_at == at


def test_s5_every_position_takes_its_own_stages():
    of = rules(HALVES)
    one, _, _ = looked(long(), "103.1", of)
    other, _, decision = looked(long(symbol="ETHUSDT", lifecycle_id=UUID(int=2)), "103.1", of)

    assert (one.stage, other.stage, decision.verdict.stage) == (1, 1, 1)


def test_s10_two_workers_decide_the_same_of_the_same_price():
    of = whole(rules(sl(2), HALVES))

    assert looked(long(), "97", of) == looked(long(), "97", of)
    assert looked(looked(long(), "97", of)[0], "97", of)[2] is Hold.LATCHED
