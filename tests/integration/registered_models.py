"""Versions on disk and in the registry, as a trainer would leave them."""

from uuid import uuid4

from tests.unit.inference.model_files import echo, manifest

from common import artifacts, model_registry
from common.model_directory import ModelDirectory
from common.model_registry import NewVersion


class Registry:
    """Versions as a trainer would leave them."""

    def __init__(self, engine, root):
        self._engine = engine
        self.root = root
        self.store = ModelDirectory(root)

    async def train(self, *, onnx=None, **changes):
        async with self._engine.begin() as connection:
            version = await model_registry.next_version(connection)
            described = manifest(version, **changes)
            sha256 = artifacts.write(self.store, version, described, {"model.onnx": onnx or echo()})
            new = NewVersion(
                version=version,
                strategy_id="momentum",
                model_type="xgboost",
                sha256=sha256,
                trained_at=described.trained_at,
                training_duration_seconds=1,
                training_dataset_size=1000,
                training_config={},
                verdict="accepted",
                verdict_sentence="better",
                evidence={},
                run_id=uuid4(),
            )
            await model_registry.add(connection, new, [])
        return version

    async def activate(self, version):
        async with self._engine.begin() as connection:
            return await model_registry.activate(
                connection, version, strategy_id="momentum", actor="test", reason="because"
            )

    async def deactivate(self):
        async with self._engine.begin() as connection:
            return await model_registry.deactivate(connection, "momentum", actor="test", reason="because")
