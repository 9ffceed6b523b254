"""A strategy's mode, and what is known of a change of it."""

from datetime import datetime
from typing import Any, Literal

import msgspec

Mode = Literal["warm_up", "model"]


class ModeChange(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy is in `mode` from `changed_at` on."""

    strategy_id: str
    epoch: int
    """Of the activation that brought it; 0: no activation yet, the strategy was new."""
    mode: Mode
    """From then on."""
    version: str | None
    """The version that was activated; null: warm-up."""
    reason: str
    """What brought it."""
    figures: dict[str, Any]
    """The former mode: how long it held, and how many entries it signalled."""
    changed_at: datetime
