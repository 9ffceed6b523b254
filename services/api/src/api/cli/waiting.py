"""Waiting for a run: a progress bar on a terminal, a line a change anywhere else, both on stderr."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import typer

from api.cli.service import Answer, ExitCode, Failed, Service
from api.cli.text import plain

ENDED = frozenset({"succeeded", "rejected", "failed", "cancelled"})
POLL_S = 1.0
PATIENCE_S = 120.0
"""An API that is restarted meanwhile ends no waiting before this."""
_STEPS = ("requested", "building", "ready", "fetch", "read", "fit", "evaluate", "export")
_INTERRUPTED = 130


def wait_for(service: Service, run_id: str, *, poll_s: float = POLL_S) -> Answer:
    """The run as it ended. Ctrl-C leaves it running. Raises Failed where the API is away for long."""
    try:
        return (
            _on_terminal(service, run_id, poll_s)
            if sys.stderr.isatty()
            else _plainly(service, run_id, poll_s)
        )
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"flotilla: run {run_id} goes on; `flotilla training show {run_id} --wait`\n")
        raise typer.Exit(_INTERRUPTED) from interrupt


def step(run: Mapping[str, Any]) -> tuple[int, str]:
    """How many steps of STEPS a run has behind it, and what it does now."""
    state, progress = run["state"], run["progress"] or {}
    if state in ENDED:
        return len(_STEPS), state
    stage = progress.get("stage", "fetch") if state == "running" else state
    behind = _STEPS.index(stage) if stage in _STEPS else _STEPS.index("fetch")
    at_round = f", round {progress['round']}" if stage == "fit" and "round" in progress else ""
    return behind, plain(f"{stage}{at_round}")


def _plainly(service: Service, run_id: str, poll_s: float) -> Answer:
    said = ""
    while True:
        answer = _asked(service, run_id, poll_s)
        now = step(answer.value)[1].partition(",")[0]
        if now != said:
            sys.stderr.write(f"{now}\n")
            sys.stderr.flush()
            said = now
        if answer.value["state"] in ENDED:
            return answer
        time.sleep(poll_s)


def _on_terminal(service: Service, run_id: str, poll_s: float) -> Answer:
    from rich.console import Console  # noqa: PLC0415 - only where somebody waits
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    bar = Progress(
        TextColumn("{task.fields[doing]}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=len(_STEPS), doing="asked for")
        while True:
            answer = _asked(service, run_id, poll_s)
            behind, doing = step(answer.value)
            bar.update(task, completed=behind, doing=doing)
            if answer.value["state"] in ENDED:
                return answer
            time.sleep(poll_s)


def _asked(service: Service, run_id: str, poll_s: float) -> Answer:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return service.get("training", "runs", run_id)
        except Failed as error:
            if error.exit_code is not ExitCode.NOT_REACHABLE or time.monotonic() > deadline:
                raise
            time.sleep(poll_s)
