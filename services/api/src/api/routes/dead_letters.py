"""Dead letters over HTTP: what could not be used and why, sent once more, or put away."""

import base64
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from faststream.rabbit import RabbitBroker
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api import dead_letters
from api.parameters import ACTOR, STORABLE, Actor, Limit, Offset, Reason
from api.problems import documented
from api.queries import dead_letters as queries
from api.queries.dead_letters import DeadLetter, LetterState
from api.settings import Settings
from common.errors import NotFound

LetterStateFilter = Annotated[
    LetterState | None, QueryParameter(name="state", description="Only letters in this state.")
]
QueueFilter = Annotated[
    str | None, QueryParameter(max_length=255, pattern=STORABLE, description="Only this queue's.")
]


class Settlement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator says about a letter."""

    reason: Reason
    """Kept with the letter."""
    actor: Actor = ACTOR
    """Who says so; kept with the letter."""


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """A page of letters, the newest first."""

    items: list[DeadLetter]
    total: int
    limit: int
    offset: int


class ReplayObjection(msgspec.Struct, frozen=True, kw_only=True):
    """Why a letter cannot be replayed."""

    code: str
    """As a replay would answer it."""
    sentence: str
    """The same for people."""


class WholeLetter(DeadLetter, frozen=True, kw_only=True):
    """A letter with what it said."""

    body: str
    """The message as it came."""
    body_encoding: Literal["text", "base64"]
    """base64 where the message is not UTF-8."""
    headers: dict[str, Any]
    """The message's own; what JSON cannot hold says its type beside it."""
    objection: ReplayObjection | None
    """What stands against replaying it now; null: nothing, as long as it is open."""


@get(
    "/monitoring/dead-letters",
    operation_id="ListDeadLetters",
    summary="Dead letters",
    responses=documented(),
)
async def list_letters(
    engine: NamedDependency[AsyncEngine],
    *,
    in_state: LetterStateFilter = None,
    queue: QueueFilter = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> DeadLetters:
    """Messages that could not be used, each with its reason; the one that failed last first."""
    async with engine.connect() as connection:
        found, total = await queries.letters(
            connection, state=in_state, queue=queue, limit=limit, offset=offset
        )
    return DeadLetters(items=found, total=total, limit=limit, offset=offset)


@get(
    "/monitoring/dead-letters/{letter_id:uuid}",
    operation_id="GetDeadLetter",
    summary="One dead letter",
    responses=documented(404),
)
async def get_letter(
    engine: NamedDependency[AsyncEngine], settings: NamedDependency[Settings], letter_id: FromPath[UUID]
) -> WholeLetter:
    """A letter with its body and headers, and what stands against replaying it."""
    async with engine.connect() as connection:
        kept = await queries.find(connection, letter_id)
        if kept is None:
            raise NotFound("no such dead letter")
        against = await dead_letters.objection_to(connection, kept, _max_age(settings))
    body, encoding = _readable(kept.body)
    shown = msgspec.structs.asdict(kept) | {"body": body, "body_encoding": encoding, "objection": None}
    if against:
        shown["objection"] = ReplayObjection(code=against.code, sentence=against.sentence)
    return WholeLetter(**shown)


@post(
    "/monitoring/dead-letters/{letter_id:uuid}/replay",
    operation_id="ReplayDeadLetter",
    summary="Send a dead letter's message once more",
    status_code=200,
    responses=documented(404, 409, 413),
)
async def replay_letter(
    engine: NamedDependency[AsyncEngine],
    broker: NamedDependency[RabbitBroker],
    settings: NamedDependency[Settings],
    letter_id: FromPath[UUID],
    data: JSONBody[Settlement],
) -> DeadLetter:
    """Its queue holds the message again, the same bytes and headers, confirmed by the broker.

    At least once: where the answer is lost, the letter stays open though the message may be on its way. What
    still cannot be used comes back as another letter. 409 for what is too old to matter (`stale`), for hints
    between our own processes (`not_replayable`), where the queue does not exist (`queue_gone`), and for what
    is settled (`already_settled`).
    """
    return await dead_letters.replay(
        engine, broker, letter_id, actor=data.actor, reason=data.reason, max_age=_max_age(settings)
    )


@post(
    "/monitoring/dead-letters/{letter_id:uuid}/discard",
    operation_id="DiscardDeadLetter",
    summary="Put a dead letter away",
    status_code=200,
    responses=documented(404, 409, 413),
)
async def discard_letter(
    engine: NamedDependency[AsyncEngine], letter_id: FromPath[UUID], data: JSONBody[Settlement]
) -> DeadLetter:
    """The letter is settled and stays listed; 409 where it is settled already (`already_settled`)."""
    return await dead_letters.discard(engine, letter_id, actor=data.actor, reason=data.reason)


def _max_age(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.market_data_max_age_seconds)


def _readable(body: bytes) -> tuple[str, Literal["text", "base64"]]:
    try:
        return body.decode(), "text"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
