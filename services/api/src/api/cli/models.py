"""`flotilla models`: which versions there are, how good they are, and which one trades."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.options import (
    Actor,
    AsJson,
    ExpectedEpoch,
    Force,
    Limit,
    Offset,
    Reason,
    Strategy,
    commands,
    connected,
)
from api.cli.service import Answer
from api.cli.tables import Column, say, show, show_table, write_details, write_table
from api.cli.text import plain

group = commands("Versions of models: list, judge, activate.")

Version = Annotated[str, typer.Argument(help="Such as v12.")]
OptionalReason = Annotated[str | None, typer.Option(help="Why; kept with the activation, --force needs it.")]

_VERSIONS = (
    Column("version", "version"),
    Column("strategy", "strategy_id"),
    Column("active", "is_active"),
    Column("type", "model_type"),
    Column("trained at", "trained_at"),
    Column("rows", "training_dataset_size", right=True),
    Column("verdict", "verdict"),
)
_COMPARED = (
    Column("figure", "metric_name"),
    Column("split", "dataset_split"),
    Column("left", "left", right=True),
    Column("right", "right", right=True),
    Column("difference", "difference", right=True),
    Column("better", "better"),
)
_ACTIVATIONS = (
    Column("epoch", "epoch", right=True),
    Column("version", lambda entry: plain(entry["version"] or "warm-up")),
    Column("at", "activated_at"),
    Column("by", "actor"),
    Column("reason", "reason"),
)


@group.command("list")
def list_models(
    *,
    strategy: Strategy = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only these.")] = None,
    model_type: Annotated[str | None, typer.Option("--type", help="Only versions of this type.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="Such as -trained_at (the newest first) or version.")
    ] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """The versions, the newest training first."""
    answer = connected().get(
        "models",
        strategy_id=strategy,
        is_active=active,
        model_type=model_type,
        sort=sort,
        limit=limit,
        offset=offset,
    )
    show_table(answer, as_json, _VERSIONS, "no version")


@group.command("show")
def show_model(version: Version, *, as_json: AsJson = False) -> None:
    """A version with its figures, verdict, lineage and files."""
    show(connected().get("models", version), as_json, _write_version)


@group.command("activate")
def activate(
    version: Version,
    *,
    actor: Actor,
    reason: OptionalReason = None,
    force: Force = False,
    strategy: Annotated[str | None, typer.Option(help="Has to be the version's own.")] = None,
    expected_epoch: ExpectedEpoch = None,
    as_json: AsJson = False,
) -> None:
    """Puts a version to work, in every worker."""
    body = {
        "strategy_id": strategy,
        "force": force,
        "reason": reason,
        "expected_epoch": expected_epoch,
        "actor": actor,
    }
    _say_active(connected().post("models", version, "activate", body=body), as_json)


@group.command("rollback")
def roll_back(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    *,
    reason: Reason,
    actor: Actor,
    to: Annotated[str | None, typer.Option(help="The version; without, the one before.")] = None,
    force: Force = False,
    expected_epoch: ExpectedEpoch = None,
    as_json: AsJson = False,
) -> None:
    """Goes back to an earlier version of a strategy."""
    body = {"reason": reason, "to": to, "force": force, "expected_epoch": expected_epoch, "actor": actor}
    _say_active(connected().post("strategies", strategy, "rollback", body=body), as_json)


@group.command("history")
def history(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    *,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """What a strategy traded with, and who decided so."""
    answer = connected().get("strategies", strategy, "activations", limit=limit)
    show_table(answer, as_json, _ACTIVATIONS, "no version was ever activated")


@group.command("compare")
def compare(left: Version, right: Version, *, as_json: AsJson = False) -> None:
    """Two versions side by side."""
    show(connected().get("models", left, "compare", right), as_json, _write_comparison)


def _say_active(answer: Answer, as_json: bool) -> None:
    show(answer, as_json, lambda active: say(_active(active)))


def _active(active: Mapping[str, Any]) -> str:
    verb = "trades with" if active["changed"] else "traded already with"
    return plain(f"{active['strategy_id']} {verb} {active['version']}, epoch {active['epoch']}")


def _write_version(version: Mapping[str, Any]) -> None:
    write_details(version, leave_out=["id", "evidence", "training_config", "is_warmup_mode"])


def _write_comparison(compared: Mapping[str, Any]) -> None:
    left, right = (each["version"] for each in compared["versions"])
    same = (
        "of the same dataset"
        if compared["same_dataset"]
        else "of different rows: small differences say nothing"
    )
    say(f"left {plain(left)}, right {plain(right)}, {same}")
    for each in compared["verdicts"]:
        say(f"{plain(each['version'])}: {plain(each['verdict_sentence'] or each['verdict'] or 'no verdict')}")
    if compared["metrics"]:
        write_table(compared["metrics"], _COMPARED)
