"""Which optional features the models decide without: said once per change, counted always."""

from collections.abc import Sequence

import structlog
from prometheus_client import Counter

from inference.core.alignment import lacked
from inference.core.model import Model
from inference.events import Event

log = structlog.get_logger(__name__)

MAX_REMEMBERED = 4_096
"""Pairs of symbol and version remembered at most."""
LACKED = Counter("flotilla_features_lacked", "Predictions without an optional feature.", ["feature"])


class LackedFeatures:
    """What each symbol's vectors lacked last, for each version."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[str, ...]] = {}

    def note(self, symbol: str, model: Model, row: Sequence[float]) -> None:
        """An aligned row was predicted on."""
        missing = lacked(model, row)
        for name in missing:
            LACKED.labels(name).inc()
        key = symbol, model.version
        if missing != self._last.get(key, ()):
            log.warning(
                Event.OPTIONAL_FEATURES_LACKED, symbol=symbol, version=model.version, missing=list(missing)
            )
        self._last.pop(key, None)
        self._last[key] = missing
        while len(self._last) > MAX_REMEMBERED:
            del self._last[next(iter(self._last))]
