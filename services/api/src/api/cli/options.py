"""Options that several commands share, and the service that they all ask."""

import getpass
import os
from typing import Annotated

import typer

from api.cli.service import Service, service


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "cli"


AsJson = Annotated[bool, typer.Option("--json", help="The API's answer, exactly as it came.")]
Strategy = Annotated[str | None, typer.Option(help="Only this strategy's.")]
Symbol = Annotated[
    str | None, typer.Option(help="Only this symbol's.", callback=lambda said: said and said.upper())
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")]
Offset = Annotated[int, typer.Option(min=0, help="Rows to skip.")]
Reason = Annotated[str, typer.Option(help="Why; kept with what is changed.")]
Force = Annotated[bool, typer.Option("--force", help="Also where the verdict does not speak for it.")]
ExpectedEpoch = Annotated[
    int | None, typer.Option(min=0, help="Only while the strategy stands at this epoch.")
]
Actor = Annotated[
    str, typer.Option(envvar="FLOTILLA_ACTOR", default_factory=_login, help="Who asks; kept with the reason.")
]


def connected() -> Service:
    """The API that the environment names. Raises Failed."""
    return service(os.environ)


def commands(help_text: str) -> typer.Typer:
    """A group of commands; called without one it shows which there are."""
    return typer.Typer(
        help=help_text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
