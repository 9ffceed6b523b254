"""The plan of a chaos run: repeatable, complete, and never two faults of one target at once."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import faults
from sandbox.fault_plan import Kind, Pace, Planner

KINDS = (
    Kind(name="killed", targets=("a", "b"), recovers_s=2.0),
    Kind(name="frozen", targets=("a", "b"), holds_s=(1.0, 4.0), recovers_s=1.0),
    Kind(name="broker", targets=("c",), holds_s=(0.5, 1.0), recovers_s=5.0),
)
PACE = Pace(phase_s=20.0, pauses_s=(0.5, 2.0))
PROCESSES = (
    "sandbox-feature_service",
    "sandbox-order_manager",
    "api",
    "inference",
    "inference-2",
    "trainer",
    "exit_strategy",
)


def plan(seed, phases=3, kinds=KINDS, pace=PACE):
    planner = Planner(Random(seed), kinds, pace)
    return [planner.phase() for _ in range(phases)]


def test_the_same_seed_plans_the_same_faults_and_another_one_does_not():
    assert plan(3) == plan(3)
    assert plan(3) != plan(4)


@given(st.integers(min_value=0, max_value=2**32))
def test_a_target_is_struck_again_only_after_it_had_time_to_recover(seed):
    recovers_s = {kind.name: kind.recovers_s for kind in KINDS}
    for phase in plan(seed):
        free_at_s = {}
        for strike in phase:
            assert strike.at_s >= free_at_s.get(strike.target, 0.0)
            free_at_s[strike.target] = strike.at_s + strike.hold_s + recovers_s[strike.kind]


@given(st.integers(min_value=0, max_value=2**32))
def test_every_fault_is_healed_before_its_phase_ends(seed):
    for strike in (strike for phase in plan(seed) for strike in phase):
        assert strike.at_s > 0
        assert strike.at_s + strike.hold_s <= PACE.phase_s


@given(st.integers(min_value=0, max_value=2**32))
def test_no_kind_comes_far_more_often_than_another(seed):
    times = Counter(strike.kind for phase in plan(seed, phases=6) for strike in phase)
    assert set(times) == {kind.name for kind in KINDS}
    assert max(times.values()) - min(times.values()) <= len(KINDS)


def test_a_fault_that_does_not_fit_into_the_phase_is_not_tried():
    long = Kind(name="long", targets=("a",), holds_s=(30.0, 30.0))
    short = Kind(name="short", targets=("a",))

    assert {strike.kind for phase in plan(1, kinds=(long, short)) for strike in phase} == {"short"}


@pytest.mark.parametrize("service", ["api", "inference", "trainer", "exit_strategy"])
@pytest.mark.parametrize("fault", ["process_killed", "process_terminated", "process_frozen"])
def test_each_kind_of_service_is_killed_ended_and_frozen(fault, service):
    [kind] = [
        each
        for each in faults.kinds(PROCESSES, ("m",), longest_freeze_s=20)
        if each.name == f"{fault} {service}"
    ]

    assert kind.targets == tuple(name for name in PROCESSES if name.split("-")[0] == service)


def test_every_kind_is_known_to_the_catalogue_and_has_something_to_strike():
    catalogue = faults.kinds(PROCESSES, ("momentum",), longest_freeze_s=20)

    assert {faults.fault_of(kind.name) for kind in catalogue} == set(faults.FAULTS.values())
    assert all(kind.targets for kind in catalogue)
    assert len({kind.name for kind in catalogue}) == len(catalogue)
