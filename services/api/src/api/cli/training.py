"""`flotilla training`: ask for a model, see how far it is, call it off."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from api.cli.options import Actor, AsJson, Limit, Offset, Reason, Strategy, commands, connected
from api.cli.service import ExitCode, Failed, Service
from api.cli.tables import Column, say, show, show_table, write_details, write_table
from api.cli.text import NONE, percent, plain, span
from api.cli.waiting import wait_for

group = commands("Trainings: trigger, follow, cancel.")

Run = Annotated[UUID, typer.Argument(help="The run's id.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until the run ends; exit code 5 where it fails.")]
State = Annotated[
    Literal["requested", "building", "ready", "running", "succeeded", "rejected", "failed", "cancelled"]
    | None,
    typer.Option(help="Only runs that stand there."),
]

_RUNS = (
    Column("run", "run_id"),
    Column("strategy", "strategy_id"),
    Column("symbol", "symbol"),
    Column("state", "state"),
    Column("trigger", "trigger"),
    Column("requested at", "requested_at"),
    Column("version", "version"),
    Column("reason", "reason"),
)
_STRATEGIES = (
    Column("strategy", "strategy_id"),
    Column("training", "is_training"),
    Column("queued", "queued", right=True),
    Column("last", lambda row: plain((row["last_training"] or {}).get("state"))),
    Column("next by itself", "next_scheduled_training"),
)
_SCHEDULE = (
    Column("strategy", "strategy_id"),
    Column("last", "last_trained_at"),
    Column("next", lambda row: plain(next(iter(row["next_at"]), None))),
    Column("because", "reason"),
)


@group.command("trigger")
def trigger(
    *,
    actor: Actor,
    strategy: Annotated[str | None, typer.Option(help="Without: the first one.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Without: the strategy's first one.")] = None,
    priority: Annotated[Literal["CRITICAL", "HIGH", "NORMAL"], typer.Option(help="Its turn.")] = "HIGH",
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: sent again, the same run answers.")
    ] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Asks for a new model."""
    service = connected()
    answer = service.post(
        "training",
        "trigger",
        body={
            "strategy_id": strategy,
            "symbol": symbol.upper() if symbol else None,
            "priority": priority,
            "actor": actor,
        },
        headers={"Idempotency-Key": key} if key else None,
    )
    if wait:
        _follow(service, answer.value["run_id"], as_json)
    else:
        show(answer, as_json, lambda said: say(plain(f"{said['message']}: run {said['run_id']}")))


@group.command("runs")
def list_runs(
    *,
    strategy: Strategy = None,
    state: State = None,
    limit: Limit = 20,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """The runs, the one that was requested last first."""
    answer = connected().get(
        "training", "runs", strategy_id=strategy, state=state, limit=limit, offset=offset
    )
    show_table(answer, as_json, _RUNS, "no training was requested yet")


@group.command("show")
def show_run(run: Run, *, wait: Wait = False, as_json: AsJson = False) -> None:
    """A run with its progress and figures."""
    service = connected()
    if wait:
        _follow(service, str(run), as_json)
    else:
        show(service.get("training", "runs", str(run)), as_json, write_details)


@group.command("cancel")
def cancel(run: Run, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Calls a run off, wherever it stands."""
    answer = connected().post("training", "runs", str(run), "cancel", body={"reason": reason, "actor": actor})
    show(answer, as_json, lambda said: say(_ended(said)))


@group.command("status")
def status(*, strategy: Strategy = None, as_json: AsJson = False) -> None:
    """What is being trained, what waits, how runs ended."""
    show(connected().get("training", "status", strategy_id=strategy), as_json, _write_status)


@group.command("schedule")
def schedule(*, as_json: AsJson = False) -> None:
    """When each strategy is trained again by itself."""
    show_table(connected().get("training", "schedule"), as_json, _SCHEDULE, "no strategy")


def _follow(service: Service, run_id: str, as_json: bool) -> None:
    answer = wait_for(service, run_id)
    show(answer, as_json, lambda run: say(_ended(run)))
    if answer.value["state"] != "succeeded":
        raise Failed(_ended(answer.value), ExitCode.NOT_WELL)


def _ended(run: Mapping[str, Any]) -> str:
    of = f"run {run['run_id']} of {run['strategy_id']} on {run['symbol']}"
    came = f", version {run['version']}" if run.get("version") else ""
    because = f": {run['reason']}" if run.get("reason") else ""
    return plain(f"{of} {run['state']}{came}{because}")


def _write_status(status: Mapping[str, Any]) -> None:
    current, wait_s = status["current_training"], status["queue_wait_time_seconds"]
    if current:
        say(plain(f"training {current['strategy_id']} on {current['symbol']}, run {current['run_id']}"))
    waits = f", the next one for {span(wait_s)}" if wait_s is not None else ""
    say(f"{status['queue_size']} waiting{waits}; {status['pending_dataset_builds']} datasets being built")
    share = status["metrics"].get("success_rate")
    say(f"ended with a version: {percent(share) if share is not None else NONE}")
    if status["strategies"]:
        write_table(status["strategies"], _STRATEGIES)
