"""The exit rules in force, one by one, as an operator reads them."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from common.core.exits.rules import (
    DECAY_STARTS,
    OPERATOR,
    PACED,
    PRIORITY,
    RULES,
    SMALLEST_TARGET_SHARE,
    Rules,
)

Parameters = Mapping[str, Any]

_HOUR = timedelta(hours=1)


class RuleInForce(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: whether it is evaluated, and with which figures."""

    name: str
    """As verdicts and exits name it."""
    enabled: bool
    """Off: it never fires."""
    priority: int
    """Of the rules that fire the highest wins."""
    is_paced: bool
    """Whether it waits for debounce, cooldown and rate limit; stops never do."""
    parameters: dict[str, Any]
    """Percent of the entry, quote currency, hours, as their names say; empty while it is off."""


def in_force(rules: Rules) -> list[RuleInForce]:
    """Every rule in order of evaluation."""
    parameters = _parameters(rules)
    return [
        RuleInForce(
            name=name,
            enabled=name in parameters,
            priority=PRIORITY[name],
            is_paced=name in PACED,
            parameters=dict(parameters.get(name, {})),
        )
        for name in RULES
    ]


# By rule; one that is off is not in it. An operator's close works whatever is configured.
def _parameters(rules: Rules) -> dict[str, Parameters]:
    found: dict[str, Parameters] = {OPERATOR: {}}
    if rules.version is not None:
        found["kept_stop"] = {}
    if rules.stop_loss is not None:
        found["stop_loss"] = _figures(rules.stop_loss)
    if rules.trailing_stop is not None:
        found["trailing_stop"] = _figures(rules.trailing_stop)
    if rules.take_profit is not None:
        found["take_profit"] = _figures(rules.take_profit)
    if rules.time_limit is not None:
        max_hours = rules.time_limit.max_hold / _HOUR
        found["max_hold"] = {"max_hours": max_hours}
        found["decaying_target"] = {
            "profit_target_pct": _figure(rules.time_limit.profit_target_pct),
            "smallest_target_pct": _figure(rules.time_limit.profit_target_pct * SMALLEST_TARGET_SHARE),
            "begins_after_hours": DECAY_STARTS / _HOUR,
            "max_hours": max_hours,
        }
    return found


def _figures(rule: msgspec.Struct) -> Parameters:
    return {name: _figure(value) for name, value in msgspec.structs.asdict(rule).items()}


def _figure(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, tuple):
        return [_figures(each) for each in value]
    return value
