"""What one goal's measurement found, beside its floor, and the verdict over it.

A benchmark module yields these from `results()`. Rounds are paired: the floor of a round was measured right
before or after ours, so that a machine that gets slower does it to both.
"""

import os
from collections.abc import Sequence
from statistics import median
from typing import Literal

import msgspec

Of = Literal["ratio", "ours"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of the ratio to the floor, or of our own figure in its unit."""

    limit: float
    of: Of
    is_upper: bool
    """At most the limit; else at least."""

    def is_met(self, figure: float) -> bool:
        """Not by NaN."""
        return figure <= self.limit if self.is_upper else figure >= self.limit


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The rounds of one comparison; floors is empty where there is nothing to stand beside."""

    goal: str
    """The goal's number and what is measured, as the table prints it."""
    unit: str
    """Of ours and of the floors."""
    rounds: list[float]
    """Ours, one figure a round."""
    floors: list[float] = []
    """The floor beside it, of the same rounds in the same order."""
    target: Target | None = None
    """None: the figure is reported, nothing is demanded of it."""
    load: float = msgspec.field(default_factory=lambda: os.getloadavg()[0])
    """The machine's load average over the last minute, when the measurement had ended."""

    @property
    def ours(self) -> float:
        """The median round."""
        return median(self.rounds)

    @property
    def floor(self) -> float | None:
        """The median floor."""
        return median(self.floors) if self.floors else None

    @property
    def ratio(self) -> float | None:
        """The median over the rounds of ours to the floor beside it."""
        return median(self._ratios()) if self.floors else None

    @property
    def spread(self) -> float:
        """How far the rounds lie apart: largest less smallest, as a share of the median."""
        return spread(self._ratios() if self.floors else self.rounds)

    @property
    def is_met(self) -> bool | None:
        """Whether the target holds; None where there is none."""
        if self.target is None:
            return None
        figure = self.ratio if self.target.of == "ratio" else self.ours
        return figure is not None and self.target.is_met(figure)

    def demanded(self) -> str:
        """The target in words: `ratio >= 0.9`, `<= 15 ms`; a dash where there is none."""
        if self.target is None:
            return "-"
        sign = "<=" if self.target.is_upper else ">="
        if self.target.of == "ratio":
            return f"ratio {sign} {self.target.limit:g}"
        return f"{sign} {self.target.limit:,g} {self.unit}"

    def record(self) -> dict[str, object]:
        """As bench.json keeps it."""
        return {
            "goal": self.goal,
            "unit": self.unit,
            "ours": self.ours,
            "floor": self.floor,
            "ratio": self.ratio,
            "target": self.demanded(),
            "met": self.is_met,
            "rounds": len(self.rounds),
            "spread": self.spread,
            "load": self.load,
        }

    def _ratios(self) -> list[float]:
        return [ours / floor for ours, floor in zip(self.rounds, self.floors, strict=True)]


def at_least(limit: float, *, of: Of = "ours") -> Target:
    """More is better."""
    return Target(limit=limit, of=of, is_upper=False)


def at_most(limit: float, *, of: Of = "ours") -> Target:
    """Less is better."""
    return Target(limit=limit, of=of, is_upper=True)


def spread(figures: Sequence[float]) -> float:
    """Largest less smallest as a share of the median; 0 for a single figure."""
    middle = median(figures)
    return (max(figures) - min(figures)) / middle if middle else 0.0


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that so many percent of all do not exceed."""
    ordered = sorted(figures)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank) - 1, 0)]
