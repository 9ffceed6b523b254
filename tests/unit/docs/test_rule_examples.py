"""Decides whether the examples of docs/adding-a-rule.md do what the page says of them."""

import math
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.exit_strategy.book import START, long, rules, short, sl
from tests.unit.inference.cases import case, vector

from common.core.exits.rules import look_at
from inference.core.reasons import Reason

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adding-a-rule.md"
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("position", "price", "held", "fires"),
    [
        (long(), "99", DAY, True),
        (long(), "99", DAY - SECOND, False),
        (long(), "100", DAY, False),
        (short(), "101", DAY, True),
        (short(), "99", DAY, False),
        (long(), None, DAY, False),
    ],
)
def test_the_rule_closes_what_was_at_a_loss_for_a_day(
    position: Any, price: str | None, held: timedelta, fires: bool
) -> None:
    of = rules(sl(50))
    look = look_at(position, None if price is None else Decimal(price), START + held, of)

    assert _defined("stale_loser")(look, of).fires is fires


@pytest.mark.parametrize(
    ("spread", "denied"), [(0.002, None), (0.0021, Reason.NO_PRICE), (math.nan, Reason.NO_PRICE)]
)
def test_the_gate_denies_a_wide_or_unknown_spread(spread: float, denied: Reason | None) -> None:
    check = _defined("narrow")(case(vector=vector(spread_rel=spread)), Decimal(100))

    assert check.denied is denied
    assert set(check.facts) == {"spread_rel", "limit"}


def _defined(name: str) -> Any:
    [block] = [
        b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if f"def {name}(" in b
    ]
    scope: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), scope)
    return scope[name]
