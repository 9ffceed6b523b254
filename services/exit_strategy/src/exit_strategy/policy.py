"""What the operator configured for exits, as the worker asks for it."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec

from common.core.exits.dispatch import Limits
from common.core.exits.rules import Rules


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all positions, and how to find what holds for one."""

    enabled: bool
    rules_of: Callable[[str, str], Rules]
    """Of the strategy and symbol of a lifecycle."""
    limits: Limits
    price_max_age: timedelta
    debounce: timedelta = timedelta(0)
    """How long a target or an age waits for a newer price."""
    price_deviations: Decimal = Decimal(8)
    """A price further from the recent ones waits for a second one."""
