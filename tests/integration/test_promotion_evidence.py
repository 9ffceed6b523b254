"""What a run leaves for the next one: rows to pool, figures, and the active version's newest score."""

import math
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import insert, text
from tests.unit.trainer import market_files

from common import artifacts, bus
from common import model_registry as registry
from common.database import create_engine
from common.model_directory import ModelDirectory
from common.model_registry import NewVersion
from common.tables import training_runs as run_rows
from common.training_runs import State, find
from trainer import fit
from trainer.core.promotion import Champion, Policy
from trainer.recipes import recipe_of, with_evidence
from trainer.registration import Registration
from trainer.scored_rows import ROWS
from trainer.settings import Settings

ROWS_OF = (3000, 1000, 1000)
EDGE = 0.25
TRAINED_AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(database_url, amqp_url, tmp_path):
    return Settings(
        database_url=SecretStr(database_url),
        rabbitmq_url=SecretStr(amqp_url),
        database_statement_timeout_ms=5000,
        model_storage_path=tmp_path / "models",
        model_promotion_policy=Policy.MANUAL,
        model_promotion_min_test_rows=100,
        model_promotion_evidence_runs=3,
        trading_strategies=("momentum",),
    )


@pytest.fixture
async def engine(settings):
    one = create_engine(settings, application="evidence-test")
    yield one
    await one.dispose()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A fitted model, its job and the directory with its files."""
    directory = tmp_path_factory.mktemp("trained")
    market_files.write(market_files.frames(ROWS_OF, edge=EDGE), directory)
    job = market_files.job(ROWS_OF, edge=EDGE, threads=1)
    return fit.run(job, directory).fitted, job, directory


async def running(engine):
    run_id = uuid4()
    async with engine.begin() as connection:
        await connection.execute(
            insert(run_rows).values(
                run_id=run_id,
                strategy_id="momentum",
                symbol="BTCUSDT",
                trigger="manual",
                priority="HIGH",
                state=State.RUNNING,
                trace_id="trace",
            )
        )
        return await find(connection, run_id)


async def completed(engine, settings, trained, **changes):
    fitted, job, directory = trained
    fitted = msgspec.structs.replace(fitted, **changes)
    registration = Registration(settings, engine, bus.create_broker(settings, service="test"))
    run = await running(engine)
    await registration.complete(run, fitted, directory, job=job, epoch=0, seconds=1.0)
    async with engine.connect() as connection:
        name = (await find(connection, run.run_id)).version
        return await registry.find(connection, name)


async def test_a_versions_test_rows_lie_beside_its_model_and_are_named_in_its_manifest(
    engine, settings, trained
):
    version = await completed(engine, settings, trained)

    content = artifacts.read_file(
        ModelDirectory(settings.model_storage_path), version.version, version.sha256, ROWS
    )
    artifact = artifacts.read_verified(
        ModelDirectory(settings.model_storage_path), version.version, version.sha256
    )

    assert content == (trained[2] / ROWS).read_bytes()
    assert ROWS in artifact.manifest.files
    assert (version.evidence["source"], version.evidence["figures_refused"]) == ("test", [])


async def test_rows_of_validation_are_never_kept_for_later_runs(engine, settings, trained):
    evidence = msgspec.structs.replace(trained[0].evidence, source="validation")

    version = await completed(engine, settings, trained, evidence=evidence)

    artifact = artifacts.read_verified(
        ModelDirectory(settings.model_storage_path), version.version, version.sha256
    )
    assert ROWS not in artifact.manifest.files
    assert (await with_evidence(engine, trained[1], settings)).earlier == ()


async def test_a_figure_that_the_table_cannot_hold_is_left_out_and_named(engine, settings, trained):
    metrics = {**trained[0].metrics}
    metrics["test"] = {**metrics["test"], "log_loss": math.inf, "accuracy": 1.5}

    version = await completed(engine, settings, trained, metrics=metrics)

    async with engine.connect() as connection:
        held = await registry.metrics_of(connection, version.version, dataset_split="test")
    assert not {"log_loss", "accuracy"} & {metric.metric_name for metric in held}
    assert sorted(version.evidence["figures_refused"]) == [
        "test accuracy is 1.5, it has to lie in 0 to 1",
        "test log_loss is inf",
    ]


async def test_the_active_versions_score_on_the_newest_test_is_kept(engine, settings, trained):
    first = await completed(engine, settings, trained)
    evidence = msgspec.structs.replace(
        trained[0].evidence, champion=Champion(version=first.version, accuracy=0.41)
    )

    await completed(engine, settings, trained, evidence=evidence)

    async with engine.connect() as connection:
        scores = await registry.metrics_of(
            connection, first.version, metric_name="accuracy", dataset_split="test"
        )
    assert [score.metric_value for score in scores] == [
        pytest.approx(trained[0].evidence.accuracy, abs=1e-6),
        0.41,
    ]


async def test_only_the_newest_kept_and_clean_runs_of_the_same_recipe_are_pooled(engine, settings, trained):
    job = trained[1]
    other = msgspec.structs.replace(job, horizon_s=job.horizon_s * 2)
    rows = [
        ("v1", job, "refused", {"source": "test"}),
        ("v2", job, "refused", {"source": "test"}),
        ("v3", job, "accepted", {"source": "test"}),
        ("v4", other, "accepted", {"source": "test"}),
        ("v5", job, "quarantined", {"source": "test"}),
        ("v6", job, "accepted", {"source": "test", "files": "deleted"}),
        ("v7", job, "accepted", {"source": "validation"}),
    ]
    async with engine.begin() as connection:
        for hours, (version, of, verdict, evidence) in enumerate(rows):
            new = NewVersion(
                version=version,
                strategy_id="momentum",
                model_type="xgboost",
                sha256="ab" * 32,
                trained_at=TRAINED_AT + timedelta(hours=hours),
                training_duration_seconds=1,
                training_dataset_size=1,
                training_config={"recipe": recipe_of(of)},
                verdict=verdict,
                verdict_sentence=verdict,
                evidence=evidence,
                run_id=uuid4(),
            )
            await registry.add(connection, new, [])

    asked = await with_evidence(engine, job, settings)

    assert [file.version for file in asked.earlier] == ["v3", "v2"]
    assert asked.evidence_effective_rows == 100


async def test_a_seed_or_a_dataset_makes_no_other_recipe_but_what_is_foreseen_does(trained):
    job = trained[1]

    def changed(**changes):
        return recipe_of(msgspec.structs.replace(job, **changes)) != recipe_of(job)

    assert not changed(seed=99, dataset_id="another", threads=7, test_end=TRAINED_AT)
    for name, value in (
        ("symbol", "ETHUSDT"),
        ("horizon_s", 99.0),
        ("label_threshold", 0.5),
        ("excluded_features", ("rsi_14",)),
        ("feature_registry_version", "candles-2"),
        ("strategy_id", "another"),
    ):
        assert changed(**{name: value}), name


async def test_a_run_that_was_taken_over_leaves_no_version(engine, settings, trained):
    fitted, job, directory = trained
    run = await running(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE training_runs SET fence = fence + 1"))

    registration = Registration(settings, engine, bus.create_broker(settings, service="test"))
    await registration.complete(run, fitted, directory, job=job, epoch=0, seconds=1.0)

    async with engine.connect() as connection:
        assert await registry.names(connection) == set()
