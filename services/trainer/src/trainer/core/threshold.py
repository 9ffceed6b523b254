"""From which probability on is it worth acting? Chosen on validation, by what is left after costs.

A trade goes the way of the likeliest class; it earns the price's move over the horizon and pays a fee and
slippage twice. Without prices a right direction earns, and a wrong one loses, the smallest move that counts.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.core.dataset import LABELS

CANDIDATES = 40
SIGNIFICANT_DIGITS = 6

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What a round trip costs, as fractions of its value."""

    fee_rate: float
    slippage_rate: float

    def round_trip(self) -> float:
        """Entry and exit together."""
        return 2 * (self.fee_rate + self.slippage_rate)


class Trades(msgspec.Struct, frozen=True, kw_only=True):
    """What acting from a threshold on would have done; fractions of the traded value."""

    threshold: float
    rows: int
    trades: int
    win_rate: float
    """Share of trades that earn more than they cost; 0 without trades."""
    expectancy: float
    """Mean result of a trade after costs; 0 without trades."""
    expectancy_before_costs: float


def moves(
    at_ns: npt.NDArray[np.int64],
    price: Floats | None,
    classes: Classes,
    *,
    horizon_ns: int,
    least_move: float,
) -> Floats:
    """Return of each row's price over the horizon; where it is not known, label times `least_move`."""
    named = np.array(LABELS, dtype=np.float64)[classes] * least_move
    if price is None or not len(price):
        return named
    later = np.searchsorted(at_ns, at_ns + horizon_ns, side="left")
    known = (later < len(at_ns)) & np.isfinite(price) & (price > 0)
    later = np.minimum(later, len(at_ns) - 1)
    known &= (at_ns[later] - at_ns <= 2 * horizon_ns) & np.isfinite(price[later])
    result = named.copy()
    np.divide(price[later] - price, price, out=result, where=known)
    return result


def choose(probabilities: Floats, moved: Floats, costs: Costs, *, min_trades: int) -> Trades:
    """The threshold with the best expectancy after costs among those with `min_trades` on these rows.

    Where even the lowest has fewer, that one: it is the likeliest class alone that acts.
    """
    confidence = probabilities.max(axis=1)
    acting = confidence[_acts(probabilities)]
    candidates = np.quantile(acting, np.linspace(0, 1, CANDIDATES)) if len(acting) else np.zeros(1)
    found = [
        trades(probabilities, moved, costs, threshold=float(each))
        for each in np.unique(np.round(candidates - 10**-SIGNIFICANT_DIGITS, SIGNIFICANT_DIGITS).clip(0, 1))
    ]
    enough = [each for each in found if each.trades >= min_trades]
    return max(enough, key=lambda each: each.expectancy) if enough else found[0]


def trades(probabilities: Floats, moved: Floats, costs: Costs, *, threshold: float) -> Trades:
    """What acting from `threshold` on does on these rows."""
    act = _acts(probabilities) & (probabilities.max(axis=1) >= threshold)
    side = np.array(LABELS, dtype=np.float64)[probabilities.argmax(axis=1)]
    gross = (side * moved)[act]
    net = gross - costs.round_trip()
    return Trades(
        threshold=threshold,
        rows=len(moved),
        trades=len(net),
        win_rate=float(np.mean(net > 0)) if len(net) else 0.0,
        expectancy=float(np.mean(net)) if len(net) else 0.0,
        expectancy_before_costs=float(np.mean(gross)) if len(net) else 0.0,
    )


def _acts(probabilities: Floats) -> npt.NDArray[np.bool_]:
    likeliest = np.array(LABELS, dtype=np.int64)[probabilities.argmax(axis=1)]
    return np.asarray(likeliest != 0, dtype=np.bool_)
