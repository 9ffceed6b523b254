"""Activations against an undo stack in memory, step by step, on a real database."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete
from tests.integration.stepped_database import stepped
from tests.machines import repeatable

from common import model_registry as registry
from common.errors import Conflict, NotFound
from common.model_registry import Moved, NewVersion
from common.tables import activations, model_versions

STRATEGIES = ("a", "b")
BY = {"actor": "ann", "reason": "because"}
TRAINED = {"model_type": "xgboost", "sha256": "ab" * 32, "trained_at": datetime(2026, 3, 1, tzinfo=UTC)}
TRAINED |= {"training_duration_seconds": 12, "training_dataset_size": 36_000, "training_config": {}}
TRAINED |= {"verdict": "accepted", "verdict_sentence": "accepted", "evidence": {}}
strategies = st.sampled_from(STRATEGIES)


class Desk:
    """What the model knows of one strategy: the way it came, and whether it stands at the way's end."""

    def __init__(self):
        self.versions = []
        self.history = []
        self.way = []
        self.active = None

    def activates(self, version):
        if version in self.way:
            del self.way[self.way.index(version) + 1 :]
        else:
            self.way.append(version)
        self.active = version
        self.history.append(version)

    def deactivates(self):
        self.active = None
        self.history.append(None)

    def back(self):
        earlier = self.way[:-1] if self.active else self.way
        return earlier[-1] if earlier else None


class Activations(RuleBasedStateMachine):
    """Operators and trainers of two strategies, with what they last saw, at the same time or in turn."""

    database = None

    def __init__(self):
        super().__init__()
        self.desks = {name: Desk() for name in STRATEGIES}
        for table in (activations, model_versions):
            self.ask(lambda connection, table=table: connection.execute(delete(table)))

    def ask(self, question):
        return self.database.ask(question)

    @rule(strategy_id=strategies)
    def a_version_is_registered(self, strategy_id):
        self.desks[strategy_id].versions.append(self.ask(lambda one: added(one, strategy_id)))

    @precondition(lambda self: any(desk.versions for desk in self.desks.values()))
    @rule(data=st.data(), behind=st.sampled_from([None, None, 0, 0, 1, -1]))
    def one_is_activated(self, data, behind):
        strategy_id, version = self.some_version(data)
        desk = self.desks[strategy_id]
        expected = None if behind is None else len(desk.history) - behind

        if behind:
            with pytest.raises(Moved):
                self.ask(lambda one: activate(one, version, strategy_id, expected_epoch=expected))
            return
        active = self.ask(lambda one: activate(one, version, strategy_id, expected_epoch=expected))

        desk.activates(version)
        assert (active.version, active.epoch) == (version, len(desk.history))

    @precondition(lambda self: any(desk.versions for desk in self.desks.values()))
    @rule(data=st.data())
    def one_of_another_strategy_or_of_nobody_is_refused(self, data):
        strategy_id, version = self.some_version(data)
        other = next(name for name in STRATEGIES if name != strategy_id)

        with pytest.raises(Conflict):
            self.ask(lambda one: activate(one, version, other))
        with pytest.raises(NotFound):
            self.ask(lambda one: activate(one, "v0", strategy_id))

    @rule(strategy_id=strategies)
    def all_are_deactivated(self, strategy_id):
        desk = self.desks[strategy_id]
        if desk.active is None:
            with pytest.raises(Conflict):
                self.ask(lambda one: registry.deactivate(one, strategy_id, **BY))
            return

        self.ask(lambda one: registry.deactivate(one, strategy_id, **BY))

        desk.deactivates()

    @rule(strategy_id=strategies, is_late=st.booleans())
    def somebody_rolls_back(self, strategy_id, is_late):
        desk = self.desks[strategy_id]
        target = desk.back()
        if target is None or is_late:
            seen = len(desk.history) - 1 if is_late else None
            with pytest.raises(Conflict):
                self.ask(lambda one: registry.rollback(one, strategy_id, **BY, expected_epoch=seen))
            return

        active = self.ask(lambda one: registry.rollback(one, strategy_id, **BY))

        desk.activates(target)
        assert active.version == target

    @precondition(lambda self: any(desk.versions for desk in self.desks.values()))
    @rule(data=st.data())
    def somebody_rolls_back_to_one_by_name(self, data):
        strategy_id, version = self.some_version(data)

        self.ask(lambda one: registry.rollback(one, strategy_id, **BY, to=version))

        self.desks[strategy_id].activates(version)

    @precondition(lambda self: any(desk.versions for desk in self.desks.values()))
    @rule(data=st.data())
    def a_process_dies_before_its_commit(self, data):
        strategy_id, version = self.some_version(data)

        async def dies(connection):
            await activate(connection, version, strategy_id)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            self.ask(dies)

    @precondition(lambda self: any(desk.versions for desk in self.desks.values()))
    @rule(data=st.data(), first_dies=st.booleans())
    def two_activate_at_once(self, data, first_dies):
        strategy_id, version = self.some_version(data)
        second = data.draw(st.sampled_from(self.desks[strategy_id].versions))

        outcome = self.database.run(self.raced(strategy_id, version, second, first_dies=first_dies))

        assert isinstance(outcome, Exception) != first_dies
        self.desks[strategy_id].activates(second if first_dies else version)

    async def raced(self, strategy_id, version, second, *, first_dies):
        """How it ended for the second of two, who began before the first one's end."""
        async with self.database.engine.connect() as ahead, self.database.engine.begin() as behind:
            await activate(ahead, version, strategy_id)
            waits = asyncio.create_task(activate(behind, second, strategy_id))
            await asyncio.wait([waits], timeout=0.02)
            assert not waits.done(), "who comes second waits for the first"
            await (ahead.rollback() if first_dies else ahead.commit())
            try:
                return await waits
            except Moved as moved:
                return moved

    @invariant()
    def the_newest_epoch_is_the_truth_and_the_versions_mirror_it(self):
        for strategy_id, desk in self.desks.items():
            entries = self.ask(lambda one, name=strategy_id: registry.activations(one, name, limit=None))
            active = self.ask(lambda one, name=strategy_id: registry.active_for(one, name))
            mirrored, _ = self.ask(
                lambda one, name=strategy_id: registry.versions(one, strategy_id=name, is_active=True)
            )

            assert [entry.version for entry in reversed(entries)] == desk.history
            assert [entry.epoch for entry in reversed(entries)] == list(range(1, len(desk.history) + 1))
            assert (active and active.version) == desk.active
            assert [one.version for one in mirrored] == ([desk.active] if desk.active else [])

    def some_version(self, data):
        registered = [(name, each) for name, desk in self.desks.items() for each in desk.versions]
        return data.draw(st.sampled_from(registered))


async def activate(connection, version, strategy_id, **wanted):
    return await registry.activate(connection, version, strategy_id=strategy_id, **BY, **wanted)


async def added(connection, strategy_id):
    version = await registry.next_version(connection)
    new = NewVersion(version=version, strategy_id=strategy_id, run_id=uuid4(), **TRAINED)
    return (await registry.add(connection, new, [])).version


def test_every_order_of_activations_ends_as_in_the_model(database_url):
    with stepped(database_url) as database:
        machine = type("Stepped", (Activations,), {"database": database})
        run_state_machine_as_test(machine, settings=repeatable(15, steps=30))
