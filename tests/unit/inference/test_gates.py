import math
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.cases import NOW, case, ledger, limits, proposal, screening, situation, vector

from common.core.rate_limit import Bucket
from common.core.trading_state import TradingState
from inference.core import entry_gates
from inference.core.case import Balance, Instrument, LastSignal, OpenOrder
from inference.core.decide import Signal, decide
from inference.core.reasons import Reason, Skip
from inference.core.screening import screen


def rich(available="10000", age_s=0):
    return Balance(available_quote=Decimal(available), received_at=NOW - timedelta(seconds=age_s))


LAST = LastSignal(signal_id=UUID(int=1), created_at=NOW - timedelta(seconds=3), order_status=None)
RESTING = OpenOrder(order_id="EX-1", side="buy", status="pending")


@pytest.mark.parametrize(
    ("screened", "reason"),
    [
        (screening(vector(age_s=60)), None),
        (screening(vector(age_s=60.1)), Reason.VECTOR_STALE),
        (screening(vector(age_s=-2)), None),
        (screening(vector(age_s=-2.1)), Reason.VECTOR_FROM_FUTURE),
        (screening(vector(), newest=NOW), Reason.VECTOR_SUPERSEDED),
        (screening(vector(returns_1m=math.nan)), Reason.NOT_FINITE),
        (screening(vector(volume_3s=math.inf)), Reason.NOT_FINITE),
        (screening(vector(), changed_at=None), Reason.MARKET_FROZEN),
        (screening(vector(), changed_at=NOW - timedelta(seconds=61)), None),
        (screening(vector(), changed_at=NOW - timedelta(seconds=61.1)), Reason.MARKET_FROZEN),
        (screening(vector(mid_price=0.0)), Reason.NO_PRICE),
        (screening(vector(mid_price=-1.0)), Reason.NO_PRICE),
        (screening(vector(depth_bid_top5=0.0)), Reason.NO_PRICE),
    ],
)
def test_a_vector_is_screened_before_anything_is_read(screened, reason):
    outcome = screen(screened)

    assert (outcome.reason if isinstance(outcome, Skip) else None) == reason


@pytest.mark.parametrize(
    ("screened", "skip"),
    [
        (screening(vector(age_s=61.5)), Skip(Reason.VECTOR_STALE, {"age_s": 61.5, "limit_s": 60})),
        (screening(vector(age_s=-3)), Skip(Reason.VECTOR_FROM_FUTURE, {"ahead_s": 3.0, "limit_s": 2})),
        (screening(vector(), newest=NOW), Skip(Reason.VECTOR_SUPERSEDED, {"behind_s": 1.0})),
        (
            screening(vector(volume_3s=math.inf, returns_1m=math.nan)),
            Skip(Reason.NOT_FINITE, {"features": ["returns_1m", "volume_3s"]}),
        ),
        (
            screening(vector(**{f"f{number:02}": math.nan for number in range(12)})),
            Skip(Reason.NOT_FINITE, {"features": [f"f{number:02}" for number in range(10)]}),
        ),
        (screening(vector(), changed_at=None), Skip(Reason.MARKET_FROZEN, {"unchanged_s": None})),
        (
            screening(vector(), changed_at=NOW - timedelta(seconds=62)),
            Skip(Reason.MARKET_FROZEN, {"unchanged_s": 61.0}),
        ),
    ],
)
def test_a_skipped_vector_shows_what_it_was_measured_by(screened, skip):
    assert screen(screened) == skip


