"""The plan of a chaos run: which fault strikes what, when and for how long? The same for the same seed."""

from collections.abc import Sequence
from random import Random

import msgspec


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault."""

    name: str
    targets: tuple[str, ...]
    """What it can strike; one at a time."""
    holds_s: tuple[float, float] = (0.0, 0.0)
    """Shortest and longest time until it is healed, in seconds."""
    recovers_s: float = 0.0
    """How long its target is left alone after the healing, in seconds."""


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """One planned fault."""

    at_s: float
    """Since its phase began, in seconds."""
    kind: str
    target: str
    hold_s: float


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How thick the faults come."""

    phase_s: float
    """Length of a phase, in seconds; no fault of it lasts longer."""
    pauses_s: tuple[float, float]
    """Shortest and longest time from one fault to the next, in seconds."""


class Planner:
    """Deals the kinds like cards: none comes again before every other one came."""

    def __init__(self, random: Random, kinds: Sequence[Kind], pace: Pace) -> None:
        self._random = random
        self._kinds = tuple(kinds)
        self._pace = pace
        self._deck: list[Kind] = []

    def phase(self) -> list[Strike]:
        """The faults of the next phase, in order; two of one target never overlap."""
        strikes: list[Strike] = []
        free_at_s: dict[str, float] = {}
        at_s = self._random.uniform(*self._pace.pauses_s)
        while at_s < self._pace.phase_s:
            strike = self._dealt(at_s, free_at_s)
            if strike is not None:
                strikes.append(strike)
            at_s += self._random.uniform(*self._pace.pauses_s)
        return strikes

    def _dealt(self, at_s: float, free_at_s: dict[str, float]) -> Strike | None:
        if not self._deck:
            self._deck = self._random.sample(self._kinds, k=len(self._kinds))
        for kind in self._deck:
            hold_s = min(self._random.uniform(*kind.holds_s), self._pace.phase_s)
            free = [target for target in kind.targets if free_at_s.get(target, 0.0) <= at_s]
            if free and at_s + hold_s <= self._pace.phase_s:
                target = self._random.choice(free)
                free_at_s[target] = at_s + hold_s + kind.recovers_s
                self._deck.remove(kind)
                return Strike(at_s=at_s, kind=kind.name, target=target, hold_s=hold_s)
        return None
