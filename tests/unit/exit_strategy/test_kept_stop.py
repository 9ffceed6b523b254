"""What a position remembers of its stops, and that no setting loosens them."""

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.exit_strategy.book import START, hold_for, long, looked, rules, short, sl, tp, trail

from common.core.exits.holds import Hold
from common.core.exits.position import Verdict, View, resized
from common.core.exits.rules import STORED_STEP, Rules, whole
from common.core.exits.step import Exit

TIGHT = whole(rules(sl(2), trail(2, 1)))


def after(position, *prices, of):
    for second, value in enumerate(prices, start=1):
        position, _, decision = looked(position, value, of, START + timedelta(seconds=second))
    return position, decision


@pytest.mark.parametrize(
    ("position", "prices", "stop"),
    [
        (long(), ["100"], "98"),
        (short(), ["100"], "102"),
        (long(), ["104", "103.5"], "102.96"),
        (short(), ["96", "96.5"], "96.96"),
    ],
)
def test_the_tightest_stop_is_remembered(position, prices, stop):
    watched, _ = after(position, *prices, of=TIGHT)

    assert watched.stop_price == Decimal(stop)


LOOSENED = {
    "a further stop": (["100"], rules(sl(5)), "98.01", "98"),
    "no stop any more": (["100"], rules(tp((3, 100))), "98.01", "98"),
    "a further distance": (["104"], rules(sl(2), trail(2, 3)), "102.97", "102.96"),
    "no trailing stop any more": (["104"], rules(sl(2)), "102.97", "102.96"),
    "a higher activation": (["104"], rules(sl(2), trail(9, 3)), "102.97", "102.96"),
}


@pytest.mark.parametrize("name", LOOSENED)
def test_loosened_settings_never_loosen_the_stop_of_an_open_position(name):
    before, of, above, at = LOOSENED[name]
    position, _ = after(long(), *before, of=TIGHT)

    assert after(position, above, of=whole(of))[1] is Hold.NO_RULE_FIRES
    decision = after(position, at, of=whole(of))[1]

    assert isinstance(decision, Exit)
    assert (decision.verdict.rule, decision.verdict.level) == ("kept_stop", Decimal(at))


def test_a_short_keeps_its_stop_too():
    position, _ = after(short(), "100", of=TIGHT)

    decision = after(position, "102", of=whole(rules(sl(5))))[1]

    assert decision.verdict.rule == "kept_stop"


def test_tightened_settings_tighten_at_once_and_fire_under_their_own_name():
    position, _ = after(long(), "100", of=TIGHT)

    tightened, decision = after(position, "99", of=whole(rules(sl(1))))

    assert (decision.verdict.rule, tightened.stop_price) == ("stop_loss", 99)


def test_the_stops_of_unchanged_rules_fire_under_their_own_names():
    armed, _ = after(long(), "104", of=TIGHT)

    assert after(armed, "102.96", of=TIGHT)[1].verdict.rule == "trailing_stop"
    assert after(armed, "97", of=TIGHT)[1].verdict.rule == "stop_loss"


@given(
    peak=st.floats(103, 110).map(lambda value: Decimal(repr(value))),
    distance=st.decimals("0.10", "1.50", places=2),
    position=st.sampled_from([long(), short()]),
)
def test_a_trailing_stop_fires_under_its_own_name_after_the_database_rounded_what_it_keeps(
    peak, distance, position
):
    of = whole(rules(trail("1.6", distance)))
    best = peak if position.size > 0 else 200 - peak
    seen, _ = after(position, best, of=of)
    stored = msgspec.structs.replace(
        seen, **{name: as_stored(getattr(seen, name)) for name in ("peak_price", "stop_price")}
    )

    decision = after(stored, 100, of=of)[1]

    assert decision.verdict.rule == "trailing_stop"


def as_stored(value):
    return value.quantize(STORED_STEP, ROUND_HALF_UP)


def test_a_stop_that_an_operator_cleared_is_that_of_the_present_rules():
    position, _ = after(long(), "100", of=TIGHT)
    cleared = msgspec.structs.replace(position, stop_price=None)

    assert after(cleared, "98", of=whole(rules(sl(5))))[0].stop_price == 95


def test_switched_off_exits_and_parts_of_a_rule_set_fire_no_kept_stop_and_remember_nothing():
    position, _ = after(long(), "100", of=TIGHT)

    for of in (Rules(), rules(tp((3, 100)))):
        watched, decision = after(position, "90", of=of)
        assert decision is Hold.NO_RULE_FIRES
        assert (watched.stop_price, watched.verdicts) == (position.stop_price, position.verdicts)


AVERAGED = [
    (long(stop_price=Decimal(98)), "2", "90", "88.2"),
    (long(stop_price=Decimal(98)), "2", "110", "98"),
    (long(stop_price=Decimal(98)), "0.5", "100", "98"),
    (short(stop_price=Decimal(102)), "-2", "110", "112.2"),
    (short(stop_price=Decimal(102)), "-2", "90", "102"),
]


@pytest.mark.parametrize(("position", "size", "entry", "stop"), AVERAGED)
def test_an_average_to_the_harm_takes_the_stop_along(position, size, entry, stop):
    view = View(symbol="BTCUSDT", size=Decimal(size), entry_price=Decimal(entry), seen_at=START)

    assert resized(position, view).stop_price == Decimal(stop)


@given(
    st.sampled_from([long(), short()]), st.lists(st.decimals("99", "106", places=2), max_size=10), st.data()
)
def test_whatever_the_settings_become_the_stop_only_tightens(position, stream, data):
    sets = [TIGHT, whole(rules(sl(5))), whole(rules(sl(1), trail(1, 3))), whole(Rules())]
    for second, value in enumerate(stream):
        of = data.draw(st.sampled_from(sets))
        before = position
        position, _, _ = looked(position, value, of, START + timedelta(seconds=second))
        if before.stop_price is not None:
            assert not position.side.is_better(before.stop_price, position.stop_price)


def test_every_evaluation_leaves_its_figures_the_source_and_the_rules_version():
    of = whole(rules(sl(2), tp((3, 100)), trail(2, 1), hold_for(24)))

    watched, found, _ = looked(long(), "101", of)

    assert watched.verdicts == found
    assert (watched.rules_version, watched.price_source, watched.best_pnl_pct) == (of.version, "test", 1)


def test_the_figures_survive_their_way_through_json():
    watched, found, _ = looked(long(), "101", TIGHT)

    stored = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(watched.verdicts)))

    assert msgspec.convert(stored, tuple[Verdict, ...]) == found


def test_the_best_profit_stays_when_the_price_comes_back():
    watched, _ = after(long(), "101", "103", "99.5", of=TIGHT)

    assert watched.best_pnl_pct == 3


ASKED = {"close_requested_at": START, "close_actor": "ann", "close_reason": "listing ends"}


@pytest.mark.parametrize("value", [None, "100", "97"])
def test_an_operator_closes_whatever_the_price_and_the_rules(value):
    for of in (TIGHT, Rules()):
        watched, _, decision = looked(long(**ASKED), value, of)

        assert (decision.verdict.rule, watched.latched_rule) == ("operator", "operator")


def test_an_operator_outweighs_a_target_that_is_latched():
    latched = long(**ASKED, latched_rule="take_profit", stage=1)

    assert looked(latched, "104", TIGHT)[0].latched_rule == "operator"
