"""Old versions' files make room: what trades or may trade again stays, whoever acts at the same time."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from common import model_registry as registry
from common.database import create_engine
from common.errors import Conflict, Unusable
from common.model_directory import ModelDirectory
from common.model_registry import NewVersion
from trainer import retention
from trainer.retention import Retention, check_room, room
from trainer.settings import Settings

BY = {"actor": "test", "reason": "because"}
TRAINED_AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(database_url, tmp_path):
    return Settings(
        database_url=SecretStr(database_url),
        database_statement_timeout_ms=5000,
        model_storage_path=tmp_path / "models",
        feature_service_dataset_storage_path=tmp_path / "datasets",
        model_keep_versions=2,
        model_promotion_evidence_runs=1,
    )


@pytest.fixture
async def engine(settings):
    one = create_engine(settings, application="retention-test")
    yield one
    await one.dispose()


async def versions(engine, settings, count, strategy_id="momentum", symbol=None, hours=0):
    """So many versions with files, the last one the newest."""
    names = []
    for number in range(count):
        async with engine.begin() as connection:
            name = await registry.next_version(connection)
            new = NewVersion(
                version=name,
                strategy_id=strategy_id,
                model_type="xgboost",
                sha256="ab" * 32,
                trained_at=TRAINED_AT + timedelta(hours=hours + number),
                training_duration_seconds=1,
                training_dataset_size=1000,
                training_config={"recipe": {"strategy_id": strategy_id, "symbol": symbol}} if symbol else {},
                verdict="accepted",
                verdict_sentence="accepted",
                evidence={"lift": 0.1, "source": "test"},
                run_id=uuid4(),
            )
            await registry.add(connection, new, [])
        ModelDirectory(settings.model_storage_path).create(
            name, {"model.onnx": b"x" * 1000, "manifest.json": b"{}"}
        )
        names.append(name)
    return names


async def activate(engine, version):
    async with engine.begin() as connection:
        return await registry.activate(connection, version, strategy_id="momentum", **BY)


async def fate(engine, version):
    async with engine.connect() as connection:
        return (await registry.find(connection, version)).evidence.get("files")


def kept(settings):
    return set(ModelDirectory(settings.model_storage_path).versions())


async def test_the_newest_the_active_and_those_to_go_back_to_are_kept(engine, settings):
    names = await versions(engine, settings, 7)
    theirs = await versions(engine, settings, 2, "mean-reversion")
    for name in (names[0], names[2]):
        await activate(engine, name)
    await serving(engine, names[3])

    await Retention(settings, engine).tick()

    assert kept(settings) == {names[0], names[2], names[3], *names[5:], *theirs}
    assert [await fate(engine, name) for name in (names[1], names[2])] == ["deleted", None]
    async with engine.connect() as connection:
        assert (await registry.find(connection, names[1])).evidence["lift"] == 0.1


async def test_what_the_next_version_is_judged_with_is_kept_whatever_else_was_trained_since(engine, settings):
    settings = settings.model_copy(update={"model_promotion_evidence_runs": 3})
    bitcoin = await versions(engine, settings, 5, symbol="BTCUSDT")
    ether = await versions(engine, settings, 5, symbol="ETHUSDT", hours=5)

    await Retention(settings, engine).tick()

    assert kept(settings) == {*bitcoin[2:], *ether[2:]}


async def serving(engine, version):
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO served_versions (replica, strategy_id, state, version, since)"
                " VALUES ('replica', 'momentum', 'serving', :version, now())"
            ),
            {"version": version},
        )


async def test_a_version_whose_files_are_gone_is_not_activated(engine, settings):
    names = await versions(engine, settings, 3)
    await Retention(settings, engine).tick()

    with pytest.raises(Conflict, match=r"the files of version v1 are not kept any more"):
        await activate(engine, names[0])

    async with engine.connect() as connection:
        assert await registry.active_for(connection, "momentum") is None


async def test_an_archived_version_can_be_brought_back(engine, settings, tmp_path):
    settings = settings.model_copy(update={"model_retention_policy": "archive"})
    names = await versions(engine, settings, 3)
    keeper = Retention(settings, engine)

    await keeper.tick()

    archived = tmp_path / "models" / "archive" / names[0]
    assert (archived / "model.onnx").read_bytes() == b"x" * 1000
    assert kept(settings) == set(names[1:])
    assert await fate(engine, names[0]) == "archived"

    archived.rename(settings.model_storage_path / names[0])
    await keeper.tick()
    await keeper.tick()

    assert await fate(engine, names[0]) == "restored"
    assert names[0] in kept(settings)
    assert (await activate(engine, names[0])).version == names[0]


async def test_what_a_crash_left_half_done_is_finished(engine, settings):
    names = await versions(engine, settings, 3)
    async with engine.begin() as connection:
        await retention._mark(connection, names[:1], "deleting", before=None)

    await Retention(settings, engine).tick()

    assert kept(settings) == set(names[1:])
    assert await fate(engine, names[0]) == "deleted"


async def test_an_activation_at_the_same_moment_either_wins_or_conflicts(engine, settings):
    for _ in range(5):
        names = await versions(engine, settings, 4)

        activated, _ = await asyncio.gather(
            activate(engine, names[0]), Retention(settings, engine).tick(), return_exceptions=True
        )

        if isinstance(activated, Conflict):
            assert names[0] not in kept(settings)
        else:
            assert activated.version == names[0]
            assert names[0] in kept(settings)


async def test_versions_of_the_older_service_are_never_touched(engine, settings):
    await versions(engine, settings, 3)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO model_versions (version, file_path, model_type, trained_at)"
                " VALUES ('v900', '/models/v900', 'random_forest', '2020-01-01')"
            )
        )
    (settings.model_storage_path / "v900").mkdir()

    await Retention(settings, engine).tick()

    assert "v900" in kept(settings)


def test_a_training_is_refused_before_the_disk_is_full(tmp_path):
    paths = {"model_storage_path": tmp_path / "models", "feature_service_dataset_storage_path": tmp_path}
    full = Settings(**paths, model_min_free_bytes=10**18)

    assert room(Settings(**paths, model_min_free_bytes=0)) is None
    check_room(Settings(**paths, model_min_free_bytes=1))
    with pytest.raises(Unusable, match=r"only [\d,]+ bytes are free under .*\(MODEL_MIN_FREE_BYTES\)"):
        check_room(full)
