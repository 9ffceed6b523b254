"""Identity: the same decision has the same id on every replica and after every restart."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1d1c57-8a0b-5c0e-9d6a-0a4f0f3d5b11")
"""Of all ids that the fleet derives; changing it would let an old vector be traded twice."""
BLIND_EXIT_PERIOD_S = 15
"""How long workers without a database agree on one exit of a position."""


def entry_signal_id(strategy_id: str, symbol: str, feature_timestamp: datetime) -> UUID:
    """The id of the one signal that `strategy_id` may send for this vector.

    The same in warm-up and model mode and for every model version; `feature_timestamp` is aware.
    """
    instant = feature_timestamp.astimezone(UTC).isoformat(timespec="microseconds")
    return _derived("entry", strategy_id, symbol, instant)


def exit_signal_id(lifecycle_id: UUID, rule: str, stage: int, generation: int) -> UUID:
    """The id of the `generation`-th exit signal of a position lifecycle: whoever decides it claims the same.

    Generations count from 1 over the whole lifecycle, whatever the rule; `stage` is the ladder stage that is
    reached with this exit, 0 before any.
    """
    return _derived("exit", str(lifecycle_id), rule, str(stage), str(generation))


def blind_exit_signal_id(symbol: str, side: str, entry_price: Decimal, now: datetime) -> UUID:
    """The id of the stop loss that is sent while no database answers: the same for every worker.

    One per position and `BLIND_EXIT_PERIOD_S`, counted from the epoch; the entry counts as a number, however
    many zeros it ends in. Two workers on either side of a period's edge send two, both reduce-only.
    """
    period = int(now.timestamp()) // BLIND_EXIT_PERIOD_S
    return _derived("exit-nodb", symbol, side, f"{entry_price.normalize():f}", str(period))


def _derived(*parts: str) -> UUID:
    # Length prefixes keep ("a", "bc") and ("ab", "c") apart.
    return uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts))
