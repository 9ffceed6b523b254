"""The versions that this worker serves: loaded, proven, swapped as one reference, per strategy.

Start, event and poll take the same way: ask the registry, load what is newer off the event loop, prove it,
swap. Whatever fails leaves the old version serving and is tried again, ever more rarely; the database is the
truth, an event only a hint.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import structlog
from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncEngine

from common import model_registry
from common.alerts import raise_alert, resolve_alert
from common.database import DATABASE_ERRORS
from common.errors import TryAgain, Unusable
from common.model_registry import Active
from common.model_store import ModelStore
from common.served_versions import State
from inference.events import Event
from inference.loading import LoadedModel, load

log = structlog.get_logger(__name__)

RETRY_S = 10.0
"""Pause before a version that could not be loaded is tried again; it doubles with every failure."""
LONGEST_RETRY_S = 300.0
ALERT = "version_refused"
"""Kind of the alert that stands while an active version cannot be served."""
NOT_READ = "the registry has not been read yet"
LAGGING = Gauge(
    "flotilla_model_lagging", "1 while the active version is not the one that decides.", ["strategy_id"]
)


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy is served with."""

    active: Active | None
    """What the registry says; None: nothing was ever activated."""
    loaded: LoadedModel | None
    """What decides; an older one while the active version cannot be loaded."""
    problem: str | None = None
    """Why the active version is not the loaded one."""
    since: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    """When this worker came to serve so."""

    @property
    def warms_up(self) -> bool:
        """Whether the registry has no version for the strategy."""
        return self.active is None or self.active.version is None

    @property
    def state(self) -> State:
        """The same in one word."""
        if self.warms_up:
            return "warm_up"
        if self.loaded is None:
            return "unavailable"
        return "lagging" if self.problem else "serving"


class _Failure(msgspec.Struct, frozen=True):
    epoch: int
    attempts: int
    retry_at: float


class ServedModels:
    """Every strategy's version in this worker."""

    def __init__(self, strategies: Sequence[str], store: ModelStore, engine: AsyncEngine) -> None:
        self.strategies = tuple(strategies)
        self._store = store
        self._engine = engine
        self._serving: dict[str, Serving] = {}
        self._failures: dict[str, _Failure] = {}
        self._lock = asyncio.Lock()

    def of(self, strategy_id: str) -> Serving | None:
        """What serves the strategy now; None until the registry has been read once."""
        return self._serving.get(strategy_id)

    async def refresh(self) -> None:
        """Every strategy serves what the registry says, or its problem says why not."""
        async with self._lock:
            async with self._engine.connect() as connection:
                active = await model_registry.active_of(connection, self.strategies)
            for strategy_id in self.strategies:
                await self._follow(strategy_id, active.get(strategy_id))

    async def unread(self) -> str | None:
        """What has to be known of every strategy before any vector is taken; None once it is."""
        return NOT_READ if len(self._serving) < len(self.strategies) else None

    async def problem(self) -> str | None:
        """What lags behind the registry, for /health."""
        lagging = [f"{name}: {serving.problem}" for name, serving in self._serving.items() if serving.problem]
        return "; ".join(lagging) or None

    async def _follow(self, strategy_id: str, active: Active | None) -> None:
        before = self._serving.get(strategy_id)
        if before is not None and _same_epoch(before.active, active) and before.problem is None:
            return
        if active is None or active.version is None or active.sha256 is None:
            if before is None or not before.warms_up:
                log.info(Event.WARM_UP_MODE, strategy_id=strategy_id)
            await self._serve(strategy_id, Serving(active=active, loaded=None))
            return
        if self._waits(strategy_id, active):
            return
        await self._load(strategy_id, active, before)

    async def _load(self, strategy_id: str, active: Active, before: Serving | None) -> None:
        version, sha256 = str(active.version), str(active.sha256)
        served = before.loaded if before else None
        try:
            loaded = (
                served
                if served is not None and (served.model.version, served.model.sha256) == (version, sha256)
                else await asyncio.to_thread(load, self._store, version, sha256)
            )
        except (Unusable, TryAgain) as error:
            await self._refuse(strategy_id, active, before, str(error))
            return
        await self._serve(strategy_id, Serving(active=active, loaded=loaded))
        event = Event.VERSION_LOADED if before is None else Event.VERSION_SWAPPED
        log.info(event, strategy_id=strategy_id, version=version, epoch=active.epoch, sha256=sha256)

    async def _serve(self, strategy_id: str, serving: Serving) -> None:
        is_first = strategy_id not in self._serving
        self._serving[strategy_id] = serving
        LAGGING.labels(strategy_id).set(0)
        # At start as well: the alert may be that of a process that is gone.
        if self._failures.pop(strategy_id, None) or is_first:
            with suppress(*DATABASE_ERRORS):
                async with self._engine.begin() as connection:
                    await resolve_alert(connection, ALERT, f"strategy:{strategy_id}")

    async def _refuse(self, strategy_id: str, active: Active, before: Serving | None, reason: str) -> None:
        served = before.loaded if before else None
        again = before is not None and before.problem is not None and _same_epoch(before.active, active)
        since = before.since if before is not None and again else datetime.now(UTC)
        self._serving[strategy_id] = Serving(active=active, loaded=served, problem=reason, since=since)
        LAGGING.labels(strategy_id).set(1)
        failure = self._failures.get(strategy_id)
        attempts = failure.attempts + 1 if failure and failure.epoch == active.epoch else 1
        pause_s = retry_pause_s(attempts)
        self._failures[strategy_id] = _Failure(active.epoch, attempts, time.monotonic() + pause_s)
        still = served.model.version if served else None
        log.warning(
            Event.VERSION_REFUSED,
            strategy_id=strategy_id,
            version=active.version,
            reason=reason,
            serving=still,
            attempts=attempts,
            retry_in_s=pause_s,
        )
        # The refusal stands whether or not it can be told.
        with suppress(*DATABASE_ERRORS):
            async with self._engine.begin() as connection:
                await raise_alert(
                    connection,
                    ALERT,
                    f"strategy:{strategy_id}",
                    f"version {active.version} cannot be served: {reason}",
                    severity="critical",
                    figures={"version": active.version, "serving": still, "attempts": attempts},
                )

    def _waits(self, strategy_id: str, active: Active) -> bool:
        failure = self._failures.get(strategy_id)
        return failure is not None and failure.epoch == active.epoch and time.monotonic() < failure.retry_at


def retry_pause_s(attempts: int) -> float:
    """Pause after so many failures in a row to load one activation, in seconds."""
    # The exponent is bounded as well: 2 ** 5000 is no float.
    return min(RETRY_S * 2.0 ** min(attempts - 1, 16), LONGEST_RETRY_S)


def _same_epoch(one: Active | None, other: Active | None) -> bool:
    return (one and one.epoch) == (other and other.epoch)
