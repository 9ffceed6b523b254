"""`flotilla config`: the environment, looked at before anything is started. It asks no API."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import commands

group = commands("The settings of the fleet.")


@group.callback()
def settings() -> None:
    """Keeps `check` a command of its own while it is the only one."""


@group.command("check")
def check(
    *,
    preset: Annotated[str | None, typer.Option(help="paper or platform: what the fleet is for.")] = None,
    service: Annotated[str | None, typer.Option(help="Only this service's settings.")] = None,
    env_file: Annotated[
        list[Path] | None, typer.Option(help="A file of NAME=value; again for more, later ones win.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What is wrong with the environment and with files of it; exit code 1 where a service would suffer.

    Every service that is installed here is looked at. Directories and files of secrets are looked for on
    this machine: run it where the services run.
    """
    named = {"--preset": preset, "--service": service}
    arguments = [text for option, value in named.items() if value for text in (option, value)]
    arguments += [text for path in env_file or () for text in ("--env-file", str(path))]
    # A process of its own: the settings of services are theirs, the command line knows none of them.
    command = [sys.executable, "-m", "common.configuration", *arguments, *["--json"] * as_json]
    done = subprocess.run(command, check=False)  # noqa: S603 - arguments, no shell
    raise typer.Exit(done.returncode)
