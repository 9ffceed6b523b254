"""Exits under way in few words, and what a latched position sends beside them."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
from tests.unit.exit_strategy.book import START, long, rules, tp

from common.core.exits.dispatch import Answer, Flight, Instrument, Limits, Traffic, dispatch
from common.core.exits.rules import Rules

LIMITS = Limits(
    reissue=timedelta(seconds=15), entry_gap=timedelta(milliseconds=200), max_order_notional=Decimal(950)
)
LOTS = Instrument(lot_size=Decimal("0.001"), min_order_qty=Decimal("0.001"), min_order_value=Decimal(5))
EXIT_ID = UUID(int=9)
HALVES = rules(tp((3, 50), (5, 100)))


def latched(position=None, rule="stop_loss", **changes):
    changes = {"latched_rule": rule, "latched_at": START, "last_price": Decimal(98), **changes}
    return msgspec.structs.replace(position or long(), **changes)


def in_flight(**changes):
    return latched(exit_signal_id=EXIT_ID, generation=1, **changes)


def flight(answer=Answer.NONE, **changes):
    sent = Flight(
        signal_id=EXIT_ID,
        rule="stop_loss",
        stage=0,
        live_size=Decimal(1),
        size_to_close=Decimal(1),
        issued_at=START,
        answer=answer,
    )
    return Traffic(newest_exit=msgspec.structs.replace(sent, **changes))


def of_stage_one(answer, filled):
    """Half of the position was to be closed, and so much of it was."""
    return flight(
        answer,
        rule="take_profit",
        stage=1,
        size_to_close=Decimal("0.5"),
        filled_size=Decimal(filled),
        answered_at=START,
    )


def sends(position, traffic=None, after_s=0.0, of=None):
    return dispatch(
        position,
        of or Rules(),
        traffic or Traffic(),
        instrument=LOTS,
        limits=LIMITS,
        now=START + timedelta(seconds=after_s),
    )


PACED = msgspec.structs.replace(
    LIMITS, cooldown=timedelta(seconds=60), rate_limit=2, rate_window=timedelta(seconds=60)
)
JUST = START - timedelta(seconds=5)


def paced(position, traffic=None, after_s=0.0, of=HALVES):
    return dispatch(
        position,
        of,
        traffic or Traffic(),
        instrument=LOTS,
        limits=PACED,
        now=START + timedelta(seconds=after_s),
    )
