"""`flotilla state`, `signals` and `positions`: who may trade, what was sent, what is held."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from api.cli.options import Actor, AsJson, Limit, Reason, Strategy, Symbol, commands, connected
from api.cli.tables import Column, say, show, show_table, write_details, write_page, write_table
from api.cli.text import plain

states = commands("Trading states: who may trade, and who said so.")
signals = commands("Signals that were sent.")
positions = commands("Positions that the exit rules watch.")

Scope = Annotated[str, typer.Argument(help="A strategy, `fleet` (all entries) or `exits`.")]

_STATES = (
    Column("scope", "scope"),
    Column("state", "state"),
    Column("since", "changed_at"),
    Column("by", "actor"),
    Column("reason", "reason"),
)
_SIGNALS = (
    Column("at", "timestamp"),
    Column("signal", "signal_id"),
    Column("strategy", "strategy_id"),
    Column("symbol", "symbol"),
    Column("side", "side"),
    Column("amount", "amount_quote", right=True),
    Column("price", "price", right=True),
    Column(
        "by", lambda signal: plain(signal["model_version"] or ("warm-up" if signal["is_warmup"] else None))
    ),
)
_POSITIONS = (
    Column("symbol", "symbol"),
    Column("strategy", "strategy_id"),
    Column("side", "side"),
    Column("size", "size", right=True),
    Column("entry", "entry_price", right=True),
    Column("last", "last_price", right=True),
    Column("result %", "unrealized_pnl_pct", right=True),
    Column("stop", "stop_price", right=True),
    Column("opened at", "opened_at"),
    Column("closing", "latched_rule"),
)


@states.command("show")
def show_states(
    *,
    scope: Annotated[str | None, typer.Option(help="Changes of this scope alone.")] = None,
    limit: Limit = 10,
    as_json: AsJson = False,
) -> None:
    """What holds now, and how it came about."""
    answer = connected().get("trading-states", scope=_scope(scope) if scope else None, limit=limit)
    show(answer, as_json, _write_states)


@states.command("pause")
def pause(scope: Scope, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """HALTED: nothing is sent any more."""
    _set(scope, "HALTED", reason, actor, as_json)


@states.command("reduce")
def reduce(scope: Scope, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """REDUCING: only what makes a position smaller is sent."""
    _set(scope, "REDUCING", reason, actor, as_json)


@states.command("resume")
def resume(scope: Scope, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """ACTIVE: everything is sent again."""
    _set(scope, "ACTIVE", reason, actor, as_json)


@signals.command("list")
def list_signals(
    *,
    strategy: Strategy = None,
    symbol: Symbol = None,
    side: Annotated[Literal["buy", "sell"] | None, typer.Option(help="Only this side.")] = None,
    kind: Annotated[Literal["entry", "exit"] | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """The newest signals."""
    answer = connected().get(
        "signals", strategy_id=strategy, symbol=symbol, side=side, kind=kind, limit=limit
    )
    show_table(answer, as_json, _SIGNALS, "no signal was sent yet")


@signals.command("show")
def show_signal(
    signal: Annotated[UUID, typer.Argument(help="The signal's id.")], *, as_json: AsJson = False
) -> None:
    """A signal with everything that was weighed, and what became of it."""
    show(connected().get("signals", str(signal)), as_json, write_details)


@positions.command("list")
def list_positions(
    *,
    strategy: Strategy = None,
    symbol: Symbol = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that were closed.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """The positions that are watched."""
    answer = connected().get(
        "positions", strategy_id=strategy, symbol=symbol, is_open=not closed, limit=limit
    )
    show_table(answer, as_json, _POSITIONS, "no position is watched")


@positions.command("close")
def close(
    symbol: Annotated[str, typer.Argument(help="The symbol.")],
    *,
    reason: Reason,
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Has all of a position closed now."""
    answer = connected().post("positions", symbol.upper(), "close", body={"reason": reason, "actor": actor})
    show(
        answer, as_json, lambda said: say(plain(f"{said['symbol']} is being closed: {said['close_reason']}"))
    )


def _set(scope: str, state: str, reason: str, actor: str, as_json: bool) -> None:
    body = {"state": state, "actor": actor, "reason": reason}
    answer = connected().put("trading-states", _scope(scope), body=body)
    show(answer, as_json, lambda said: say(plain(f"{said['scope']} is {said['state']}: {said['reason']}")))


def _scope(said: str) -> str:
    return said if said in ("fleet", "exits") or said.startswith("strategy:") else f"strategy:{said}"


def _write_states(found: Mapping[str, Any]) -> None:
    write_page(found, _STATES, f"nothing is stored: {plain(found['initial'])} holds (TRADING_STATE_INITIAL)")
    if found["changes"]:
        say("\nchanges")
        write_table(found["changes"], _STATES)
