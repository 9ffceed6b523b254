"""What a strategy would do with a vector: its model's answer, or the warm-up's while it has none."""

import random
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec

from common.core.calibration import calibrate
from common.core.ids import entry_signal_id
from common.messages import FeatureVector, MarketSnapshot
from inference.core import model, warmup
from inference.core.alignment import AS_NAMED, Alignment, align, by_model_names
from inference.core.reasons import Reason, Skip
from inference.core.warmup import Proposal, WarmUp
from inference.loading import LoadedModel
from inference.models import NOT_READ, Serving
from inference.policy import Policy


class Models(Protocol):
    """Where proposals find what serves a strategy."""

    def of(self, strategy_id: str) -> Serving | None:
        """What serves the strategy now; None while that is unknown."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a version answered to a vector, whether or not it was acted on."""

    strategy_id: str
    vector: FeatureVector
    loaded: LoadedModel
    row: tuple[float, ...]
    """In the model's order."""
    raw: tuple[float, ...]
    """The output as the model gives it."""
    answer: tuple[float, ...]
    """Calibrated probability of each label, or the prediction of a regression."""


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal and where it came from."""

    proposal: Proposal
    prediction: Prediction | None = None
    """None: the warm-up's."""
    slot: datetime | None = None
    """Of a warm-up's: the time slot that it would use up."""


class Proposals:
    """Proposals of this worker's models, and of the warm-up where the registry has none.

    Every prediction is told to `listeners`, also one that ends in HOLD.
    """

    def __init__(
        self,
        models: Models,
        alignment: Alignment = AS_NAMED,
        listeners: tuple[Callable[[Prediction], None], ...] = (),
    ) -> None:
        self._models = models
        self._alignment = alignment
        self._listeners = listeners
        self._slot_used: datetime | None = None

    def of(
        self,
        strategy_id: str,
        vector: FeatureVector,
        snapshot: MarketSnapshot,
        *,
        now: datetime,
        policy: Policy,
    ) -> Proposed | Skip:
        """Side, amount and confidence, or why there are none; reads nothing."""
        serving = self._models.of(strategy_id)
        if serving is None:
            return Skip(Reason.MODEL_UNAVAILABLE, {"problem": NOT_READ})
        if serving.loaded is not None:
            return self._of_model(strategy_id, serving.loaded, vector, snapshot, policy)
        if not serving.warms_up:
            return Skip(Reason.MODEL_UNAVAILABLE, {"problem": serving.problem})
        return self._of_warm_up(strategy_id, vector, now, policy.warm_up)

    def note_used(self, slot: datetime) -> None:
        """The fleet has used the time slot: no further vector of it is proposed on."""
        self._slot_used = slot

    # `loaded` is one reference for the whole decision: a swap in between cannot mix versions.
    def _of_model(
        self,
        strategy_id: str,
        loaded: LoadedModel,
        vector: FeatureVector,
        snapshot: MarketSnapshot,
        policy: Policy,
    ) -> Proposed | Skip:
        row = align(vector, loaded.model, self._alignment)
        if isinstance(row, Skip):
            return row
        (raw,) = loaded.predict([row])
        prediction = Prediction(
            strategy_id=strategy_id,
            vector=vector,
            loaded=loaded,
            row=row,
            raw=raw,
            answer=calibrate(raw, loaded.model.calibration),
        )
        for hear in self._listeners:
            hear(prediction)
        named = by_model_names(vector, _asked_for(loaded), self._alignment)
        proposal = model.propose(prediction.answer, loaded.model, policy.model, snapshot, named)
        return proposal if isinstance(proposal, Skip) else Proposed(proposal=proposal, prediction=prediction)

    def _of_warm_up(
        self, strategy_id: str, vector: FeatureVector, now: datetime, warm_up: WarmUp
    ) -> Proposed | Skip:
        if not warm_up.enabled:
            return Skip(Reason.WARMUP_DISABLED, {})
        slot = warmup.slot_of(now, warm_up.signals_per_minute)
        if slot == self._slot_used:
            return Skip(Reason.WARMUP_SLOT_TAKEN, {"slot": slot.isoformat()})
        # By the signal's id: every replica throws the same dice for a vector.
        signal_id = entry_signal_id(strategy_id, vector.symbol, vector.timestamp)
        proposal = warmup.propose(vector.features, warm_up, random.Random(signal_id.int))
        return proposal if isinstance(proposal, Skip) else Proposed(proposal=proposal, slot=slot)


def _asked_for(loaded: LoadedModel) -> tuple[str, ...]:
    volatility = loaded.model.volatility_feature
    return () if volatility is None else (volatility,)
