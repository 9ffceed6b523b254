"""How far an amount is adapted: position limit, margin of shorts, fills that are not booked yet."""

import math
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.cases import NOW, case, ledger, limits, proposal, situation

from common.core.rate_limit import Bucket
from common.core.trading_state import TradingState, last_known
from common.messages import encode_signal
from inference.core.case import Balance
from inference.core.decide import Signal, decide
from inference.core.reasons import Reason, Skip


def amount(**facts):
    outcome = decide(case(**facts))
    return outcome.message.amount if isinstance(outcome, Signal) else outcome.reason


def held(size, others="0", **changes):
    worth = None if others is None else Decimal(others)
    return situation(live_size=Decimal(size), other_exposure_quote=worth, **changes)


@pytest.mark.parametrize(
    ("size", "others", "passes"),
    [
        ("0", "0", 200),  # nothing is held at all: the ratio is 0
        ("1", "0", Reason.POSITION_LIMIT),  # a single open position is the whole exposure
        ("0", "40", 160),  # 160 / (40 + 160) = 0.8
        ("1", "40", 60),  # (100 + 60) / (140 + 60) = 0.8
        ("1", "25", Reason.POSITION_LIMIT),  # 100 / 125 = 0.8 already
        ("1", "26", Reason.POSITION_LIMIT),  # room for 4, the instrument's minimum is 5
        ("1", "10000", 200),
        ("-1", "0", 100),  # a buy against a short reduces: it stays within its value
    ],
)
def test_a_symbol_gets_at_most_its_share_of_all_positions(size, others, passes):
    assert amount(situation=held(size, others)) == passes


@pytest.mark.parametrize(
    ("size", "maximum", "passes"),
    [
        ("0", "1000", 200),
        ("7", "1000", 100),
        ("7.96", "1000", Reason.POSITION_LIMIT),
        ("9", "1000", Reason.POSITION_LIMIT),
    ],
)
def test_a_symbol_gets_at_most_its_share_of_the_configured_exposure(size, maximum, passes):
    bounded = limits(max_exposure_quote=Decimal(maximum))

    assert amount(situation=held(size, others=None), limits=bounded) == passes


def test_a_share_of_one_is_no_limit():
    everything = limits(max_position_ratio=Decimal(1))

    assert amount(situation=held("1"), limits=everything) == 200
    assert amount(situation=held("1", others=None), limits=everything) == 200  # and nobody is asked for them
    bounded = limits(max_position_ratio=Decimal(1), max_exposure_quote=Decimal(150))
    assert amount(situation=held("1", others=None), limits=bounded) == 50


def test_other_positions_that_are_not_known_stop_a_buy_but_not_a_sell_of_a_long():
    unknown = situation(live_size=Decimal(1), other_exposure_quote=None)

    assert amount(situation=unknown) is Reason.POSITION_UNKNOWN
    assert amount(situation=unknown, proposal=proposal("sell")) == 100


def test_a_short_entry_counts_against_the_limit_as_well():
    margin = Balance(available_quote=Decimal(10_000), received_at=NOW)
    short = held("-2", "50", margin=margin)

    assert amount(situation=short, proposal=proposal("sell"), limits=limits(short_entries=True)) is (
        Reason.POSITION_LIMIT
    )


@pytest.mark.parametrize(
    ("margin", "reserved", "passes"),
    [
        (None, "0", Reason.BALANCE_UNKNOWN),
        (Balance(available_quote=Decimal(100), received_at=NOW), "0", 94.85),
        (Balance(available_quote=Decimal(100), received_at=NOW), "50", 44.85),
        (
            Balance(available_quote=Decimal(100), received_at=NOW - timedelta(seconds=61)),
            "0",
            Reason.BALANCE_STALE,
        ),
        (Balance(available_quote=Decimal("NaN"), received_at=NOW), "0", Reason.BALANCE_UNKNOWN),
    ],
)
def test_a_short_entry_spends_the_margin_account(margin, reserved, passes):
    facts = {
        "proposal": proposal("sell"),
        "limits": limits(short_entries=True),
        "situation": situation(margin=margin, balance=None),
        "ledger": ledger(reserved_margin_quote=Decimal(reserved)),
    }

    assert amount(**facts) == passes


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("booked_at", "filled_at", "is_known"),
    [
        (None, None, True),
        (ago(10), None, True),
        (ago(10), ago(10), True),
        (ago(10), ago(11), True),
        (ago(10), ago(9), False),
        (ago(7200), ago(3600), False),
        (None, ago(59), False),
        (None, ago(61), True),
    ],
)
def test_no_signal_meets_a_position_that_lacks_the_newest_fill(side, booked_at, filled_at, is_known):
    known = held("10", "10000", booked_at=booked_at, newest_fill_at=filled_at)

    outcome = decide(case(situation=known, proposal=proposal(side)))

    assert isinstance(outcome, Signal) == is_known
    if not is_known:
        assert outcome.reason is Reason.POSITION_UNKNOWN
        assert outcome.facts["problem"] == "the newest fill is not booked yet"
        assert outcome.facts["newest_fill_at"] == filled_at.isoformat()


def test_an_unknown_position_says_why():
    silent = situation(live_size=None, position_problem="Position Manager answers 503")

    outcome = decide(case(situation=silent))

    assert isinstance(outcome, Skip)
    assert outcome.facts["problem"] == "Position Manager answers 503"


def test_a_balance_that_is_no_number_is_not_known():
    assert amount(situation=situation(balance=Balance(available_quote=Decimal("NaN"), received_at=NOW))) is (
        Reason.BALANCE_UNKNOWN
    )