def test_a_vector_without_mid_price_is_skipped_and_no_price_invented():
    bare = vector()
    del bare.features["mid_price"]

    assert screen(screening(bare)) == Skip(Reason.NO_PRICE, {"price": None, "depth": 6.0})


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"situation": situation(state=TradingState.HALTED)}, Reason.TRADING_HALTED),
        ({"situation": situation(state=TradingState.REDUCING)}, Reason.TRADING_REDUCING),
        (
            {
                "situation": situation(state=TradingState.REDUCING, live_size=Decimal(5)),
                "proposal": proposal("sell"),
            },
            None,
        ),
        ({"ledger": ledger(claimed=True)}, Reason.VECTOR_ALREADY_DECIDED),
        ({"ledger": ledger(newest_emitted=NOW)}, Reason.NEWER_SIGNAL_EXISTS),
        ({"ledger": ledger(newest_emitted=NOW - timedelta(seconds=1))}, Reason.NEWER_SIGNAL_EXISTS),
        ({"ledger": ledger(newest_emitted=NOW - timedelta(seconds=1.1))}, None),
        ({"ledger": ledger(warmup_slot_taken=True)}, Reason.WARMUP_SLOT_TAKEN),
        ({"situation": situation(open_orders=(RESTING,))}, Reason.OPEN_ORDER),
        (
            {"situation": situation(open_orders=(RESTING,)), "limits": limits(opposite_orders_only=True)},
            None,
        ),
        (
            {
                "situation": situation(open_orders=(RESTING,), live_size=Decimal(5)),
                "proposal": proposal("sell"),
                "limits": limits(opposite_orders_only=True),
            },
            Reason.OPEN_ORDER,
        ),
        ({"situation": situation(open_orders=(RESTING,)), "limits": limits(skip_if_open_order=False)}, None),
        ({"ledger": ledger(last_signal=LAST)}, Reason.SIGNAL_IN_FLIGHT),
        ({"ledger": ledger(last_signal=LAST), "limits": limits(in_flight_timeout_s=2.9)}, None),
        ({"situation": situation(live_size=None)}, Reason.POSITION_UNKNOWN),
        ({"situation": situation(live_size=None), "proposal": proposal("sell")}, Reason.POSITION_UNKNOWN),
        (
            {
                "situation": situation(live_size=None, state=TradingState.REDUCING),
                "proposal": proposal("sell"),
            },
            Reason.TRADING_REDUCING,
        ),
        ({"proposal": proposal("sell")}, Reason.WOULD_OPEN_SHORT),
        (
            {"proposal": proposal("sell"), "situation": situation(live_size=Decimal(-1))},
            Reason.WOULD_OPEN_SHORT,
        ),
        ({"proposal": proposal("sell"), "limits": limits(short_entries=True)}, Reason.BALANCE_UNKNOWN),
        (
            {
                "proposal": proposal("sell"),
                "limits": limits(short_entries=True),
                "situation": situation(margin=rich(), balance=None),
            },
            None,
        ),
        ({"ledger": ledger(exit_latched=True)}, Reason.EXIT_IN_FLIGHT),
        (
            {
                "ledger": ledger(exit_latched=True),
                "limits": limits(skip_if_open_order=False),
            },
            Reason.EXIT_IN_FLIGHT,
        ),
        ({"situation": situation(balance=None)}, Reason.BALANCE_UNKNOWN),
        (
            {
                "situation": situation(
                    balance=Balance(available_quote=Decimal(10_000), received_at=NOW - timedelta(seconds=61))
                )
            },
            Reason.BALANCE_STALE,
        ),
        (
            {"situation": situation(balance=Balance(available_quote=Decimal("5.2"), received_at=NOW))},
            Reason.BALANCE_TOO_SMALL,
        ),
        ({"ledger": ledger(reserved_quote=Decimal(9_499))}, Reason.BALANCE_TOO_SMALL),
        (
            {
                "limits": limits(max_notional_per_hour=Decimal(500)),
                "ledger": ledger(hourly_notional=Decimal(499)),
            },
            Reason.HOURLY_NOTIONAL_USED,
        ),
        ({"proposal": proposal(requested="4.99")}, Reason.BELOW_MINIMUM_ORDER),
        ({"ledger": ledger(bucket=Bucket(tokens=0.5, refilled_at=NOW))}, Reason.RATE_LIMITED),
        ({"ledger": ledger(bucket=Bucket(tokens=0.5, refilled_at=NOW - timedelta(seconds=1)))}, None),
        ({"vector": vector(age_s=60), "ledger": ledger()}, Reason.EXPIRED),
    ],
)
def test_the_first_gate_that_denies_gives_the_reason(facts, reason):
    outcome = decide(case(**facts))

    assert (outcome.reason if isinstance(outcome, Skip) else None) == reason


