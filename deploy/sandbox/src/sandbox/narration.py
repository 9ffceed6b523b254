"""What the demo says: log lines, exits and order rows as sentences a person can follow."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.markup import escape

from sandbox.story import EARNED, ExitSent, OrderResult, VersionTold

QUIET_S = 15.0
"""The same skip of a symbol is told again only after so long."""

# Warnings that belong to a start in any order.
_EXPECTED = frozenset({"dependency unavailable"})
_TRAINER_STORY = frozenset(
    {
        "training requested",
        "dataset requested",
        "dataset ready",
        "training started",
        "training succeeded",
        "training rejected",
        "training failed",
    }
)
_TRAINER_KEYS = ("symbol", "trigger", "version", "reason")


class Narrator:
    """Tells what the services log and what became of the orders."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._skips_told: dict[tuple[str, str], datetime] = {}
        self._verdicts_told: set[str] = set()
        self._exits_told: set[UUID] = set()

    def step(self, text: str) -> None:
        """Something that the set-up does."""
        self._console.print(f"[dim]· {escape(text)}[/dim]")

    def happened(self, now: datetime, who: str, text: str) -> None:
        """Something that `who` did or met with; `text` is rich's markup."""
        self._say(now, who, text)

    def service_line(self, name: str, line: str, now: datetime) -> str | None:
        """A line that a service wrote, told where a person wants to know it; returns its event."""
        try:
            event = json.loads(line)
        except ValueError:
            self._say(now, name, escape(line), style="dim")
            return None
        self._event(name, event, now)
        return str(event.get("event"))

    def _event(self, name: str, event: Mapping[str, Any], now: datetime) -> None:
        match event.get("event"):
            case "signal emitted":
                self._say(now, event["symbol"], _emitted(event))
            case "signal skipped":
                self._skip(event, now)
            case "version swapped" | "version loaded":
                self._say(now, name, f"[bold green]hot reload: {event['version']} serves now[/bold green]")
            case phrase if phrase in _TRAINER_STORY:
                details = "  ".join(f"{k}={event[k]}" for k in _TRAINER_KEYS if event.get(k) is not None)
                self._say(now, name, f"[blue]{escape(str(phrase))}[/blue] [dim]{escape(details)[:160]}[/dim]")
            case "service ready":
                self._say(now, name, "[green]ready[/green]")
            case phrase if event.get("level") in {"warning", "error", "critical"} and phrase not in _EXPECTED:
                why = event.get("reason") or event.get("exception") or ""
                self._say(now, name, f"[yellow]{escape(str(phrase))}[/yellow] {escape(str(why))[:160]}")

    def verdicts(self, versions: Iterable[VersionTold], now: datetime) -> None:
        """Every version's verdict, once, in its own sentence."""
        for version in versions:
            if version.version not in self._verdicts_told:
                self._verdicts_told.add(version.version)
                colour = "green" if version.verdict == EARNED else "yellow"
                name = f"[bold {colour}]{version.version}[/bold {colour}]"
                self._say(now, "promotion", f"{name} {escape(version.sentence or '')}")

    def exits(self, sent: Iterable[ExitSent], now: datetime) -> None:
        """Every exit signal, once: its rule, price and profit, and how much of what it closes."""
        for each in sent:
            if each.signal_id in self._exits_told:
                continue
            self._exits_told.add(each.signal_id)
            level = "" if each.level is None else f", level {_price(each.level)}"
            self._say(
                now,
                each.symbol,
                f"{_price(each.price)}  [bold]EXIT {each.rule}[/bold] at {each.pnl_pct:+.2f} %{level},"
                f" {_plain(each.size)} of {_plain(each.live_size)} [dim]({each.strategy_id})[/dim]",
            )

    def order(self, order: OrderResult, now: datetime) -> None:
        """What became of an order."""
        match order.status:
            case "filled" | "partially_filled":
                text = (
                    f"[green]{order.status.replace('_', ' ')}[/green] {_plain(order.filled_quantity)}"
                    f" of {_plain(order.quantity)} at {_price(order.average_price)}"
                    f" [dim]({order.order_type.lower()}, fee {_plain(order.fees, 4)})[/dim]"
                )
            case "rejected":
                text = f"[red]rejected[/red] {escape(order.rejection_reason or '')}"
            case "cancelled":
                text = (
                    f"[yellow]cancelled[/yellow] [dim]{_plain(order.filled_quantity)} of it had filled[/dim]"
                )
            case _ if order.order_type == "Limit":
                text = f"[dim]resting at {_price(order.price)} for {_plain(order.quantity)}[/dim]"
            case _:
                return
        self._say(now, order.asset, f"       order {text}")

    def _skip(self, event: Mapping[str, Any], now: datetime) -> None:
        key = (event["symbol"], event["reason"])
        told = self._skips_told.get(key)
        if told is None or (now - told).total_seconds() > QUIET_S:
            self._skips_told[key] = now
            price = f"{_price(event.get('price'))}  " if event.get("price") else ""
            self._say(now, event["symbol"], f"{price}[dim]no signal:[/dim] {event['reason']}")

    def _say(self, now: datetime, who: str, text: str, style: str | None = None) -> None:
        self._console.print(f"[dim]{now:%H:%M:%S}[/dim]  {who:<13} {text}", style=style)


def _emitted(event: Mapping[str, Any]) -> str:
    colour = "cyan" if event["side"] == "buy" else "magenta"
    kind = "warm-up" if event.get("is_warmup") else "model"
    side = f"[{colour}]{event['side'].upper():<4}[/{colour}]"
    return f"{_price(event['price'])}  {side} {event['amount']:.2f} USDT [dim]({kind} signal)[/dim]"


def _price(value: float | Decimal | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.2f}" if value >= 100 else f"{value:.6g}"


def _plain(value: Decimal | None, places: int = 8) -> str:
    return "?" if value is None else f"{value:.{places}f}".rstrip("0").rstrip(".")
