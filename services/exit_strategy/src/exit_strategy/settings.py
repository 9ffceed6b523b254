"""The exit worker's settings: the operators' names, their units and ranges."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat

from common.exit_settings import ExitRuleSettings
from common.position_manager import PositionManagerSettings
from common.settings import (
    BusSettings,
    DatabaseSettings,
    FeatureServiceSettings,
    Port,
    ProcessSettings,
)

PositiveDecimal = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Settings(
    DatabaseSettings,
    BusSettings,
    ProcessSettings,
    FeatureServiceSettings,
    PositionManagerSettings,
    ExitRuleSettings,
):
    """Everything that an operator can say to an exit worker."""

    exit_strategy_port: Port = 4503
    """Port of health and metrics."""
    exit_debounce_ms: Annotated[int, Field(ge=0, le=10_000)] = 250
    """A target or an age that fires is decided by the newest price after so long, in ms; stops never wait."""
    exit_price_deviations: PositiveDecimal = Decimal(8)
    """A price further from the recent ones, in their standard deviations, waits for one that confirms it."""
    exit_spool_path: Path = Path("/spool/exits.jsonl")
    """File that keeps exits sent while the database was down, until it can store them."""
    exit_silence_seconds: PositiveFloat = 30.0
    """An open position not evaluated for so long is an alarm, in seconds."""
    market_data_max_age_seconds: PositiveFloat = 60.0
    """Older prices, and markets unchanged for longer, fire no price rule, in seconds."""
