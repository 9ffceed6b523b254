"""Putting a version to work, going back, and taking it away: checked, committed, then announced."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
import structlog
from faststream.rabbit import RabbitBroker
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.types.internal_types import PathParameterDefinition
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api import audit
from api.core.versions import Objection, is_already_so, is_version_name, objection
from api.events import Event
from api.parameters import ACTOR, Actor, Limit, Reason, StrategyId, StrategyPath
from api.problems import Refused, documented
from api.routes.models import named, names_a_version
from api.routes.strategies import Strategy, standing
from api.settings import Settings
from common import artifacts, bus, model_registry, topology, tracing
from common.core.trading_state import trading_state
from common.errors import Conflict, NotFound, Unusable
from common.model_registry import Active, ModelVersion, Moved, Version
from common.model_store import ModelStore
from common.trading_states import stored_states

log = structlog.get_logger(__name__)

Epoch = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Activation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put the version to work."""

    strategy_id: StrategyId | None = None
    """Has to be the version's own; a guard against the wrong version."""
    force: bool = False
    """Also a version that its verdict does not speak for; needs a reason."""
    reason: Reason | None = None
    """Kept with the activation."""
    expected_epoch: Epoch | None = None
    """Only while the strategy stands at this epoch; 0: nothing was ever activated."""
    actor: Actor = ACTOR
    """Who asks; kept with the activation."""


class Rollback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Go back to an earlier version."""

    reason: Reason
    """Kept with the activation."""
    to: str | None = None
    """The version to go back to; without: the one before the current."""
    force: bool = False
    """Also to a version that its verdict does not speak for."""
    expected_epoch: Epoch | None = None
    """Only while the strategy stands at this epoch: a request that is sent twice goes back once."""
    actor: Actor = ACTOR
    """Who asks; kept with the activation."""


class Deactivation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take the version away."""

    reason: Reason
    """Kept with the entry."""
    actor: Actor = ACTOR
    """Who asks; kept with the entry."""


class Activated(Version, frozen=True, kw_only=True):
    """The version that the strategy trades with now."""

    epoch: int
    """Of the activation that holds."""
    changed: bool
    """False: it was active already; nothing was recorded and nobody told."""


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who made which version the one to trade with, when and why."""

    epoch: int
    """Rises with each change of the strategy."""
    version: str | None
    """Null: it was taken away, the strategy warmed up."""
    actor: str
    reason: str
    activated_at: datetime


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The newest entries first."""

    items: list[HistoryEntry]
    limit: int


def _spelled(_: object, __: object, path: list[str | PathParameterDefinition]) -> str:
    return "ActivateModel" if path[-1] == "activate" else "ActivateModelByName"


@post(
    ["/models/{version:str}/activate", "/models/{version:str}"],
    operation_id=_spelled,
    summary="Activate a version",
    guards=[names_a_version],
    status_code=200,
    responses=documented(404, 409, 413),
)
async def activate(
    engine: NamedDependency[AsyncEngine],
    broker: NamedDependency[RabbitBroker],
    store: NamedDependency[ModelStore],
    version: FromPath[str],
    data: JSONBody[Activation | None] = None,
) -> Activated:
    """The version's strategy trades with it from now on, in every worker; one that is active stays so.

    409 when its verdict does not speak for it and `force` is not set, when its files are missing or changed,
    when it is another strategy's, or when somebody else was first. The platform's older service spelled it
    without `/activate`.
    """
    wanted = data or Activation()

    async def change(connection: AsyncConnection) -> _Step:
        found = await named(connection, version)
        strategy_id = wanted.strategy_id or found.strategy_id
        before = await model_registry.active_for(connection, strategy_id)
        if before and _is_active(before, version, wanted.expected_epoch):
            return _Step(before, before)
        since = before.epoch if before else 0
        try:
            after = await model_registry.activate(
                connection,
                version,
                strategy_id=strategy_id,
                actor=wanted.actor,
                reason=_recorded(wanted),
                expected_epoch=since if wanted.expected_epoch is None else wanted.expected_epoch,
            )
        except Moved:
            # Whoever was first may have done the same: sent twice at once, it changes one thing.
            active = await model_registry.active_for(connection, strategy_id)
            if active is None or not _is_active(active, version, wanted.expected_epoch):
                raise
            return _Step(active, active)
        return _Step(before, after)

    return await _put_to_work(engine, broker, store, change, wanted=wanted, action="activate")


@post(
    "/strategies/{strategy_id:str}/rollback",
    operation_id="RollBackStrategy",
    summary="Roll a strategy back",
    status_code=200,
    responses=documented(404, 409, 413),
)
async def roll_back(
    engine: NamedDependency[AsyncEngine],
    broker: NamedDependency[RabbitBroker],
    store: NamedDependency[ModelStore],
    strategy_id: StrategyPath,
    data: JSONBody[Rollback],
) -> Activated:
    """The strategy trades with the version before the current one again, or with the one named."""
    if data.to is not None and not is_version_name(data.to):
        raise NotFound("no such version")

    async def change(connection: AsyncConnection) -> _Step:
        before = await model_registry.active_for(connection, strategy_id)
        if before and data.to and _is_active(before, data.to, data.expected_epoch):
            return _Step(before, before)
        after = await model_registry.rollback(
            connection,
            strategy_id,
            actor=data.actor,
            reason=_recorded(data),
            to=data.to,
            expected_epoch=data.expected_epoch,
        )
        return _Step(before, after)

    return await _put_to_work(engine, broker, store, change, wanted=data, action="roll_back")