@pytest.mark.parametrize("status", ["filled", "partially_filled", "cancelled", "rejected", "dry_run"])
def test_an_answered_signal_is_not_in_flight(status):
    answered = LastSignal(signal_id=UUID(int=1), created_at=NOW, order_status=status)

    assert isinstance(decide(case(ledger=ledger(last_signal=answered))), Signal)


@pytest.mark.parametrize(
    ("facts", "amount"),
    [
        ({}, 200),
        ({"proposal": proposal(requested="2000")}, 950),
        ({"situation": situation(balance=Balance(available_quote=Decimal(100), received_at=NOW))}, 94.85),
        ({"ledger": ledger(reserved_quote=Decimal(9400))}, 85.77),
        (
            {
                "limits": limits(max_notional_per_hour=Decimal(500)),
                "ledger": ledger(hourly_notional=Decimal(450)),
            },
            50,
        ),
        ({"proposal": proposal("sell"), "situation": situation(live_size=Decimal("1.234"))}, 123.4),
        ({"proposal": proposal("sell"), "situation": situation(live_size=Decimal(1), balance=None)}, 100),
    ],
)
def test_an_amount_is_adapted_to_what_is_there(facts, amount):
    outcome = decide(case(**facts))

    assert isinstance(outcome, Signal)
    assert outcome.message.amount == amount


def test_an_unknown_instrument_has_the_configured_minimum():
    known = situation(instrument=None)

    assert isinstance(decide(case(situation=known, proposal=proposal(requested="10"))), Signal)
    assert decide(case(situation=known, proposal=proposal(requested="9.99"))) == Skip(
        Reason.BELOW_MINIMUM_ORDER, {"amount_quote": "9.99", "minimum": "10"}
    )


def test_a_signal_carries_the_figures_of_every_gate():
    outcome = decide(case())

    assert isinstance(outcome, Signal)
    assert list(outcome.message.metadata["gates"]) == [gate.__name__ for gate in entry_gates.ENTRY_GATES]
    assert outcome.message.is_warmup
    assert outcome.message.market_data_snapshot.spread == pytest.approx(0.04)


def test_a_signal_shows_what_every_gate_knew():
    answered = msgspec.structs.replace(LAST, order_status="filled")
    outcome = decide(
        case(
            limits=limits(max_notional_per_hour=Decimal(500), max_exposure_quote=Decimal(5000)),
            situation=situation(
                live_size=Decimal(2),
                booked_at=NOW - timedelta(seconds=3),
                newest_fill_at=NOW - timedelta(seconds=4),
            ),
            ledger=ledger(reserved_quote=Decimal(400), hourly_notional=Decimal(100), last_signal=answered),
        )
    )

    assert isinstance(outcome, Signal)
    assert outcome.message.metadata["gates"] == {
        "state": {"state": "ACTIVE"},
        "undecided": {"signal_id": str(outcome.message.signal_id)},
        "newest": {"newest_emitted": None},
        "warmup_slot": {},
        "open_order": {"orders": []},
        "closing": {},
        "in_flight": {"since_s": 3.0, "order_status": "filled"},
        "position": {
            "live_size": "2",
            "booked_at": "2026-03-01T11:59:57+00:00",
            "newest_fill_at": "2026-03-01T11:59:56+00:00",
        },
        "holdings": {"held_quote": "200.0", "reduces": False},
        "balance": {
            "of": "quote",
            "available_quote": "10000",
            "reserved_quote": "400",
            "affordable_quote": "9085.77",  # 10000 * 0.95 / 1.0015 - 400
            "age_s": 2.0,
            "amount_quote": "200",
        },
        "position_limit": {
            "held_quote": "200.0",
            "exposure_quote": "5000",
            "position_size_norm": 0.04,
            "limit": 0.8,
            "room_quote": "3800.00",  # 0.8 * 5000 - 200
            "amount_quote": "200",
        },
        "order_notional": {"limit_quote": "950", "amount_quote": "200"},
        "hourly_notional": {"limit_quote": "500", "left_quote": "400", "amount_quote": "200"},
        "minimum": {"amount_quote": "200", "minimum": "5"},
        "rate": {"tokens": 10},
        "expiry": {"left_s": 5.0},
    }


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"situation": situation(balance=None)}, {"of": "quote", "available_quote": None}),
        (
            {"situation": situation(other_exposure_quote=None)},
            {"held_quote": "0.0", "problem": "the other positions are not known"},
        ),
        ({"ledger": ledger(last_signal=LAST)}, {"since_s": 3.0, "order_status": None}),
    ],
)
def test_a_skip_shows_what_its_gate_knew(facts, shown):
    assert decide(case(**facts)).facts == shown


