"""The registry on a real database: one truth about what trades, whoever changes it at the same time."""

import asyncio
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from common import model_registry as registry
from common import training_runs
from common.database import create_engine
from common.errors import Conflict, NotFound, Unusable
from common.model_registry import NewMetric, NewVersion
from common.settings import DatabaseSettings
from common.training_runs import State

TRAINED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY = {"actor": "test", "reason": "because"}


@pytest.fixture
async def engine(database_url):
    one = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=5000),
        application="registry-test",
    )
    yield one
    await one.dispose()


def metric(**changes):
    values = {
        "metric_name": "accuracy",
        "metric_value": 0.42,
        "metric_type": "classification",
        "dataset_split": "test",
        "evaluation_dataset_size": 1000,
    }
    return NewMetric(**{**values, **changes})


async def add(engine, strategy_id="momentum", metrics=()):
    async with engine.begin() as connection:
        version = await registry.next_version(connection)
        new = NewVersion(
            version=version,
            strategy_id=strategy_id,
            model_type="xgboost",
            sha256="ab" * 32,
            trained_at=TRAINED_AT,
            training_duration_seconds=12,
            training_dataset_size=36_000,
            training_config={"seed": 1},
            verdict="accepted",
            verdict_sentence="accepted: it is better",
            evidence={"lift": 0.06},
            run_id=uuid4(),
        )
        await registry.add(connection, new, metrics)
    return version


async def activate(engine, version, **changes):
    async with engine.begin() as connection:
        return await registry.activate(connection, version, **{"strategy_id": "momentum", **BY, **changes})


async def rollback(engine, **changes):
    async with engine.begin() as connection:
        return await registry.rollback(connection, "momentum", **BY, **changes)


async def is_active(engine):
    async with engine.connect() as connection:
        found, _ = await registry.versions(connection, is_active=True)
    return [version.version for version in found]


async def test_a_version_is_read_back_as_it_was_added(engine):
    version = await add(engine, metrics=[metric(), metric(metric_name="mcc", metric_value=-0.2)])

    async with engine.connect() as connection:
        found = await registry.find(connection, version)
        accuracy = await registry.metrics_of(connection, version, metric_name="accuracy")
        live = await registry.metrics_of(connection, version, dataset_split="live")

    assert (found.version, found.file_path, found.trained_at) == ("v1", "/models/v1", TRAINED_AT)
    assert (found.sha256, found.verdict, found.evidence) == ("ab" * 32, "accepted", {"lift": 0.06})
    assert not found.is_active
    assert [(one.metric_value, one.metadata) for one in accuracy] == [(0.42, {"dataset_split": "test"})]
    assert live == []


@pytest.mark.parametrize(
    ("name", "kind", "value", "reason"),
    [
        ("expectancy", "trading_performance", float("nan"), "expectancy is nan"),
        ("profit_factor", "trading_performance", float("inf"), "profit_factor is inf"),
        ("sharpe", "trading_performance", -1e12, "or more does not fit"),
        ("mse", "regression", 3e-9, "8 decimals would change it"),
        ("accuracy", "classification", 1.01, "it has to lie in 0 to 1"),
        ("mcc", "classification", -1.2, "it has to lie in -1 to 1"),
        ("log_loss", "classification", -0.1, "it has to lie in 0 to inf"),
    ],
)
async def test_a_figure_that_the_table_cannot_hold_is_refused_with_the_reason(
    engine, name, kind, value, reason
):
    wrong = metric(metric_name=name, metric_type=kind, metric_value=value)

    with pytest.raises(Unusable, match=r"^version v1: ") as refused:
        await add(engine, metrics=[metric(), wrong])

    assert reason in str(refused.value)
    async with engine.connect() as connection:
        assert await registry.names(connection) == set()


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("expectancy", "trading_performance", -0.00012),
        ("mse", "regression", 2.5e-7),
        ("mcc", "classification", -1.0),
        ("log_loss", "classification", 12.5),
        ("lift_lower", "classification", -0.2),
        ("accuracy", "regression", 0.0),
    ],
)
async def test_a_figure_that_the_table_can_hold_is_held(engine, name, kind, value):
    version = await add(engine, metrics=[metric(metric_name=name, metric_type=kind, metric_value=value)])

    async with engine.connect() as connection:
        (found,) = await registry.metrics_of(connection, version)
    assert found.metric_value == pytest.approx(value, rel=0.02)


async def test_newer_figures_stand_behind_older_ones(engine):
    version = await add(engine, metrics=[metric(metric_value=0.6)])

    async with engine.begin() as connection:
        await registry.add_metrics(connection, version, [metric(metric_value=0.5)])
        found = await registry.metrics_of(connection, version, metric_name="accuracy")
        with pytest.raises(NotFound, match="no version v77"):
            await registry.add_metrics(connection, "v77", [metric()])

    assert [each.metric_value for each in found] == [0.6, 0.5]


async def test_hundreds_of_versions_are_listed_in_milliseconds(engine):
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO model_versions"
                " (version, file_path, model_type, strategy_id, trained_at, sha256,"
                " training_config, evidence)"
                " SELECT 'v' || n, '/models/v' || n, 'xgboost', 'momentum', now()::timestamp"
                " + n * interval '1 s', repeat('a', 64), jsonb_build_object('features',"
                " (SELECT jsonb_agg('feature_' || i) FROM generate_series(1, 60) i)), '{}'"
                " FROM generate_series(1, 1000) n"
            )
        )
        await connection.execute(text("ANALYZE model_versions"))
    async with engine.connect() as connection:
        await registry.versions(connection, strategy_id="momentum", limit=100)
        since = time.perf_counter()
        page, total = await registry.versions(connection, strategy_id="momentum", limit=100)
        took_s = time.perf_counter() - since

    assert (len(page), total) == (100, 1000)
    assert page[0].version == "v1000"
    assert took_s < 0.2


