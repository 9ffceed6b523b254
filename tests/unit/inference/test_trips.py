"""Automatic trips: what evidence halts the fleet or reduces a strategy."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.trading_state import TradingState
from inference.core.trips import (
    Emitted,
    Repeated,
    continued,
    duplicate_order,
    duplicate_signal,
    frozen_output,
    ids_of,
    too_many_signals,
)
from inference.settings import Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VALUES = st.lists(st.floats(), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("entries", "trips"),
    [(0, False), (119, False), (120, False), (121, True), (10_000, True)],
)
def test_more_entries_than_the_limit_halt_the_fleet(entries, trips):
    found = too_many_signals(Emitted(entries=entries, newest_at=NOW if entries else None), 120)

    assert (found is not None) == trips
    if found:
        assert (found.scope, found.state, found.evidence_at) == ("fleet", TradingState.HALTED, NOW)
        assert found.figures == {"entries": entries, "limit_per_minute": 120}


@pytest.mark.parametrize("judge", [duplicate_signal, duplicate_order])
def test_one_repetition_halts_the_fleet_and_names_what_and_which(judge):
    cases = [
        Repeated(what={"signal_id": "s1"}, ids=("a", "b"), newest_at=NOW),
        Repeated(what={"signal_id": "s2"}, ids=("c", "d", "e"), newest_at=NOW + timedelta(seconds=1)),
    ]

    found = judge(cases)

    assert judge([]) is None
    assert (found.scope, found.state) == ("fleet", TradingState.HALTED)
    assert found.figures == {"signal_id": "s1", "ids": ["a", "b"], "cases": 2}
    assert "s1" in found.sentence
    assert found.evidence_at == NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("judge", "kind", "sentence"),
    [
        (
            duplicate_signal,
            "duplicate_signal",
            "2 entries of one strategy for one vector: strategy momentum, symbol BTCUSDT",
        ),
        (
            duplicate_order,
            "duplicate_order",
            "2 orders for one signal: strategy momentum, symbol BTCUSDT",
        ),
    ],
)
def test_a_repetition_is_told_in_one_sentence_under_its_own_kind(judge, kind, sentence):
    what = {"strategy": "momentum", "symbol": "BTCUSDT"}

    found = judge([Repeated(what=what, ids=("a", "b"), newest_at=NOW)])

    assert (found.kind, found.sentence) == (kind, sentence)


def test_ids_of_both_kinds_stand_in_one_order_as_text():
    first, second = UUID(int=1), UUID(int=2)

    assert ids_of([second, first, "x"]) == (str(first), str(second), "x")


def run_of(*predictions):
    run = None
    for second, (row, output) in enumerate(predictions):
        run = continued(run, row, output, NOW + timedelta(seconds=second))
    return run


@pytest.mark.parametrize(
    ("predictions", "length"),
    [
        ([((1.0,), (0.5,))], 1),
        ([((1.0,), (0.5,)), ((2.0,), (0.5,))], 2),
        ([((1.0,), (0.5,)), ((1.0,), (0.5,))], 1),  # the same row has to give the same answer
        ([((1.0,), (0.5,)), ((2.0,), (0.5000001,))], 1),
        ([((1.0,), (0.5,)), ((2.0,), (0.5,)), ((3.0,), (0.6,)), ((4.0,), (0.6,))], 2),
        ([((float("nan"),), (0.5,)), ((float("nan"),), (0.5,))], 1),  # missing in both: the same row
        ([((1.0,), (float("nan"),)), ((2.0,), (float("nan"),))], 2),  # an answer that is never a number
        ([((0.0,), (0.5,)), ((-0.0,), (0.5,))], 2),
    ],
)
def test_a_run_counts_different_rows_with_one_answer(predictions, length):
    assert run_of(*predictions).predictions == length


def test_a_run_begins_with_its_first_prediction():
    run = run_of(((1.0,), (0.4,)), ((2.0,), (0.5,)), ((3.0,), (0.5,)))

    assert run.began_at == NOW + timedelta(seconds=1)


@pytest.mark.parametrize(("limit", "trips"), [(3, True), (4, False), (0, False)])
def test_a_frozen_output_reduces_its_strategy_alone(limit, trips):
    run = run_of(*(((float(n),), (0.25, 0.75)) for n in range(3)))

    found = frozen_output("momentum", run, limit)

    assert (found is not None) == trips
    if found:
        assert (found.scope, found.state) == ("strategy:momentum", TradingState.REDUCING)
        assert found.figures["output"] == [0.25, 0.75]
        assert found.evidence_at == NOW


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30))
def test_a_run_is_never_longer_than_its_predictions_and_one_after_a_change(predictions):
    run = run_of(*predictions)

    assert 1 <= run.predictions <= len(predictions)
    changed = continued(run, (1.0,), (*predictions[-1][1], 0.5), NOW)
    assert changed.predictions == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"signals_per_minute_trip": 69}, "SIGNALS_PER_MINUTE_TRIP must reach SIGNAL_GENERATION_RATE_LIMIT"),
        ({"signals_per_minute_trip": 0}, "signals_per_minute_trip"),
        ({"warmup_max_hours": -1}, "warmup_max_hours"),
        ({"signal_outbox_keep_days": 0}, "signal_outbox_keep_days"),
        ({"model_output_frozen_predictions": -1}, "model_output_frozen_predictions"),
    ],
)
def test_settings_that_would_trip_or_delete_at_once_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Settings(**settings)


def test_a_warm_up_that_is_off_has_no_limit():
    assert Settings(warmup_max_hours=5).warm_up_limit_hours() == 5
    assert Settings(warmup_max_hours=5, warmup_mode_enabled=False).warm_up_limit_hours() == 0
