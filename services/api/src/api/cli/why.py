"""Why there is no trade now: a reason and its gate's figures, in sentences.

A reason that the table does not know (of a newer inference) is shown by its name, with all its figures.
"""

import string
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.cli.text import flattened, plain, printable, read_instant, span

QUIET_S = 60.0
"""A strategy that decides makes an outcome a second; after so long without one something stands still."""

_SIDES = {"1": "up", "-1": "down"}

SENTENCES: Mapping[str, tuple[str, str]] = {
    "trading_halted": ("Trading is HALTED: nothing is sent.", ""),
    "trading_reducing": ("Trading is REDUCING: only what makes a position smaller is sent.", ""),
    "warmup_disabled": ("It has no model, and WARMUP_MODE_ENABLED is off.", ""),
    "not_selected": ("AUTO_SELECT_ASSETS leaves the symbol out: the balances do not allow it.", ""),
    "take_profit_due": (
        "The position is above its target and should be closed: nothing is added to it.",
        "{problem}.",
    ),
    "take_profit_triggered": ("The position was above its target: its exit was sent instead.", ""),
    "vector_stale": ("The features are too old.", "They are {age_s} s old, {limit_s} s are allowed."),
    "vector_from_future": (
        "The features are stamped later than now: a clock is wrong.",
        "They are {ahead_s} s ahead, {limit_s} s are allowed.",
    ),
    "vector_superseded": (
        "Newer features of the symbol were seen already.",
        "These are {behind_s} s behind them.",
    ),
    "not_finite": ("A feature is NaN or infinite.", "It concerns {features}."),
    "market_frozen": (
        "Nothing but the clock moves in the features: the market's feed stands still, or has just begun.",
        "They have not changed for {unchanged_s} s.",
    ),
    "no_vector": ("No features came in the warm-up's time slot.", "The slot began at {slot}."),
    "no_price": (
        "The features carry no positive price or no depth, and no price is invented.",
        "Price {price}, depth {depth}.",
    ),
    "no_direction": ("The returns are missing or point nowhere, and no side is made up.", ""),
    "model_unavailable": ("Its model cannot be loaded, and no older one serves.", "{problem}."),
    "model_of_another_symbol": (
        "Its model was trained on another symbol.",
        "{version} knows {model_symbol} only.",
    ),
    "registry_mismatch": (
        "The features are of another registry version than the model's.",
        "They are of {vector}, {version} was trained on {model}.",
    ),
    "features_missing": ("The features lack what the model needs.", "Missing: {missing}."),
    "hold": (
        "No side is probable enough, or leads the other by enough: the model's answer is to wait.",
        "The likelier side is {side}: {probability}, {lead} more than the other; {threshold} is asked for.",
    ),
    "hold_costs": (
        "The move that the model expects does not exceed what entry and exit cost.",
        "It expects {expected_move}, the costs are {round_trip_cost}.",
    ),
    "class_returns_unknown": (
        "SIGNAL_COST_AWARE asks what the model's classes are worth, and its manifest does not say it.",
        "",
    ),
    "warmup_slot_taken": ("The fleet used this time slot of WARMUP_SIGNAL_FREQUENCY already.", ""),
    "vector_already_decided": ("These features gave a signal already.", "It is {signal_id}."),
    "newer_signal_exists": ("Newer features gave a signal already.", "Those of {newest_emitted}."),
    "open_order": ("An order of the symbol is still open.", "{orders}."),
    "exit_in_flight": ("The position is being closed: an entry would cancel the exit's order.", ""),
    "signal_in_flight": (
        "The symbol's previous signal has no answer of the Order Manager yet.",
        "It was sent {since_s} s ago.",
    ),
    "position_unknown": ("The position is not known, and no entry is made blind.", "{problem}."),
    "would_open_short": ("There is nothing to sell: it would open a short.", "Held: {held_quote}."),
    "balance_unknown": ("No balance of the currency is stored.", ""),
    "balance_stale": (
        "The newest balance is too old to be relied on.",
        "It is {age_s} s old, {limit_s} s are allowed.",
    ),
    "balance_too_small": (
        "What is free after margin, reservations and fees is below the minimum order.",
        "Of {available_quote}, {reserved_quote} are on their way to orders; {affordable_quote} can be spent.",
    ),
    "position_limit": (
        "MODEL_SERVICE_MAX_POSITION_SIZE_RATIO leaves less room for the symbol than the minimum order.",
        "It holds {held_quote} of {exposure_quote}, a ratio of {position_size_norm}; {limit} is the limit.",
    ),
    "hourly_notional_used": (
        "MAX_NOTIONAL_PER_HOUR leaves less than the minimum order.",
        "{left_quote} of {limit_quote} are left.",
    ),
    "below_minimum_order": (
        "The amount is below the instrument's minimum.",
        "It is {amount_quote}, {minimum} are the minimum.",
    ),
    "rate_limited": (
        "SIGNAL_GENERATION_RATE_LIMIT and its burst are used up over the fleet.",
        "{tokens} of the token that a signal needs are there.",
    ),
    "expired": ("It could not be sent before its validity ended.", "{left_s} s were left."),
    "database_unavailable": ("State, orders or balances could not be read: entries stop.", "{error}."),
    "decision_failed": (
        "The decision itself raised an error: a defect, or a model that cannot answer.",
        "{error}.",
    ),
}
"""By reason: what it means, and what its figures say where all of them are there."""


