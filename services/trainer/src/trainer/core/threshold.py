"""From which probability on is it worth acting? Chosen on validation, by what is left after costs.

Acting is what inference does with the same answer: of up and down the likelier side, from the threshold on,
where it leads the other by enough. A trade earns the price's move over the horizon and pays fee and slippage
twice. Without prices a right direction earns, and a wrong one loses, the smallest move that counts.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.core.dataset import Floats, Instants, Mask, Signs

CANDIDATES = 40
SIGNIFICANT_DIGITS = 6
_NO_SPREAD = 1e-12


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What a round trip costs, as fractions of its value."""

    fee_rate: float
    slippage_rate: float

    def round_trip(self) -> float:
        """Entry and exit together."""
        return 2 * (self.fee_rate + self.slippage_rate)


class Leaning(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The side that a model would take, row by row (n,), and how sure it is."""

    side: Signs
    """1 up, -1 down."""
    confidence: Floats
    """Calibrated probability of that side."""
    lead: Floats
    """Of it over the other side; of a regression that of the expected move over what is in its way."""


class Trades(msgspec.Struct, frozen=True, kw_only=True):
    """What acting from a threshold on would have done; fractions of the traded value.

    `trades`, `win_rate` and the expectancies are of every row that acts. The other figures are of one
    position at a time, each held for the horizon: what is signalled meanwhile is passed over.
    """

    threshold: float
    rows: int
    trades: int
    win_rate: float
    """Share of trades that earn more than they cost; 0 without trades."""
    expectancy: float
    """Mean result of a trade after costs; 0 without trades."""
    expectancy_before_costs: float
    in_sequence: int = 0
    """Trades of one position at a time."""
    profit_factor: float | None = None
    """What the winning ones earned over what the others lost."""
    sharpe: float | None = None
    """Mean result of a trade over its standard deviation; not annualised."""
    max_drawdown: float | None = None
    """Deepest fall of the summed results from a peak, 0 or more."""
    notes: tuple[str, ...] = ()
    """Why a figure has no value."""


def of_classes(probabilities: Floats, labels: Sequence[int]) -> Leaning:
    """How a classifier leans; `probabilities` (n, labels) are calibrated, a side without a label has 0."""
    up, down = (
        probabilities[:, labels.index(side)] if side in labels else np.zeros(len(probabilities))
        for side in (1, -1)
    )
    return Leaning(side=np.where(up >= down, 1, -1), confidence=np.maximum(up, down), lead=np.abs(up - down))


def of_returns(predicted: Floats, confidence: Floats) -> Leaning:
    """How a regression leans: `confidence` (n,) is the probability that the sign of `predicted` is right."""
    return Leaning(side=np.where(predicted >= 0, 1, -1), confidence=confidence, lead=np.abs(predicted))


def moves(at_ns: Instants, price: Floats | None, instead: Floats | None = None, *, horizon_ns: int) -> Floats:
    """Return of each row's price over the horizon; `instead` of it where it is not known, else NaN."""
    result = np.full(len(at_ns), np.nan) if instead is None else instead.copy()
    if price is None or not len(price):
        return result
    later = np.searchsorted(at_ns, at_ns + horizon_ns, side="left")
    known = (later < len(at_ns)) & np.isfinite(price) & (price > 0)
    later = np.minimum(later, len(at_ns) - 1)
    known &= (at_ns[later] - at_ns <= 2 * horizon_ns) & np.isfinite(price[later])
    np.divide(price[later] - price, price, out=result, where=known)
    return result


def acting(leaning: Leaning, *, threshold: float, least_lead: float) -> Mask:
    """Where inference would ask for a trade."""
    return (leaning.confidence >= threshold) & (leaning.lead > 0) & (leaning.lead >= least_lead)


def results(leaning: Leaning, moved: Floats, costs: Costs, acts: Mask) -> Floats:
    """What each row earns after costs (n,); NaN where it does not act."""
    return np.where(acts, leaning.side * moved - costs.round_trip(), np.nan)


def choose(
    leaning: Leaning,
    moved: Floats,
    costs: Costs,
    *,
    min_trades: int,
    least_lead: float,
    at_ns: Instants,
    horizon_ns: int,
) -> Trades:
    """The threshold with the best expectancy after costs among those with `min_trades` on these rows.

    Where even the lowest has fewer, that one.
    """
    confidence = leaning.confidence[leaning.lead >= least_lead]
    candidates = np.quantile(confidence, np.linspace(0, 1, CANDIDATES)) if len(confidence) else np.zeros(1)
    tried = np.unique(np.round(candidates - 10**-SIGNIFICANT_DIGITS, SIGNIFICANT_DIGITS).clip(0, 1))
    net = results(leaning, moved, costs, acting(leaning, threshold=0.0, least_lead=least_lead))
    best, most = float(tried[0]), -np.inf
    for threshold in tried:
        earned = net[(leaning.confidence >= threshold) & ~np.isnan(net)]
        if len(earned) >= max(1, min_trades) and float(np.mean(earned)) > most:
            best, most = float(threshold), float(np.mean(earned))
    return trades(
        leaning, moved, costs, threshold=best, least_lead=least_lead, at_ns=at_ns, horizon_ns=horizon_ns
    )


def trades(
    leaning: Leaning,
    moved: Floats,
    costs: Costs,
    *,
    threshold: float,
    least_lead: float,
    at_ns: Instants,
    horizon_ns: int,
) -> Trades:
    """What acting from `threshold` on does on these rows, in time order."""
    net = results(leaning, moved, costs, acting(leaning, threshold=threshold, least_lead=least_lead))
    earned = net[~np.isnan(net)]
    sequence = net[_one_at_a_time(at_ns, ~np.isnan(net), horizon_ns)]
    figures, notes = _of_sequence(sequence)
    return Trades(
        threshold=threshold,
        rows=len(moved),
        trades=len(earned),
        win_rate=float(np.mean(earned > 0)) if len(earned) else 0.0,
        expectancy=float(np.mean(earned)) if len(earned) else 0.0,
        expectancy_before_costs=float(np.mean(earned)) + costs.round_trip() if len(earned) else 0.0,
        in_sequence=len(sequence),
        notes=notes,
        **figures,
    )


def _one_at_a_time(at_ns: Instants, acts: Mask, horizon_ns: int) -> list[int]:
    taken: list[int] = []
    free_from = None
    for row in np.flatnonzero(acts).tolist():
        if free_from is None or at_ns[row] >= free_from:
            taken.append(row)
            free_from = at_ns[row] + horizon_ns
    return taken


def _of_sequence(earned: npt.NDArray[np.float64]) -> tuple[dict[str, float], tuple[str, ...]]:
    if not len(earned):
        return {}, ("no trades: profit factor, Sharpe ratio and drawdown have no value",)
    figures, notes = {}, []
    won, lost = float(earned[earned > 0].sum()), float(-earned[earned <= 0].sum())
    if lost > 0:
        figures["profit_factor"] = won / lost
    else:
        notes.append("no trade lost: the profit factor has no value")
    spread = float(np.std(earned, ddof=1)) if len(earned) > 1 else 0.0
    if spread > _NO_SPREAD:
        figures["sharpe"] = float(np.mean(earned)) / spread
    else:
        notes.append("results do not differ: the Sharpe ratio has no value")
    balance = np.concatenate(([0.0], np.cumsum(earned)))
    figures["max_drawdown"] = float(np.max(np.maximum.accumulate(balance) - balance))
    return figures, tuple(notes)
