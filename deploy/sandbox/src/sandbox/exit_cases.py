"""Which strategy closes by what: one strategy and one symbol for each way out of a position.

A case's settings leave its position no other way out than its own. All that is quoted here is small, because
positions live for seconds: an operator would say days and percent.
"""

from collections.abc import Mapping, Sequence

import msgspec

KEPT_STOP = "kept_stop"
OPERATOR = "operator"
DECAYING_TARGET = "decaying_target"
AMOUNT_QUOTE = 150
"""Of each entry, quote currency."""

Setting = bool | float | str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One way out of a position."""

    name: str
    """The strategy."""
    symbol: str
    price: float
    """About where its market moves, quote currency."""
    rule: str
    """The rule that has to fire."""
    stages: int = 1
    """How many different stages of it."""
    settings: Mapping[str, Setting] = {}
    """Its table of strategies.toml."""
    later: Mapping[str, Setting] = {}
    """What replaces a part of them while the position is open."""
    shows: str
    """What closes its position, for a reader."""


CASES = (
    Case(
        name="stop_loss_percent",
        symbol="BTCUSDT",
        price=60_000,
        rule="stop_loss",
        settings={"stop_loss_enabled": True, "stop_loss_threshold_pct": -0.5},
        shows="a loss of 0.5 %",
    ),
    Case(
        name="stop_loss_quote",
        symbol="ETHUSDT",
        price=3_000,
        rule="stop_loss",
        settings={"stop_loss_enabled": True, "stop_loss_threshold_pct": -50, "stop_loss_quote": 0.6},
        shows="a loss of 0.60 USDT; the stop in percent is 50 % away",
    ),
    Case(
        name="trailing_stop",
        symbol="SOLUSDT",
        price=150,
        rule="trailing_stop",
        settings={
            "trailing_stop_enabled": True,
            "trailing_stop_activation_pct": 0.5,
            "trailing_stop_distance_pct": 0.45,
            "trailing_stop_lock_in_pct": 0.3,
        },
        shows="0.45 % back from the best price, armed by a profit of 0.5 %, and 0.3 % locked in",
    ),
    Case(
        name="take_profit_percent",
        symbol="BNBUSDT",
        price=600,
        rule="take_profit",
        settings={"take_profit_enabled": True, "model_service_take_profit_pct": 0.5},
        shows="a profit above 0.5 %",
    ),
    Case(
        name="take_profit_ladder",
        symbol="LTCUSDT",
        price=100,
        rule="take_profit",
        stages=2,
        settings={"take_profit_enabled": True, "take_profit_ladder": "0.3:50,0.6:100"},
        shows="half above a profit of 0.3 %, the rest above 0.6 %",
    ),
    Case(
        name="take_profit_quote",
        symbol="BCHUSDT",
        price=400,
        rule="take_profit",
        settings={
            "take_profit_enabled": True,
            "model_service_take_profit_pct": 50,
            "take_profit_quote": 0.6,
        },
        shows="a profit above 0.60 USDT; the target in percent is 50 % away",
    ),
    Case(
        name="max_hold",
        symbol="AAVEUSDT",
        price=250,
        rule="max_hold",
        settings={"time_based_exit_enabled": True, "time_based_exit_max_hours": round(5 / 3600, 6)},
        shows="an age of 5 s, whatever the price",
    ),
    Case(
        name=DECAYING_TARGET,
        symbol="XMRUSDT",
        price=200,
        rule="decaying_target",
        settings={
            "warmup_mode_enabled": False,
            "time_based_exit_enabled": True,
            "time_based_exit_max_hours": 2,
            "time_based_exit_profit_target_pct": 1.0,
        },
        shows="a target of 1 % that shrinks over 2 hours, of a position that is more than an hour old",
    ),
    Case(
        name=KEPT_STOP,
        symbol="TAOUSDT",
        price=450,
        rule="kept_stop",
        settings={"stop_loss_enabled": True, "stop_loss_threshold_pct": -0.7},
        later={"stop_loss_threshold_pct": -50},
        shows="the loss of 0.7 % that held when it was opened, while the present settings say 50 %",
    ),
    Case(
        name=OPERATOR,
        symbol="MKRUSDT",
        price=1_500,
        rule="operator",
        shows="an operator who asks for it over the API",
    ),
)
"""Every rule of the exit worker, and every way to set it off."""

_OTHERWISE: Mapping[str, Setting] = {
    "stop_loss_enabled": False,
    "take_profit_enabled": False,
    "trailing_stop_enabled": False,
    "time_based_exit_enabled": False,
}


def strategies_toml(cases: Sequence[Case], *, is_later: bool = False) -> str:
    """The text of strategies.toml; `is_later`: as it is once `Case.later` holds."""
    return "\n".join(_table(case, case.later if is_later else {}) for case in cases)


def literal(value: Setting) -> str:
    """The value as TOML spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _table(case: Case, later: Mapping[str, Setting]) -> str:
    settings = {**_OTHERWISE, **case.settings, **later}
    lines = [f"[{case.name}]", f'symbols = ["{case.symbol}"]']
    return "\n".join([*lines, *(f"{key} = {literal(value)}" for key, value in settings.items()), ""])
