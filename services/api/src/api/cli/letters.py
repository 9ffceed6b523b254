"""`flotilla dlq`: messages that no service could use, to read, send once more, or put away."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from api.cli.options import Actor, AsJson, Limit, Offset, Reason, commands, connected
from api.cli.service import Answer
from api.cli.tables import Column, say, show, show_table, write_details
from api.cli.text import plain

group = commands("Dead letters: messages that could not be used.")

Letter = Annotated[UUID, typer.Argument(help="The letter's id.")]

_LETTERS = (
    Column("letter", "letter_id"),
    Column("state", "state"),
    Column("failed at", "failed_at"),
    Column("queue", "queue"),
    Column("service", "service"),
    Column("bytes", "size_bytes", right=True),
    Column("reason", "reason"),
)


@group.command("list")
def list_letters(
    *,
    state: Annotated[
        Literal["open", "replayed", "discarded", "all"], typer.Option(help="Which of them.")
    ] = "open",
    queue: Annotated[str | None, typer.Option(help="Only this queue's.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """The letters, the one that failed last first."""
    answer = connected().get(
        "monitoring",
        "dead-letters",
        state=None if state == "all" else state,
        queue=queue,
        limit=limit,
        offset=offset,
    )
    show_table(answer, as_json, _LETTERS, "no dead letter")


@group.command("show")
def show_letter(letter: Letter, *, as_json: AsJson = False) -> None:
    """A letter with its message, and what stands against replaying it."""
    show(connected().get("monitoring", "dead-letters", str(letter)), as_json, write_details)


@group.command("replay")
def replay(letter: Letter, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Sends a letter's message once more, to the queue that it came from."""
    _show_settled(_settled(letter, "replay", reason, actor), as_json)


@group.command("discard")
def discard(letter: Letter, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Puts a letter away; it stays listed."""
    _show_settled(_settled(letter, "discard", reason, actor), as_json)


def _settled(letter: UUID, command: str, reason: str, actor: str) -> Answer:
    body = {"reason": reason, "actor": actor}
    return connected().post("monitoring", "dead-letters", str(letter), command, body=body)


def _show_settled(answer: Answer, as_json: bool) -> None:
    show(answer, as_json, lambda letter: say(_said(letter)))


def _said(letter: Mapping[str, Any]) -> str:
    return plain(f"letter {letter['letter_id']} of {letter['queue'] or 'a fan-out'} {letter['state']}")
