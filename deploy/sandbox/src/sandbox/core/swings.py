"""Swings: a market that goes up and down, each time wider, so that every exit rule meets its price.

Whoever enters, at any instant and on either side, sees a price that is better than the entry by about
`WIDENING` within two periods, and one that is as much worse, until the swings are `WIDEST`. Before the
swings begin the market is calm.
"""

import numpy as np

from sandbox.core.market import Candles, synthetic

PERIOD_BARS = 32
"""Bars from one high to the next."""
WIDENING = 0.008
"""By how much the swing is wider after a period, as a fraction of the price."""
WIDEST = 0.03
"""Largest swing to either side, as a fraction of the price."""
ROUGHNESS = 0.3
"""Of the synthetic market's single bars, what is left of their moves around the swing."""
_GOLDEN = 0.618


def swinging(
    seed: int, symbol: str, *, price: float, calm_bars: int, swinging_bars: int, place: int = 0
) -> Candles:
    """`calm_bars` about `price` (quote currency), then `swinging_bars`; `place` shifts a symbol's phase."""
    bars = calm_bars + swinging_bars
    rough = synthetic(seed, symbol, bars, 0.0)
    since = np.maximum(np.arange(bars) - calm_bars + 1, 0) / PERIOD_BARS
    swing = np.minimum(WIDENING * since, WIDEST) * np.sin(2 * np.pi * (since + place * _GOLDEN))
    close = price * np.exp(swing + ROUGHNESS * np.log(rough.close / rough.open))
    opened = np.concatenate(([price], close[:-1]))[:bars]
    return Candles(
        open=opened,
        high=np.maximum(opened, close) * _gentle(rough.high / np.maximum(rough.open, rough.close)),
        low=np.minimum(opened, close) * _gentle(rough.low / np.minimum(rough.open, rough.close)),
        close=close,
        volume=rough.volume,
        spread_rel=rough.spread_rel,
    )


def _gentle(wick: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    return 1 + ROUGHNESS * (wick - 1)