@post(
    "/strategies/{strategy_id:str}/deactivate",
    operation_id="DeactivateStrategy",
    summary="Take a strategy's version away",
    status_code=200,
    responses=documented(404, 409, 413),
)
async def deactivate(
    engine: NamedDependency[AsyncEngine],
    broker: NamedDependency[RabbitBroker],
    settings: NamedDependency[Settings],
    strategy_id: StrategyPath,
    data: JSONBody[Deactivation],
) -> Strategy:
    """The strategy warms up from now on, in every worker. 409 when no version of it is active."""
    async with engine.begin() as connection:
        if await model_registry.active_for(connection, strategy_id) is None:
            _check_traded(strategy_id, settings)
        active = await model_registry.deactivate(
            connection, strategy_id, actor=data.actor, reason=data.reason
        )
        await audit.record(
            connection,
            "deactivate",
            f"strategy:{strategy_id}",
            actor=data.actor,
            reason=data.reason,
            details={"epoch": active.epoch},
        )
        states = await stored_states(connection)
    await _tell(broker, active, reason=data.reason, forced=False)
    return standing(strategy_id, active, trading_state(states, strategy_id, settings.trading_state_initial))


@get(
    "/strategies/{strategy_id:str}/activations",
    operation_id="ListActivations",
    summary="History of a strategy",
    responses=documented(404),
)
async def list_activations(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyPath,
    limit: Limit = 100,
) -> History:
    """What the strategy traded with and who decided so, the newest entry first."""
    async with engine.connect() as connection:
        found = await model_registry.activations(connection, strategy_id, limit)
    if not found:
        _check_traded(strategy_id, settings)
    return History(items=msgspec.convert(found, list[HistoryEntry], from_attributes=True), limit=limit)


class _Step(NamedTuple):
    before: Active | None
    after: Active


async def _put_to_work(
    engine: AsyncEngine,
    broker: RabbitBroker,
    store: ModelStore,
    change: Callable[[AsyncConnection], Awaitable[_Step]],
    *,
    wanted: Activation | Rollback,
    action: str,
) -> Activated:
    # Whatever is raised in the block undoes the change: what is checked is what would be served.
    async with engine.begin() as connection:
        before, after = await change(connection)
        changed = before != after
        version = await named(connection, after.version or "")
        if changed:
            _check_verdict(version, wanted)
            await _record(connection, action, before, after, wanted)
        await _verify(store, after)
    if changed:
        await _tell(broker, after, reason=wanted.reason, forced=wanted.force)
    return Activated(
        **{name: getattr(version, name) for name in Version.__struct_fields__},
        epoch=after.epoch,
        changed=changed,
    )


def _is_active(active: Active, version: str, expected_epoch: int | None) -> bool:
    return is_already_so(
        version, active_version=active.version, epoch=active.epoch, expected_epoch=expected_epoch
    )


def _check_verdict(version: ModelVersion, wanted: Activation | Rollback) -> None:
    against = objection(
        version.version,
        version.verdict,
        version.verdict_sentence,
        force=wanted.force,
        reason=wanted.reason,
    )
    if against:
        raise Refused(against)


async def _record(
    connection: AsyncConnection,
    action: str,
    before: Active | None,
    after: Active,
    wanted: Activation | Rollback,
) -> None:
    details = {
        "strategy_id": after.strategy_id,
        "epoch": after.epoch,
        "forced": wanted.force,
        "previous": before.version if before else None,
    }
    await audit.record(
        connection,
        action,
        f"version:{after.version}",
        actor=wanted.actor,
        reason=wanted.reason,
        details=details,
    )


async def _tell(broker: RabbitBroker, active: Active, *, reason: str | None, forced: bool) -> None:
    log.info(
        Event.VERSION_ACTIVATED,
        strategy_id=active.strategy_id,
        version=active.version,
        epoch=active.epoch,
        forced=forced,
        reason=reason,
    )
    announcement = model_registry.announced(active, tracing.current())
    await bus.announce(broker, topology.MODEL_ACTIVATED, announcement)


async def _verify(store: ModelStore, active: Active) -> None:
    if active.version is None or active.sha256 is None:
        raise Conflict(f"strategy {active.strategy_id} has no version to serve")
    try:
        await asyncio.to_thread(artifacts.read_verified, store, active.version, active.sha256)
    except Unusable as error:
        log.warning(Event.ARTIFACT_UNUSABLE, version=active.version, reason=str(error))
        sentence = f"the files of version {active.version} are missing or not those that were registered"
        raise Refused(Objection("artifact_unusable", sentence)) from error


def _recorded(wanted: Activation | Rollback) -> str:
    reason = wanted.reason or "no reason given"
    return f"forced: {reason}" if wanted.force else reason


# A strategy that has a history is one, though it may not be traded any more.
def _check_traded(strategy_id: str, settings: Settings) -> None:
    if strategy_id not in settings.strategies():
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
