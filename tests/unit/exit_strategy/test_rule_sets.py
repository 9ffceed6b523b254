from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import hold_for, long, looked, rules, short, sl, tp, trail

from common.core.exits.rule_sets import strictest, warnings
from common.core.exits.rules import Rules, Stage, StopLoss, whole
from common.core.exits.step import Exit


def test_the_strictest_rules_have_the_tightest_stop_the_lowest_target_and_the_least_age():
    one = rules(sl(2), tp((3, 50), (5, 100)), trail(2, 1), hold_for(24, 1))
    other = rules(sl(1, loss_quote=Decimal(50)), tp((4, 100)), trail(3, "0.5", "0.2"), hold_for(48, "0.5"))

    both = strictest([one, other])

    assert (both.stop_loss.loss_pct, both.stop_loss.loss_quote) == (1, 50)
    assert both.trailing_stop == trail(2, "0.5", "0.2")["trailing_stop"]
    assert both.take_profit.ladder == (Stage(profit_pct=Decimal(3), close_pct=Decimal(100)),)
    assert (both.time_limit.max_hold, both.time_limit.profit_target_pct) == (
        timedelta(hours=24),
        Decimal("0.5"),
    )


def test_a_rule_that_one_strategy_has_is_a_rule_of_the_strictest():
    both = strictest([rules(sl(2)), rules(trail(2, 1)), Rules()])

    assert (both.stop_loss.loss_pct, both.trailing_stop.distance_pct) == (2, 1)
    assert (both.take_profit, both.time_limit) == (None, None)


def test_the_least_quote_amounts_are_the_strictest_and_none_is_no_amount():
    one = rules(sl(2, loss_quote=Decimal(70)), tp((3, 100), profit_quote=Decimal(90)))
    other = rules(sl(2), tp((3, 100), profit_quote=Decimal(80)))

    both = strictest([one, other])

    assert both.stop_loss == StopLoss(loss_pct=Decimal(2), loss_quote=Decimal(70))
    assert both.take_profit.profit_quote == 80
    assert both.version is None


def test_the_lowest_of_different_targets_closes_all_and_the_highest_lock_in_counts():
    one = rules(tp((4, 50), (5, 100)), trail(2, 1, "0.2"))
    other = rules(tp((3, 100)), trail(3, 2, "0.4"))

    both = strictest([one, other])

    assert both.take_profit.ladder == (Stage(profit_pct=Decimal(3), close_pct=Decimal(100)),)
    assert both.trailing_stop == trail(2, 1, "0.4")["trailing_stop"]


def test_rules_of_which_one_has_a_version_have_one_of_their_own():
    both = strictest([whole(rules(sl(2))), rules(sl(1))])

    assert both == whole(rules(sl(1)))


def test_strategies_that_agree_keep_their_ladder_and_their_version():
    of = whole(rules(sl(2), tp((3, 50), (5, 100))))

    assert strictest([of, of]) == of


def test_there_is_no_strictest_of_nothing():
    with pytest.raises(ValueError, match=r"^no rules to choose from$"):
        strictest([])


percents = st.decimals("0.1", "8", places=1)
sets = st.builds(
    lambda stop, target, activation, distance: rules(
        sl(stop), tp((target, 100)), trail(activation, distance)
    ),
    percents,
    percents,
    percents,
    percents,
)


@given(st.lists(sets, min_size=1, max_size=3), st.lists(st.decimals("90", "110", places=1), max_size=8))
def test_the_strictest_rules_close_no_later_than_any_of_their_sets(several, stream):
    both = strictest(several)
    for make in (long, short):
        watched, position = [make() for _ in several], make()
        for value in stream:
            position, _, decision = looked(position, value, both)
            found = [looked(each, value, of) for each, of in zip(watched, several, strict=True)]
            watched = [after for after, _, _ in found]
            if isinstance(decision, Exit):
                break
            assert not any(isinstance(said, Exit) for _, _, said in found)


