"""`flotilla` and its groups, and the questions that are asked first: why, alerts, health."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from api.cli import config, letters, models, trading, training
from api.cli.options import AsJson, Limit, Strategy, commands, connected
from api.cli.service import ExitCode, Failed
from api.cli.tables import Column, say, show, show_table, write_table
from api.cli.text import plain
from api.cli.why import why as explained

app = commands(
    "The fleet over REST. FLOTILLA_URL says where the API is (http://127.0.0.1:4500), MODEL_SERVICE_API_KEY"
    " or MODEL_SERVICE_API_KEY_FILE with which key. Exit codes: 0 done, 1 refused, 2 wrong usage,"
    " 3 not reachable, 4 key missing or refused, 5 what was asked for is not well."
)
app.add_typer(models.group, name="models")
app.add_typer(training.group, name="training")
app.add_typer(trading.states, name="state")
app.add_typer(trading.signals, name="signals")
app.add_typer(trading.positions, name="positions")
app.add_typer(letters.group, name="dlq")
app.add_typer(config.group, name="config")

_ALERTS = (
    Column("severity", "severity"),
    Column("kind", "kind"),
    Column("scope", "scope"),
    Column("since", "raised_at"),
    Column("seen", "sightings", right=True),
    Column("over", "resolved_at"),
    Column("sentence", "sentence"),
)
_CHECKS = (
    Column("check", "name"),
    Column("state", "state"),
    Column("ms", "latency_ms", right=True),
    Column("message", "message"),
)


@app.command("why")
def why(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT.")],
    *,
    strategy: Strategy = None,
    as_json: AsJson = False,
) -> None:
    """Why there is no trade now: the newest decision of each strategy, with the figures that decided."""
    wanted = symbol.upper()
    answer = connected().get("monitoring", "outcomes", symbol=wanted, strategy_id=strategy)
    show(answer, as_json, lambda found: say(_explained(found["items"], wanted)))


@app.command("alerts")
def alerts(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """What somebody should look at."""
    answer = connected().get("monitoring", "alerts", only_open=not everything, limit=limit)
    show_table(answer, as_json, _ALERTS, "no alert")


@app.command("health")
def health(*, as_json: AsJson = False) -> None:
    """How the fleet is; exit code 5 where it is unhealthy."""
    answer = connected().get("monitoring", "health")
    show(answer, as_json, _write_health)
    if answer.value["status"] == "unhealthy":
        raise Failed("the API is unhealthy", ExitCode.NOT_WELL)


def _explained(outcomes: Sequence[Mapping[str, Any]], symbol: str) -> str:
    now = datetime.now(UTC)
    if not outcomes:
        return plain(f"nothing was decided on {symbol} yet: no vector of it came, or no strategy trades it")
    return "\n\n".join(explained(outcome, now) for outcome in outcomes)


def _write_health(found: Mapping[str, Any]) -> None:
    replicas, storage = found["replicas"], found["model_storage"]
    say(plain(f"{found['service']} is {found['status']}"))
    if replicas is not None:
        say(f"replicas: {replicas['alive']} alive, {replicas['lagging']} of them lagging")
        say(f"open alerts: {found['open_alerts']}, open dead letters: {found['dead_letters_open']}")
    free = storage["free_bytes"]
    room = f", {free / 1e9:.1f} GB free" if free is not None else ""
    say(plain(f"model storage: {storage['path']}{room}"))
    write_table(found["checks"], _CHECKS)