def test_every_step_that_made_an_amount_smaller_is_named_with_its_figure():
    poor = held("1", "40", balance=Balance(available_quote=Decimal(130), received_at=NOW))

    outcome = decide(case(situation=poor, proposal=proposal(requested="500")))

    assert isinstance(outcome, Signal)
    metadata = outcome.message.metadata
    assert (metadata["requested_amount"], metadata["amount"]) == (500, 60)
    assert metadata["amount_cut_by"] == ["balance", "position_limit"]
    assert metadata["gates"]["balance"]["amount_quote"] == "123.31"
    assert metadata["gates"]["position_limit"]["amount_quote"] == "60.00"
    assert metadata["gates"]["position_limit"]["position_size_norm"] == pytest.approx(100 / 140, abs=1e-6)
    assert (
        metadata["reasoning"] == "because: buy BTCUSDT for 60.00 of 500 asked, cut by balance, position_limit"
    )
    assert metadata["feature_age_s"] == 1


@pytest.mark.parametrize(
    ("state", "read_ago_s", "holds"),
    [
        (TradingState.ACTIVE, 0, TradingState.ACTIVE),
        (TradingState.ACTIVE, 60, TradingState.ACTIVE),
        (TradingState.ACTIVE, 60.1, TradingState.REDUCING),
        (TradingState.ACTIVE, math.nan, TradingState.REDUCING),
        (TradingState.REDUCING, 1e6, TradingState.REDUCING),
        (TradingState.HALTED, 1e6, TradingState.HALTED),
        (None, 0, TradingState.REDUCING),
    ],
)
def test_a_trading_state_that_was_not_read_for_a_minute_is_at_least_reducing(state, read_ago_s, holds):
    assert last_known(state, read_ago_s) is holds


MONEY = st.decimals(min_value=0, max_value=20_000, places=2)
SIZES = st.decimals(min_value=-20, max_value=20, places=3)


@st.composite
def cases(draw):
    balances = st.one_of(
        st.none(),
        st.builds(
            Balance,
            available_quote=st.one_of(MONEY, st.just(Decimal("NaN"))),
            received_at=st.sampled_from([NOW, ago(59), ago(61)]),
        ),
    )
    return case(
        proposal=proposal(draw(st.sampled_from(["buy", "sell"])), str(draw(MONEY.filter(lambda m: m >= 1)))),
        situation=situation(
            state=draw(st.sampled_from(TradingState)),
            live_size=draw(st.one_of(st.none(), SIZES)),
            other_exposure_quote=draw(st.one_of(st.none(), MONEY)),
            balance=draw(balances),
            margin=draw(balances),
            booked_at=draw(st.sampled_from([None, ago(5)])),
            newest_fill_at=draw(st.sampled_from([None, ago(4), ago(6)])),
        ),
        ledger=ledger(
            reserved_quote=draw(MONEY),
            reserved_margin_quote=draw(MONEY),
            hourly_notional=draw(MONEY),
            bucket=Bucket(tokens=draw(st.sampled_from([math.nan, 0.0, 3.0])), refilled_at=NOW),
            exit_latched=draw(st.booleans()),
        ),
        limits=limits(
            short_entries=draw(st.booleans()),
            max_exposure_quote=draw(st.one_of(st.none(), MONEY.filter(bool))),
            max_position_ratio=draw(st.sampled_from([Decimal("0.1"), Decimal("0.8"), Decimal(1)])),
            max_notional_per_hour=draw(st.one_of(st.none(), MONEY.filter(bool))),
        ),
    )


@given(cases())
def test_whatever_is_known_an_amount_stays_within_every_bound(decided):
    outcome = decide(decided)

    assert decide(decided) == outcome
    if isinstance(outcome, Skip):
        return
    sent = Decimal(repr(outcome.message.amount))
    known, bounds = decided.situation, decided.limits
    assert encode_signal(outcome.message)
    assert 5 <= sent <= min(decided.proposal.requested_quote, bounds.max_order_notional)
    assert known.state is not TradingState.HALTED
    assert known.live_size is not None
    assert not decided.ledger.exit_latched
    if not decided.adds_exposure:
        assert sent <= abs(known.live_size) * 100
        return
    assert known.state is TradingState.ACTIVE
    spends = known.balance if decided.proposal.side == "buy" else known.margin
    reserved = (
        decided.ledger.reserved_quote
        if decided.proposal.side == "buy"
        else decided.ledger.reserved_margin_quote
    )
    assert (sent + reserved) * Decimal("1.0015") <= spends.available_quote * Decimal("0.95") + Decimal("1e-9")
    assert bounds.short_entries or decided.proposal.side == "buy"
    own = abs(known.live_size) * 100
    if bounds.max_exposure_quote is not None:
        assert own + sent <= bounds.max_position_ratio * bounds.max_exposure_quote
    elif known.other_exposure_quote + own:
        assert own + sent <= bounds.max_position_ratio * (known.other_exposure_quote + own + sent)
    if bounds.max_notional_per_hour is not None:
        assert decided.ledger.hourly_notional + sent <= bounds.max_notional_per_hour


@given(cases(), st.permutations(range(4)))
def test_neither_the_order_of_features_nor_the_trace_changes_a_decision(decided, order):
    names = sorted(decided.vector.features)
    shuffled = msgspec.structs.replace(
        decided.vector, features={names[index]: decided.vector.features[names[index]] for index in order}
    )

    assert decide(msgspec.structs.replace(decided, vector=shuffled)) == decide(decided)