LATE = "the trailing stop will never secure a profit before the best one was"
NO_TIME_TARGET = "TIME_BASED_EXIT_PROFIT_TARGET_PCT will never fire"
WARNED = {
    "the defaults": (rules(sl(2), tp((3, 100))), None),
    "all at sensible values": (rules(sl(2), tp((5, 100)), trail(2, 1), hold_for(24, 1)), None),
    "distance just below activation": (rules(trail(1, "0.9")), None),
    "distance not below activation": (
        rules(trail(1, 1)),
        f"TRAILING_STOP_DISTANCE_PCT 1 is not below TRAILING_STOP_ACTIVATION_PCT 1: {LATE} 1.01 %",
    ),
    "a distance of half": (
        rules(trail(1, 50)),
        f"TRAILING_STOP_DISTANCE_PCT 50 is not below TRAILING_STOP_ACTIVATION_PCT 1: {LATE} 100.00 %",
    ),
    "a lock-in secures what the distance does not": (rules(trail(1, 2, "0.5")), None),
    "target above activation": (rules(tp(("2.1", 100)), trail(2, 1)), None),
    "target not above activation": (
        rules(tp((2, 100)), trail(2, 1)),
        (
            "the take profit closes all above 2 %, TRAILING_STOP_ACTIVATION_PCT is 2: "
            "the trailing stop will never fire"
        ),
    ),
    "only the closing stage counts": (rules(tp((1, 50), (4, 100)), trail(2, 1)), None),
    "no stage closes": (rules(tp((1, 50)), trail(2, 1)), None),
    "a stage after the last": (
        rules(tp((3, 100), (5, 100))),
        "the take profit closes all above 3 %: its later stages will never fire",
    ),
    "lock-in above activation": (
        rules(trail(2, 1, 3)),
        (
            "TRAILING_STOP_LOCK_IN_PCT 3 is above TRAILING_STOP_ACTIVATION_PCT 2: "
            "the stop closes as soon as it arms and will never trail from below the locked-in profit"
        ),
    ),
    "lock-in below the first stop": (
        rules(trail(2, 1, "0.5")),
        (
            "TRAILING_STOP_LOCK_IN_PCT 0.5 will never be the stop of a long: from its arming on the "
            "trailing stop is as good or better"
        ),
    ),
    "lock-in at the first stop": (
        rules(trail(100, 50, 0)),  # armed at twice the entry, the stop is the entry
        (
            "TRAILING_STOP_LOCK_IN_PCT 0 will never be the stop of a long: from its arming on the "
            "trailing stop is as good or better"
        ),
    ),
    "lock-in just above the first stop": (rules(trail(100, 50, "0.1")), None),
    "lock-in hardly above the first stop": (rules(trail(100, "49.503", 1)), None),
    "lock-in that counts": (rules(trail(2, 3, "0.5")), None),
    "lock-in at the activation": (rules(trail(2, 3, 2)), None),
    "an age within the first hour": (
        rules(hold_for(1, 1)),
        f"TIME_BASED_EXIT_MAX_HOURS is not above 1: {NO_TIME_TARGET}",
    ),
    "an age after the first hour": (rules(hold_for(1.1, 1)), None),
    "a time target above the target": (
        rules(tp((1, 100)), hold_for(24, 20)),
        f"the take profit closes all above 1 %, the least time target is 2.0 %: {NO_TIME_TARGET}",
    ),
    "a time target at the target": (rules(tp((2, 100)), hold_for(24, 20)), None),
    "a stop at the entry": (
        rules(sl(0)),
        "STOP_LOSS_THRESHOLD_PCT is 0: a position is closed as soon as its price is not above its entry",
    ),
    "a target at the entry": (
        rules(tp((0, 100))),
        "MODEL_SERVICE_TAKE_PROFIT_PCT is 0: a position is closed as soon as it earns anything",
    ),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_will_never_fire_is_said_in_one_sentence(name):
    of, sentence = WARNED[name]

    assert warnings(of) == (() if sentence is None else (sentence,))


def test_everything_that_is_wrong_is_said():
    of = rules(sl(0), trail(1, 2), tp((0, 100), (5, 100)), hold_for(1, 1))

    assert [sentence.split(" ")[0] for sentence in warnings(of)] == [
        "STOP_LOSS_THRESHOLD_PCT",
        "TRAILING_STOP_DISTANCE_PCT",
        "the",
        "the",
        "MODEL_SERVICE_TAKE_PROFIT_PCT",
        "TIME_BASED_EXIT_MAX_HOURS",
    ]


def test_a_version_names_the_rules_and_nothing_else():
    assert whole(rules(sl(2))).version == whole(whole(rules(sl(2)))).version
    assert whole(rules(sl(2))).version != whole(rules(sl(3))).version
    assert len(whole(Rules()).version) == 12