def test_the_version_that_proposed_is_on_its_signal():
    outcome = decide(case(proposal=msgspec.structs.replace(proposal(), version="v7")))

    assert isinstance(outcome, Signal)
    assert outcome.message.model_version == "v7"


def test_a_lot_that_costs_more_than_the_least_order_is_the_minimum():
    coarse = Instrument(min_order_value=Decimal(5), min_order_qty=Decimal("0.1"), lot_size=Decimal("0.2"))

    assert entry_gates.minimum_order(coarse, case()) == 20
    assert decide(case(situation=situation(instrument=coarse), proposal=proposal(requested="19.99"))) == Skip(
        Reason.BELOW_MINIMUM_ORDER, {"amount_quote": "19.99", "minimum": "20.00"}
    )


def test_a_balance_for_exactly_the_smallest_order_is_enough():
    exact = situation(balance=rich("5.28"))  # 5.28 * 0.95 / 1.0015 = 5.008, in cents 5.00

    outcome = decide(case(situation=exact))

    assert isinstance(outcome, Signal)
    assert outcome.message.amount == 5


def test_what_reduces_never_sells_more_than_is_held_by_rounding():
    held = situation(live_size=Decimal("1.23456789123"))

    outcome = decide(case(proposal=proposal("sell"), situation=held))

    assert isinstance(outcome, Signal)
    assert outcome.message.amount == 123.45678912


def test_a_signal_is_valid_for_its_seconds_but_never_past_the_vectors_age():
    fresh = decide(case())
    old = decide(case(vector=vector(age_s=58)))

    assert isinstance(fresh, Signal)
    assert isinstance(old, Signal)
    assert fresh.valid_until == NOW + timedelta(seconds=5)
    assert old.valid_until == NOW + timedelta(seconds=2)


MONEY = st.decimals(min_value=0, max_value=20_000, places=2)


@given(
    side=st.sampled_from(["buy", "sell"]),
    requested=st.decimals(min_value=1, max_value=5_000, places=2),
    available=MONEY,
    reserved=MONEY,
    spent=MONEY,
    live_size=st.decimals(min_value=-20, max_value=20, places=3),
)
def test_an_amount_never_exceeds_balance_position_cap_or_hour(
    side, requested, available, reserved, spent, live_size
):
    bounded = limits(max_notional_per_hour=Decimal(3_000))
    decided = case(
        proposal=proposal(side, str(requested)),
        situation=situation(live_size=live_size, balance=Balance(available_quote=available, received_at=NOW)),
        ledger=ledger(reserved_quote=reserved, hourly_notional=spent),
        limits=bounded,
    )

    outcome = decide(decided)

    if isinstance(outcome, Signal):
        amount = Decimal(repr(outcome.message.amount))
        assert amount <= min(requested, bounded.max_order_notional)
        assert amount >= 5
        if decided.adds_exposure:
            assert (amount + reserved) * Decimal("1.0015") <= available * Decimal("0.95") + Decimal("1e-9")
            assert amount + spent <= 3_000
        if side == "sell":
            assert amount <= live_size * 100


@given(st.permutations(sorted(vector().features)))
def test_the_order_of_features_changes_nothing(names):
    shuffled = vector()
    features = {name: shuffled.features[name] for name in names}
    shuffled.features.clear()
    shuffled.features.update(features)

    assert decide(case(vector=shuffled)) == decide(case())


@given(st.sampled_from(sorted(vector().features)), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_number_that_is_not_finite_denies(name, value):
    assert isinstance(screen(screening(vector(**{name: value}))), Skip)