def why(outcome: Mapping[str, Any], now: datetime) -> str:
    """The newest decision of a strategy and symbol, its reason and figures, as a paragraph."""
    facts: Mapping[str, Any] = outcome.get("facts") or {}
    who = f"{outcome['strategy_id']} on {outcome['symbol']}"
    by = outcome.get("version") or "warm-up"
    decided_at = read_instant(outcome["decided_at"])
    age_s = (now - decided_at).total_seconds() if decided_at else 0.0
    if outcome["outcome"] == "signal":
        head, lines = f"{who}: a signal {span(age_s)} ago, by {by}.", _of_signal(facts)
    else:
        reason = outcome.get("reason") or "unknown"
        head, lines = f"{who}: no signal {span(age_s)} ago, {reason} ({by}).", _of_skip(reason, facts)
    if age_s > QUIET_S:
        lines.append(
            "Nothing was decided since: either no features come, or no inference worker runs"
            " (see `flotilla health`)."
        )
    return "\n".join(map(printable, [head, *(f"  {line}" for line in lines)]))


def _of_signal(facts: Mapping[str, Any]) -> list[str]:
    said = "{side} for {amount} at {price}, confidence {confidence}."
    lines = [found] if (found := _filled(said, facts)) else []
    return [*lines, plain(facts["reasoning"])] if facts.get("reasoning") else lines


def _of_skip(reason: str, facts: Mapping[str, Any]) -> list[str]:
    meaning, figures = SENTENCES.get(reason, ("", ""))
    lines = [meaning] if meaning else []
    told = _filled(figures, {**facts, **_likelier(facts)}) if figures else None
    if told:
        lines.append(told)
    named = {name for _, name, _, _ in string.Formatter().parse(figures) if name} if told else set()
    left = {name: each for name, each in facts.items() if name not in named}
    if left:
        lines.append("; ".join(f"{name} {plain(each)}" for name, each in flattened(left).items()))
    return lines


def _likelier(facts: Mapping[str, Any]) -> dict[str, object]:
    known = facts.get("probabilities")
    sides = {label: p for label, p in known.items() if label in _SIDES} if isinstance(known, dict) else {}
    if not sides:
        return {}
    label = max(sides, key=lambda each: sides[each])
    return {"side": _SIDES[label], "probability": sides[label]}


# None: a figure that the sentence is about is not there.
def _filled(sentence: str, facts: Mapping[str, Any]) -> str | None:
    names = [name for _, name, _, _ in string.Formatter().parse(sentence) if name]
    if any(facts.get(name) in (None, [], "") for name in names):
        return None
    return sentence.format(**{name: _said(facts[name]) for name in names})


def _said(value: object) -> str:
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return "; ".join(" ".join(map(plain, each.values())) for each in value)
    return plain(value)
