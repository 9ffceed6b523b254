"""The queue on a real database: bounded, in order, one at a time where it must be, nothing lost."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import func, insert, select, update
from tests.integration.building_feature_service import serving
from tests.integration.trainers import Trainer, queue_settings

from common import alerts, tables, training_runs
from common.background import every
from common.core.training_queue import turn
from common.database import create_engine
from common.errors import Conflict
from common.training_runs import QueueFull, QueueRules, State
from sandbox.platform_schema import create_platform_tables
from trainer import queue_watch, runs
from trainer.core.dataset import Rejection
from trainer.job import Result
from trainer.queue_watch import QueueWatch
from trainer.schedules import Schedules
from trainer.settings import Settings

STRATEGIES = ("a", "b", "c", "d", "e")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
ROWS = tables.training_runs


@pytest.fixture
async def platform():
    async with serving() as service:
        service.splits = dict.fromkeys(("train", "validation", "test"), b"rows")
        yield service


@pytest.fixture
def settings(database_url, amqp_url, platform, tmp_path):
    return queue_settings(
        database_url,
        amqp_url,
        platform,
        tmp_path,
        trading_strategies=STRATEGIES,
        trading_symbols=SYMBOLS,
        training_queue_max_size=20,
    )


@pytest.fixture
async def engine(settings):
    made = create_engine(settings, application="test")
    yield made
    await made.dispose()


async def request(engine, strategy_id="a", symbol="BTCUSDT", *, priority="NORMAL", **rules):
    async with engine.begin() as connection:
        return await training_runs.request(
            connection,
            strategy_id=strategy_id,
            symbol=symbol,
            trigger="manual",
            priority=priority,
            trace_id="t",
            rules=QueueRules(**rules),
        )


async def put(engine, run, **values):
    async with engine.begin() as connection:
        await connection.execute(update(ROWS).where(ROWS.c.run_id == run.run_id).values(**values))


async def take_ready(engine, *, max_parallel=3, owner="trainer-1"):
    async with engine.begin() as connection:
        return await runs.take_ready(connection, owner=owner, max_parallel=max_parallel)


async def take_requested(engine, *, owner="trainer-1", max_parallel=3):
    async with engine.begin() as connection:
        return await runs.take_requested(
            connection, owner=owner, lease_s=15, build_timeout_s=60, max_parallel=max_parallel
        )


async def find(engine, run):
    async with engine.connect() as connection:
        return await training_runs.find(connection, run.run_id)


async def at_once(number, attempt):
    together = asyncio.Barrier(number)

    async def one(index):
        await together.wait()
        return await attempt(index)

    return await asyncio.gather(*(one(index) for index in range(number)), return_exceptions=True)


# Order and bounds


async def test_the_database_orders_runs_as_the_rule_does(engine):
    chance = random.Random(7)
    async with engine.begin() as connection:
        now = await connection.scalar(select(func.now()))
        rows = [
            {
                "run_id": uuid4(),
                "strategy_id": f"s{number}",
                "symbol": "BTCUSDT",
                "trigger": "manual",
                "priority": chance.choice(["CRITICAL", "HIGH", "NORMAL"]),
                "state": "ready",
                "trace_id": "t",
                "requested_at": now - timedelta(seconds=chance.randint(-10, 3 * 3600)),
            }
            for number in range(300)
        ]
        await connection.execute(insert(ROWS), rows)
        ordered = list(await connection.scalars(select(ROWS.c.run_id).order_by(*training_runs.turn())))

    by_id = {row["run_id"]: row for row in rows}
    turns = [turn(by_id[run_id]["priority"], by_id[run_id]["requested_at"], now) for run_id in ordered]
    assert turns == sorted(turns)


async def test_a_full_queue_stays_full_however_many_ask_at_once(engine):
    outcomes = await at_once(8, lambda number: request(engine, f"s{number}", max_size=3))

    refused = [outcome for outcome in outcomes if isinstance(outcome, QueueFull)]
    assert len(refused) == 5
    assert str(refused[0]) == "the queue is full: 3 trainings wait, TRAINING_QUEUE_MAX_SIZE is 3"
    async with engine.connect() as connection:
        assert len(await training_runs.unfinished(connection)) == 3


async def test_a_running_training_takes_no_room_in_the_queue(engine):
    running = await request(engine, "a", max_size=1)
    await put(engine, running, state="running")

    waiting = await request(engine, "b", max_size=1)

    assert waiting.state is State.REQUESTED


async def test_of_the_same_requests_at_once_one_is_taken(engine):
    outcomes = await at_once(6, lambda _: request(engine))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 5 + ["Run"]


async def test_a_refused_request_cancels_nothing(engine):
    running = await request(engine, "a", "BTCUSDT")
    await put(engine, running, state="running")
    await request(engine, "b")

    with pytest.raises(QueueFull):
        await request(engine, "a", "ETHUSDT", priority="CRITICAL", max_size=1, force_cancel_on_critical=True)

    assert (await find(engine, running)).state is State.RUNNING


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
async def test_a_critical_request_cancels_the_strategys_less_urgent_training_where_that_is_wanted(
    engine, symbol
):
    running, other = await request(engine, "a"), await request(engine, "b")
    for run in (running, other):
        await put(engine, run, state="running")

    critical = await request(engine, "a", symbol, priority="CRITICAL", force_cancel_on_critical=True)

    ended = await find(engine, running)
    assert critical.state is State.REQUESTED
    assert (ended.state, ended.cancel_actor) == (State.CANCELLED, "trainer")
    assert "TRAINING_FORCE_CANCEL_ON_CRITICAL" in ended.reason
    assert (await find(engine, other)).state is State.RUNNING


async def test_a_critical_training_is_not_cancelled_by_another(engine):
    running = await request(engine, "a", priority="CRITICAL")
    await put(engine, running, state="running")

    with pytest.raises(Conflict):
        await request(engine, "a", priority="CRITICAL", force_cancel_on_critical=True)


# Several trainers


async def test_no_more_fits_run_over_all_trainers_than_allowed(engine):
    for name in STRATEGIES:
        await put(engine, await request(engine, name), state="ready")

    taken = await at_once(5, lambda number: take_ready(engine, owner=f"trainer-{number}"))

    assert [run.state for run in taken if run] == [State.RUNNING] * 3


async def test_a_strategy_has_one_fit_at_a_time(engine):
    for symbol in SYMBOLS:
        await put(engine, await request(engine, "a", symbol), state="ready")

    taken = await at_once(4, lambda number: take_ready(engine, owner=f"trainer-{number}"))

    assert len([run for run in taken if run]) == 1


async def test_a_cancelled_fit_keeps_its_place_until_its_trainer_let_go_of_it(engine):
    for symbol in SYMBOLS[:2]:
        await put(engine, await request(engine, "a", symbol), state="ready")
    running = await take_ready(engine)
    async with engine.begin() as connection:
        await training_runs.cancel(connection, running.run_id, actor="ada", reason="enough")

    meanwhile = await take_ready(engine)
    async with engine.begin() as connection:
        await runs.let_go(connection, running)

    assert meanwhile is None
    assert (await take_ready(engine)).symbol == "ETHUSDT"


async def test_a_cancelled_fit_of_a_dead_trainer_keeps_its_place_for_a_lease_only(engine):
    for symbol in SYMBOLS[:2]:
        await put(engine, await request(engine, "a", symbol), state="ready")
    running = await take_ready(engine)
    async with engine.begin() as connection:
        await training_runs.cancel(connection, running.run_id, actor="ada", reason="enough")

    await put(engine, running, lease_until=func.now() - timedelta(seconds=1))

    assert (await take_ready(engine)).symbol == "ETHUSDT"


async def test_one_dataset_is_asked_for_at_a_time_over_all_trainers(engine):
    for name in STRATEGIES:
        await request(engine, name)

    taken = await at_once(5, lambda number: take_requested(engine, owner=f"trainer-{number}"))
    (asking,) = [run for run in taken if run]
    while_asking = await take_requested(engine)
    async with engine.begin() as connection:
        await runs.begin_building(connection, asking, dataset_id=uuid4(), figures={}, pause_s=0)
    while_building = await take_requested(engine)
    await put(engine, asking, state="rejected")

    assert while_asking is while_building is None
    assert (await take_requested(engine)).run_id != asking.run_id


async def test_no_dataset_is_fetched_while_another_is_built(engine):
    ready, other = await request(engine, "a"), await request(engine, "b")
    await put(engine, other, priority="CRITICAL")
    await put(engine, ready, state="ready")

    asking = await take_requested(engine)
    while_asking = await take_ready(engine)
    async with engine.begin() as connection:
        await runs.begin_building(connection, asking, dataset_id=uuid4(), figures={}, pause_s=0)
    while_building = await take_ready(engine)
    await put(engine, other, state="cancelled")

    assert asking.run_id == other.run_id
    assert while_asking is while_building is None
    assert (await take_ready(engine)).run_id == ready.run_id


async def test_no_build_begins_while_a_dataset_is_fetched(engine):
    await put(engine, await request(engine, "a"), state="ready")
    await request(engine, "b")
    running = await take_ready(engine)

    from_the_start = await take_requested(engine)
    async with engine.begin() as connection:
        await runs.hold(connection, running, {"stage": runs.FETCHING})
    while_fetching = await take_requested(engine)
    async with engine.begin() as connection:
        await runs.hold(connection, running, {"stage": "read"})

    assert from_the_start is while_fetching is None
    assert (await take_requested(engine)).strategy_id == "b"


async def test_a_silent_trainer_holds_up_no_build(engine):
    await put(engine, await request(engine, "a"), state="ready")
    await request(engine, "b")
    running = await take_ready(engine)
    await put(engine, running, lease_until=func.now() - timedelta(seconds=1))

    assert (await take_requested(engine)).strategy_id == "b"


@pytest.mark.parametrize(
    ("waiting", "max_parallel", "built"),
    [
        ({}, 3, None),  # its dataset is fetched first
        ({"priority": "HIGH"}, 3, "b"),
        ({}, 0, "b"),  # no room for a fit: nobody fetches anything
    ],
)
async def test_a_build_waits_for_a_fit_whose_turn_it_is(engine, waiting, max_parallel, built):
    await put(engine, await request(engine, "a"), state="ready")
    await put(engine, await request(engine, "b"), state="requested", **waiting)

    taken = await take_requested(engine, max_parallel=max_parallel)

    assert (taken and taken.strategy_id) == built


async def test_a_build_does_not_wait_for_a_fit_that_waits_for_another_of_its_strategy(engine):
    running = await request(engine, "a", "BTCUSDT")
    await put(engine, running, state="ready")
    await take_ready(engine)
    await put(engine, running, progress={"stage": "fit"})
    await put(engine, await request(engine, "a", "ETHUSDT"), state="ready")
    await request(engine, "b")

    assert (await take_requested(engine)).strategy_id == "b"


async def test_a_late_answer_to_another_build_takes_no_time_limit_away(engine):
    first, second = await request(engine, "a"), await request(engine, "b")
    late = await take_requested(engine, owner="trainer-1")
    await put(engine, first, lease_until=func.now() - timedelta(seconds=1), priority="NORMAL")
    await put(engine, second, priority="CRITICAL")
    asking = await take_requested(engine, owner="trainer-2")
    async with engine.begin() as connection:
        await runs.begin_building(connection, late, dataset_id=uuid4(), figures={}, pause_s=0)
        await runs.begin_building(connection, asking, dataset_id=uuid4(), figures={}, pause_s=0)

    assert asking.run_id == second.run_id
    assert (await find(engine, second)).dataset_deadline is not None


async def test_whoever_waited_for_anothers_build_has_its_time_anew(engine):
    first, second = await request(engine, "a"), await request(engine, "b")
    tried = await take_requested(engine)
    async with engine.begin() as connection:
        await runs.move(connection, tried, pause_s=60, reason="the Feature Service does not answer")
    other = await take_requested(engine)
    async with engine.begin() as connection:
        await runs.begin_building(connection, other, dataset_id=uuid4(), figures={}, pause_s=0)

    assert (tried.run_id, other.run_id) == (first.run_id, second.run_id)
    assert (await find(engine, first)).dataset_deadline is None
    assert (await find(engine, second)).dataset_deadline is not None


class Fits:
    """Stands in for the child processes: what ran when, and beside what; none ends before `together` ran."""

    def __init__(self, together=1):
        self.together = together
        self.enough = asyncio.Event()
        self.begun = []
        self.running = []
        self.most_at_once = 0

    async def __call__(self, job, directory, heard):
        assert job.strategy_id not in self.running, "one at a time of a strategy"
        self.begun.append((job.strategy_id, job.symbol))
        self.running.append(job.strategy_id)
        self.most_at_once = max(self.most_at_once, len(self.running))
        if self.most_at_once >= self.together:
            self.enough.set()
        await self.enough.wait()
        await asyncio.sleep(0.1)
        self.running.remove(job.strategy_id)
        return Result(rejection=Rejection(reason="no model was asked for", figures={}))


async def test_a_build_that_deafens_the_feature_service_costs_no_other_run_its_dataset(
    engine, settings, platform
):
    trainer = Trainer(settings, fit=Fits())
    ready = await request(engine, "a")
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        stack.push_async_callback(trainer.close)
        while (await find(engine, ready)).state is not State.READY:
            await trainer.builds.tick()
        urgent = await request(engine, "b", priority="CRITICAL")
        while (await find(engine, urgent)).state is not State.BUILDING:
            platform.status = "building"
            await trainer.builds.tick()
        platform.awake.clear()

        await trainer.training.tick()
        meanwhile = await find(engine, ready)
        platform.awake.set()
        platform.status = "ready"
        while not all([(await find(engine, run)).finished_at for run in (ready, urgent)]):
            await trainer.builds.tick()
            await trainer.training.tick()

    assert (meanwhile.state, meanwhile.attempts) == (State.READY, 0)
    ended = [await find(engine, run) for run in (urgent, ready)]
    assert {(run.state, run.attempts) for run in ended} == {(State.REJECTED, 1)}
    assert ended[0].finished_at < ended[1].finished_at


async def test_two_trainers_bring_twenty_runs_of_five_strategies_to_one_end_each(engine, settings, platform):
    chance = random.Random(11)
    wanted = [(strategy, symbol) for strategy in STRATEGIES for symbol in SYMBOLS]
    chance.shuffle(wanted)
    requested = [
        await request(engine, *each, priority=chance.choice(["CRITICAL", "HIGH", "NORMAL"]), max_size=20)
        for each in wanted
    ]

    fits = Fits(together=2)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        trainers = [Trainer(settings, owner=f"trainer-{number}", fit=fits) for number in (1, 2)]
        for trainer in trainers:
            stack.push_async_callback(trainer.close)
        rounds = [
            asyncio.create_task(every(0.01, round_))
            for trainer in trainers
            for round_ in (
                trainer.builds.tick,
                trainer.training.recover,
                *[trainer.training.tick] * 2,
            )
        ]
        while True:
            async with engine.connect() as connection:
                unfinished = await training_runs.unfinished(connection)
            # The files of a run go after it has ended.
            if not unfinished and not list(settings.feature_service_dataset_storage_path.iterdir()):
                break
            await asyncio.sleep(0.05)
        for each in rounds:
            each.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)

    async with engine.connect() as connection:
        ended = await training_runs.recent(connection, limit=100)
    assert {run.run_id for run in ended} == {run.run_id for run in requested}
    assert {run.reason for run in ended} == {"no model was asked for"}
    assert {(run.state, run.attempts, run.recoveries) for run in ended} == {(State.REJECTED, 1, 0)}
    assert Counter(fits.begun) == Counter(wanted)
    assert 2 <= fits.most_at_once <= settings.max_parallel_training
    in_turn = sorted(requested, key=lambda run: turn(run.priority, run.requested_at, run.requested_at))
    built = [(build["strategy_id"], build["symbol"]) for build in platform.builds]
    assert built == [(run.strategy_id, run.symbol) for run in in_turn]
    assert list(settings.feature_service_dataset_storage_path.iterdir()) == []


# Positions, schedules, alerts


@pytest.fixture
async def rows(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_no_dataset_is_built_while_a_position_is_open_where_that_is_wanted(
    engine, settings, platform, rows
):
    await request(engine)
    careful = Trainer(settings.model_copy(update={"training_defer_while_positions_open": True}))
    await create_platform_tables(rows)
    await rows.execute("INSERT INTO positions (asset, size) VALUES ('ETHUSDT', -0.5), ('BTCUSDT', 0)")

    await careful.builds.tick()
    waiting = await careful.run()
    built_meanwhile = len(platform.builds)
    await rows.execute("UPDATE positions SET size = 0")
    await careful.builds.tick()
    building = await careful.run()
    await careful.close()

    assert waiting.state is State.REQUESTED
    assert waiting.reason == "positions are open in ETHUSDT (TRAINING_DEFER_WHILE_POSITIONS_OPEN)"
    assert built_meanwhile == 0
    assert (building.state, building.reason) == (State.BUILDING, None)


async def trained(rows, strategy_id, ago_days):
    await rows.execute(
        "INSERT INTO model_versions (version, file_path, model_type, strategy_id, trained_at, sha256)"
        " VALUES ($1::text, '/models/' || $1::text, 'xgboost', $2,"
        " timezone('UTC', now()) - $3::interval, repeat('a', 64))",
        f"v{STRATEGIES.index(strategy_id) + 1}",
        strategy_id,
        timedelta(days=ago_days),
    )


async def requests_of(engine):
    async with engine.connect() as connection:
        found = await training_runs.unfinished(connection)
    return {run.strategy_id: (run.symbol, run.trigger, run.priority) for run in found}


async def test_a_strategy_is_trained_first_without_a_version_and_again_when_it_is_due(engine, settings, rows):
    for strategy_id, ago_days in (("a", 6.9), ("b", 7.1), ("c", 700)):
        await trained(rows, strategy_id, ago_days)

    await Schedules(settings, engine).tick()
    await Schedules(settings, engine).tick()  # a restart asks for nothing twice

    scheduled, first = ("BTCUSDT", "schedule", "HIGH"), ("BTCUSDT", "bootstrap", "NORMAL")
    assert await requests_of(engine) == {"b": scheduled, "c": scheduled, "d": first, "e": first}


async def test_every_strategy_keeps_to_its_own_schedule_and_symbols(engine, settings, rows, tmp_path):
    (tmp_path / "strategies.toml").write_text(
        '[a]\nsymbols = ["SOLUSDT"]\nmodel_retraining_interval_days = 2\n'
        '[b]\nmodel_retraining_schedule = "hourly"\n'
    )
    settings = Settings(
        **settings.model_dump(exclude={"strategies_file"}), strategies_file=tmp_path / "strategies.toml"
    )
    for strategy_id in STRATEGIES:
        await trained(rows, strategy_id, 3)

    await Schedules(settings, engine).tick()

    assert await requests_of(engine) == {
        "a": ("SOLUSDT", "schedule", "HIGH"),
        "b": ("BTCUSDT", "schedule", "HIGH"),
    }


@pytest.mark.parametrize(("state", "asks"), [("failed", True), ("rejected", False), ("cancelled", False)])
async def test_after_a_failed_training_a_due_strategy_asks_again_after_other_ends_at_its_next_time(
    engine, settings, rows, state, asks
):
    await trained(rows, "a", 8)
    settings = settings.model_copy(update={"trading_strategies": ("a",)})
    await Schedules(settings, engine).tick()
    await rows.execute("UPDATE training_runs SET state = $1, finished_at = now()", state)

    await Schedules(settings, engine).tick()
    at_once_again = await requests_of(engine)
    await rows.execute("UPDATE training_runs SET finished_at = now() - interval '301 s'")
    await Schedules(settings, engine).tick()

    assert at_once_again == {}
    assert bool(await requests_of(engine)) is asks


async def test_a_due_strategy_that_finds_the_queue_full_asks_later(engine, settings):
    settings = settings.model_copy(update={"training_queue_max_size": 2})
    schedules = Schedules(settings, engine)

    await schedules.tick()
    before = await requests_of(engine)
    async with engine.begin() as connection:
        await connection.execute(
            update(ROWS).values(state="rejected", finished_at=datetime(2020, 1, 1, tzinfo=UTC))
        )
    await put(engine, await request(engine, "a"), state="running")
    await put(engine, await request(engine, "b"), state="running")
    await schedules.tick()

    assert before.keys() == {"a", "b"}
    assert (await requests_of(engine)).keys() == {"a", "b", "c", "d"}


async def test_the_figures_of_the_queue_are_shown_and_a_failure_is_an_alert_until_a_training_succeeds(
    engine, rows
):
    failed = await request(engine, "a")
    await put(engine, failed, state="failed", reason="no dataset", finished_at=func.now(), recoveries=2)
    await request(engine, "b")
    watch = QueueWatch(engine)

    await watch.tick()
    await watch.tick()
    async with engine.connect() as connection:
        (alert,) = await alerts.recent_alerts(connection, only_open=True)
    shown = [
        gauge.collect()[0].samples[0].value
        for gauge in (queue_watch.QUEUE_SIZE, queue_watch.RECOVERED, queue_watch.SUCCESS_RATE)
    ]
    await put(engine, failed, state="succeeded", version="v1")
    await watch.tick()

    assert shown == [1, 2, 0]
    assert (alert.kind, alert.scope, alert.sightings) == ("training_failed", "strategy:a", 2)
    assert alert.sentence == "the last training of strategy a failed: no dataset"
    async with engine.connect() as connection:
        assert await alerts.recent_alerts(connection, only_open=True) == []
