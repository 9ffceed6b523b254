"""The versions that this worker serves: loaded, proven, swapped as one reference, per strategy.

Start, event and poll take the same way: ask the registry, load what is newer off the event loop, prove it,
swap. Whatever fails leaves the old version serving and is tried again; the database is the truth, an event
only a hint.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common import model_registry
from common.artifacts import INPUT_NAME, Artifact, Golden, read_verified
from common.errors import Unusable
from common.model_registry import Active
from inference.core.model import Model
from inference.events import Event

log = structlog.get_logger(__name__)

GOLDEN_TOLERANCE = 1e-5
"""Largest difference from the probabilities that the trainer saw for the manifest's golden rows."""
RETRY_S = 10.0
"""A version that could not be loaded is tried again after so long, or at once on a new activation."""


class LoadedModel:
    """One version, ready to predict; immutable once built."""

    def __init__(self, artifact: Artifact, sha256: str) -> None:
        manifest = artifact.manifest
        self.model = Model(
            version=manifest.version,
            sha256=sha256,
            symbol=manifest.symbol,
            features=manifest.features,
            optional_features=frozenset(manifest.optional_features),
            labels=manifest.labels,
            threshold=manifest.threshold,
            calibration=manifest.calibration,
            feature_registry_version=manifest.feature_registry_version,
        )
        self._output_name = manifest.output_name
        self._session = _session(artifact)

    def predict(self, row: Sequence[float]) -> tuple[float, ...]:
        """Raw probability of each label for one row in the model's order."""
        inputs = {INPUT_NAME: np.array([row], dtype=np.float32)}
        (probabilities,) = self._session.run([self._output_name], inputs)
        return tuple(float(p) for p in probabilities[0])


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy is served with."""

    active: Active | None
    """What the registry says; None: nothing was ever activated."""
    loaded: LoadedModel | None
    """What decides; an older one while the active version cannot be loaded."""
    problem: str | None = None
    """Why the active version is not the loaded one."""

    @property
    def warms_up(self) -> bool:
        """Whether the registry has no version for the strategy."""
        return self.active is None or self.active.version is None


class ServedModels:
    """Every strategy's version in this worker."""

    def __init__(self, strategies: Sequence[str], root: Path, engine: AsyncEngine) -> None:
        self._strategies = strategies
        self._root = root
        self._engine = engine
        self._serving: dict[str, Serving] = {}
        self._failed_at: dict[str, tuple[int, float]] = {}
        self._lock = asyncio.Lock()

    def of(self, strategy_id: str) -> Serving | None:
        """What serves the strategy now; None until the registry has been read once."""
        return self._serving.get(strategy_id)

    async def refresh(self) -> None:
        """Every strategy serves what the registry says, or its problem says why not."""
        async with self._lock:
            for strategy_id in self._strategies:
                async with self._engine.connect() as connection:
                    active = await model_registry.active_for(connection, strategy_id)
                await self._follow(strategy_id, active)

    async def problem(self) -> str | None:
        """What lags behind the registry, for /health."""
        if len(self._serving) < len(self._strategies):
            return "the registry has not been read yet"
        lagging = [f"{name}: {serving.problem}" for name, serving in self._serving.items() if serving.problem]
        return "; ".join(lagging) or None

    async def _follow(self, strategy_id: str, active: Active | None) -> None:
        before = self._serving.get(strategy_id)
        if before is not None and _same_epoch(before.active, active) and before.problem is None:
            return
        if active is None or active.version is None or active.sha256 is None:
            if before is None or not before.warms_up:
                log.info(Event.WARM_UP_MODE, strategy_id=strategy_id)
            self._serving[strategy_id] = Serving(active=active, loaded=None)
            return
        if self._waits(strategy_id, active):
            return
        await self._load(strategy_id, active, before)

    async def _load(self, strategy_id: str, active: Active, before: Serving | None) -> None:
        version, sha256 = str(active.version), str(active.sha256)
        served = before.loaded if before else None
        try:
            loaded = await asyncio.to_thread(load, self._root, version, sha256)
        except Unusable as error:
            self._failed_at[strategy_id] = (active.epoch, time.monotonic())
            self._serving[strategy_id] = Serving(active=active, loaded=served, problem=str(error))
            still = served.model.version if served else None
            log.warning(
                Event.VERSION_REFUSED,
                strategy_id=strategy_id,
                version=version,
                reason=str(error),
                serving=still,
            )
            return
        self._failed_at.pop(strategy_id, None)
        self._serving[strategy_id] = Serving(active=active, loaded=loaded)
        event = Event.VERSION_LOADED if before is None else Event.VERSION_SWAPPED
        log.info(event, strategy_id=strategy_id, version=version, epoch=active.epoch, sha256=sha256)

    def _waits(self, strategy_id: str, active: Active) -> bool:
        epoch, failed_at = self._failed_at.get(strategy_id, (-1, 0.0))
        return epoch == active.epoch and time.monotonic() - failed_at < RETRY_S


def load(root: Path, version: str, sha256: str) -> LoadedModel:
    """The version as the trainer proved it: bytes as registered, golden rows reproduced, warmed up.

    Raises Unusable naming what is wrong.
    """
    artifact = read_verified(root, version, sha256)
    try:
        loaded = LoadedModel(artifact, sha256)
        # Also the first, slow predictions: they should not hit a live vector.
        answer = loaded.predict([0.0] * len(loaded.model.features))
        difference = max((_difference(loaded, each) for each in artifact.manifest.golden), default=0.0)
    except Exception as error:
        raise Unusable(f"version {version} cannot be served: {type(error).__name__}: {error}") from error
    if len(answer) != len(loaded.model.labels):
        raise Unusable(
            f"version {version} answers {len(answer)} values for {len(loaded.model.labels)} labels"
        )
    if not difference <= GOLDEN_TOLERANCE:
        raise Unusable(f"version {version}: golden rows differ by {difference:.3g}")
    return loaded


def _session(artifact: Artifact) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(artifact.onnx, options, providers=["CPUExecutionProvider"])


def _difference(loaded: LoadedModel, golden: Golden) -> float:
    row = [np.nan if value is None else value for value in golden.features]
    return float(np.max(np.abs(np.subtract(loaded.predict(row), golden.outputs))))


def _same_epoch(one: Active | None, other: Active | None) -> bool:
    return (one and one.epoch) == (other and other.epoch)
