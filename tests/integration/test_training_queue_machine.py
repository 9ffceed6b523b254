"""The training queue against a list in memory, step by step, on a real database."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, text
from tests.integration.stepped_database import stepped
from tests.machines import repeatable

from common import training_runs
from common.core.training_queue import PRIORITIES
from common.errors import Conflict
from common.tables import training_runs as table
from common.training_runs import QueueRules, State
from trainer import runs

MAX_WAITING = 4
MAX_PARALLEL = 2
TRAINED = (State.SUCCEEDED, State.REJECTED, State.FAILED)
OVER = {*TRAINED, State.CANCELLED}
WAITING = {State.REQUESTED, State.BUILDING, State.READY}
PASSING = text(
    "UPDATE training_runs SET requested_at = requested_at - make_interval(secs => :seconds),"
    " lease_until = lease_until - make_interval(secs => :seconds),"
    " dataset_deadline = dataset_deadline - make_interval(secs => :seconds)"
)
strategies = st.sampled_from(["a", "b", "c"])
symbols = st.sampled_from(["BTCUSDT", "ETHUSDT"])
priorities = st.sampled_from(PRIORITIES)
workers = st.sampled_from(["trainer-1", "trainer-2"])


class Kept:
    """One run as the model sees it."""

    def __init__(self, run, minute):
        self.run_id = run.run_id
        self.strategy_id = run.strategy_id
        self.symbol = run.symbol
        self.requested_minute = minute
        self.priority = run.priority
        self.state = State.REQUESTED
        self.fence = 0
        self.attempts = 0
        self.owner = None
        self.is_leased = False
        self.fetches = True

    def turn(self, minute):
        rungs = PRIORITIES.index(self.priority) - (minute - self.requested_minute) // 30
        return max(0, rungs), self.requested_minute

    def occupies(self):
        return self.state == State.RUNNING or (self.state == State.CANCELLED and self.is_leased)

    def let_loose(self):
        self.owner, self.is_leased = None, False

    def ends(self, state):
        self.state = state
        self.let_loose()


class Queue(RuleBasedStateMachine):
    """Two trainers, operators, trainers that go silent and come back."""

    database = None

    def __init__(self):
        super().__init__()
        self.minute = 0
        self.kept = []
        self.held = []
        self.ask(lambda connection: connection.execute(delete(table)))

    @initialize(asked=st.lists(st.tuples(strategies, symbols, priorities), min_size=2, max_size=6))
    def some_are_asked_for_and_built(self, asked):
        for strategy_id, symbol, priority in asked:
            self.somebody_requests(strategy_id, symbol, priority, False)
            self.a_trainer_takes_what_is_next("trainer-1", "dataset")

    def ask(self, question):
        return self.database.ask(question)

    @rule(strategy_id=strategies, symbol=symbols, priority=priorities, makes_way=st.booleans())
    def somebody_requests(self, strategy_id, symbol, priority, makes_way):
        # Requests of one minute would be ordered by the database's microseconds alone.
        self.passes(60)
        asked = {"strategy_id": strategy_id, "symbol": symbol, "priority": priority}
        wanted = QueueRules(max_size=MAX_WAITING, force_cancel_on_critical=makes_way)
        beside = [one for one in self.kept if (one.strategy_id, one.symbol) == (strategy_id, symbol)]
        cancelled = [
            one
            for one in self.kept
            if makes_way
            and priority == "CRITICAL"
            and (one.strategy_id, one.state) == (strategy_id, State.RUNNING)
            and one.priority != "CRITICAL"
        ]
        same = next((one for one in beside if one.state not in OVER and one not in cancelled), None)
        waiting = sum(one.state in WAITING for one in self.kept)

        try:
            run = self.ask(
                lambda connection: training_runs.request(
                    connection, **asked, trigger="manual", trace_id="t", rules=wanted
                )
            )
        except Conflict:
            more_urgent = same and PRIORITIES.index(priority) < PRIORITIES.index(same.priority)
            assert waiting >= MAX_WAITING if same is None else not more_urgent or same.state not in WAITING
            return
        for one in cancelled:
            one.state, one.fence = State.CANCELLED, one.fence + 1
        if same is None:
            assert waiting < MAX_WAITING
            self.kept.append(Kept(run, self.minute))
        else:
            assert (run.run_id, run.priority) == (same.run_id, priority)
            assert PRIORITIES.index(priority) < PRIORITIES.index(same.priority)
            same.priority = priority

    @rule(owner=workers, whats_next=st.sampled_from(["request", "dataset", "training", "training"]))
    def a_trainer_takes_what_is_next(self, owner, whats_next):
        if whats_next == "training":
            self.takes_a_training(owner)
        elif self.takes_a_request(owner) and whats_next == "dataset":
            self.begins(*self.held[-1])
            self.told_twice(self.held[-1][1])

    def takes_a_request(self, owner):
        taken = self.ask(
            lambda connection: runs.take_requested(
                connection, owner=owner, lease_s=30, build_timeout_s=1e6, max_parallel=MAX_PARALLEL
            )
        )

        rivals = [one for one in self.free(State.READY) if self.may_run(one)]
        first = self.first(self.free(State.REQUESTED) + rivals)
        under_way = any(self.builds(one) or self.fetches(one) for one in self.kept)
        expected = None if under_way or first in rivals else first
        return self.was_taken(taken, expected, owner)

    def takes_a_training(self, owner):
        taken = self.ask(
            lambda connection: runs.take_ready(connection, owner=owner, max_parallel=MAX_PARALLEL)
        )

        expected = self.first([one for one in self.free(State.READY) if self.may_run(one)])
        if any(self.builds(one) for one in self.kept):
            expected = None
        if self.was_taken(taken, expected, owner):
            expected.state, expected.attempts, expected.fetches = State.RUNNING, expected.attempts + 1, True

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        step=st.sampled_from(["begins", "fetches", "fits", "lets go", *TRAINED]),
    )
    def a_trainer_goes_on(self, data, step):
        run, one = data.draw(st.sampled_from(self.held[-3:]))
        if step in TRAINED:
            self.finishes(run, one, step)
        elif step == "lets go":
            self.lets_go(run, one)
        elif step == "begins":
            if run.state == State.REQUESTED:
                self.begins(run, one)
        else:
            self.beats(run, one, stage=runs.FETCHING if step == "fetches" else "fit")

    def begins(self, run, one):
        ours = self.ask(
            lambda connection: runs.begin_building(
                connection, run, dataset_id=run.run_id, figures={}, pause_s=0
            )
        )

        assert ours == self.is_still_of(run, one)
        if ours:
            one.ends(State.BUILDING)

    @precondition(lambda self: any(one.state == State.BUILDING for one in self.kept))
    @rule(data=st.data())
    def a_dataset_is_there(self, data):
        self.told_twice(data.draw(st.sampled_from([one for one in self.kept if one.state == State.BUILDING])))

    def told_twice(self, one):

        first, again = (
            self.ask(lambda connection: runs.mark_ready(connection, one.run_id, {"train": 1}))
            for _ in range(2)
        )

        assert (first, again) == (True, False)
        one.ends(State.READY)
        one.fence += 1

    def beats(self, run, one, stage):
        ours = self.ask(lambda connection: runs.hold(connection, run, {"stage": stage}))

        assert ours == self.is_still_of(run, one)
        if ours:
            one.is_leased, one.fetches = True, stage == runs.FETCHING

    def finishes(self, run, one, end):
        ours = self.ask(lambda connection: runs.finish(connection, run, end))

        assert ours == self.is_still_of(run, one)
        if ours:
            one.ends(end)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def an_operator_cancels(self, data):
        one = data.draw(st.sampled_from(self.kept))
        if one.state in OVER:
            with pytest.raises(Conflict):
                self.cancelled(one)
            return
        self.cancelled(one)

        if one.state != State.RUNNING:
            one.let_loose()
        one.state, one.fence = State.CANCELLED, one.fence + 1

    def lets_go(self, run, one):
        self.ask(lambda connection: runs.let_go(connection, run))

        if one.state == State.CANCELLED and one.fence == run.fence + 1:
            one.let_loose()

    @rule(minutes=st.sampled_from([0, 1, 10, 30]), are_looked_for=st.booleans())
    def time_passes(self, minutes, are_looked_for):
        if minutes:
            self.passes(60 * minutes)
        if are_looked_for:
            self.silent_trainers_are_found()

    def silent_trainers_are_found(self):
        found = self.ask(runs.recover)

        silent = [one for one in self.kept if one.state == State.RUNNING and not one.is_leased]
        assert {run.run_id for run in found} == {one.run_id for one in silent}
        for one in silent:
            one.ends(State.READY if one.attempts < runs.MAX_ATTEMPTS else State.FAILED)
            one.fence += 1

    @invariant()
    def the_database_says_what_the_model_says(self):
        stored = {run.run_id: run for run in self.ask(lambda one: training_runs.recent(one, limit=1000))}

        assert {one.run_id: (one.state, one.priority, one.owner, one.attempts) for one in self.kept} == {
            run_id: (run.state, run.priority, run.owner, run.attempts) for run_id, run in stored.items()
        }

    @invariant()
    def what_holds_for_all_trainers_together_holds(self):
        running = [one.strategy_id for one in self.kept if one.occupies()]
        alive = [(one.strategy_id, one.symbol) for one in self.kept if one.state not in OVER]
        building = [one for one in self.kept if self.builds(one)]

        assert len(running) <= MAX_PARALLEL
        assert len(set(running)) == len(running)
        assert len(set(alive)) == len(alive)
        assert len(building) <= 1

    def passes(self, seconds):
        self.minute += seconds // 60
        self.ask(lambda connection: connection.execute(PASSING, {"seconds": seconds}))
        for one in self.kept:
            one.is_leased = False

    def cancelled(self, one):
        self.ask(
            lambda connection: training_runs.cancel(connection, one.run_id, actor="ann", reason="because")
        )

    def was_taken(self, taken, expected, owner):
        assert (taken and taken.run_id) == (expected and expected.run_id)
        if expected:
            expected.owner, expected.is_leased, expected.fence = owner, True, expected.fence + 1
            self.held.append((taken, expected))
        return expected is not None

    def free(self, state):
        return [one for one in self.kept if one.state == state and not one.is_leased]

    def first(self, candidates):
        return min(candidates, key=lambda one: one.turn(self.minute), default=None)

    def may_run(self, wanted):
        occupied = [one.strategy_id for one in self.kept if one.occupies()]
        return len(occupied) < MAX_PARALLEL and wanted.strategy_id not in occupied

    def builds(self, one):
        asked_for = one.state == State.REQUESTED and one.owner is not None and one.is_leased
        return one.state == State.BUILDING or asked_for

    def fetches(self, one):
        return one.state == State.RUNNING and one.is_leased and one.fetches

    def is_still_of(self, run, one):
        return one.fence == run.fence and one.state not in OVER


def test_every_order_of_requests_takings_and_losses_ends_as_in_the_model(database_url):
    with stepped(database_url) as database:
        machine = type("Stepped", (Queue,), {"database": database})
        run_state_machine_as_test(machine, settings=repeatable(30, steps=35))