async def test_an_activation_moves_epoch_mirror_and_history_together(engine):
    first, second = await add(engine), await add(engine)

    one = await activate(engine, first)
    two = await activate(engine, second, actor="api", reason="better")

    async with engine.connect() as connection:
        assert await registry.active_for(connection, "momentum") == two
        newest, oldest = await registry.activations(connection, "momentum")
    assert (one.epoch, two.epoch) == (1, 2)
    assert await is_active(engine) == [second]
    assert (newest.version, newest.actor, newest.reason, newest.sha256) == (
        second,
        "api",
        "better",
        "ab" * 32,
    )
    assert oldest.version == first


async def test_of_activations_at_once_one_wins_and_the_others_conflict(engine):
    names = [await add(engine) for _ in range(6)]

    for epoch in range(5):
        tried = await asyncio.gather(
            *(activate(engine, name, expected_epoch=epoch) for name in names), return_exceptions=True
        )
        winners = [outcome for outcome in tried if not isinstance(outcome, BaseException)]
        assert [winner.epoch for winner in winners] == [epoch + 1]
        assert all(isinstance(other, Conflict) for other in tried if other not in winners)
        assert await is_active(engine) == [winners[0].version]


async def test_activations_without_an_expected_epoch_never_share_one(engine):
    names = [await add(engine) for _ in range(6)]

    tried = await asyncio.gather(*(activate(engine, name) for name in names), return_exceptions=True)

    epochs = [outcome.epoch for outcome in tried if not isinstance(outcome, Conflict)]
    assert sorted(epochs) == list(range(1, len(epochs) + 1))
    assert len(await is_active(engine)) == 1


async def test_strategies_do_not_disturb_each_other(engine):
    ours, theirs = await add(engine), await add(engine, "mean-reversion")

    await activate(engine, ours)
    await activate(engine, theirs, strategy_id="mean-reversion")

    assert sorted(await is_active(engine)) == [ours, theirs]


async def test_what_cannot_be_served_is_not_activated(engine):
    theirs = await add(engine, "mean-reversion")
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO model_versions (version, file_path, model_type, strategy_id)"
                " VALUES ('v900', '/models/v900', 'random_forest', 'momentum')"
            )
        )

    with pytest.raises(NotFound, match="no version v77"):
        await activate(engine, "v77")
    with pytest.raises(Conflict, match="belongs to strategy mean-reversion"):
        await activate(engine, theirs)
    with pytest.raises(Conflict, match="no artifact hash"):
        await activate(engine, "v900")
    async with engine.connect() as connection:
        assert await registry.active_for(connection, "momentum") is None
        assert not await registry.has_servable(connection, "momentum")


async def test_an_older_version_without_a_strategy_is_the_default_strategys(engine):
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO model_versions (version, file_path, model_type, is_active)"
                " VALUES ('v900', '/models/v900', 'random_forest', true)"
            )
        )
    mine = await add(engine, "default")

    await activate(engine, mine, strategy_id="default")

    async with engine.connect() as connection:
        found, total = await registry.versions(connection, strategy_id="default")
    assert total == 2
    assert {version.version: version.is_active for version in found} == {mine: True, "v900": False}
    assert {version.strategy_id for version in found} == {"default"}


async def test_rolling_back_goes_back_step_by_step_and_never_forward(engine):
    names = [await add(engine) for _ in range(3)]
    for name in names:
        await activate(engine, name)

    assert (await rollback(engine)).version == names[1]
    assert (await rollback(engine)).version == names[0]
    with pytest.raises(Conflict, match="no earlier version"):
        await rollback(engine)
    assert (await rollback(engine, to=names[2])).epoch == 6


async def test_after_a_deactivation_rolling_back_brings_back_what_was_active(engine):
    version = await add(engine)
    await activate(engine, version)

    async with engine.begin() as connection:
        off = await registry.deactivate(connection, "momentum", **BY)
    nothing = await is_active(engine)
    back = await rollback(engine)

    assert (off.version, off.sha256, off.epoch) == (None, None, 2)
    assert nothing == []
    assert (back.version, back.epoch) == (version, 3)


async def test_deactivating_nothing_is_a_conflict(engine):
    with pytest.raises(Conflict, match="no version of strategy momentum is active"):
        async with engine.begin() as connection:
            await registry.deactivate(connection, "momentum", **BY)


async def test_a_page_of_versions_comes_with_their_number(engine):
    names = [await add(engine) for _ in range(5)]

    async with engine.connect() as connection:
        page, total = await registry.versions(connection, limit=2, offset=4)
        assert await registry.names(connection) == set(names)

    assert (len(page), total) == (1, 5)


async def test_a_strategy_and_symbol_have_one_unfinished_run(engine):
    async def request(symbol):
        async with engine.begin() as connection:
            return await training_runs.request(
                connection,
                strategy_id="momentum",
                symbol=symbol,
                trigger="manual",
                priority="HIGH",
                trace_id="trace",
            )

    tried = await asyncio.gather(*(request("BTCUSDT") for _ in range(6)), return_exceptions=True)
    other = await request("ETHUSDT")

    (run,) = [outcome for outcome in tried if not isinstance(outcome, Conflict)]
    async with engine.connect() as connection:
        assert await training_runs.find(connection, run.run_id) == run
        assert await training_runs.find(connection, uuid4()) is None
        assert await training_runs.unfinished(connection) == [run, other]
        assert await training_runs.recent(connection, "momentum", limit=1) == [other]
        assert await training_runs.recent(connection, "another") == []
    assert (run.state, run.fence, run.attempts) == (State.REQUESTED, 0, 0)
