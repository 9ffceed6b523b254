"""What a version's answers were worth, class by class and confidence by confidence, on each split."""

from collections.abc import Mapping
from typing import Any

import msgspec

_NOT_KEPT = "its training kept none: it was made before they were kept, or its split had no rows"
_NOT_LIVE = "live predictions are counted by label, not by confidence"


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of like confidence: what was promised of them, and what came."""

    predicted: float
    """Mean confidence in the answer."""
    observed: float
    """Share of the answers that were right."""
    rows: int
    """How many there are."""


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """What came by what was named; for live predictions of a regression the signs."""

    labels: list[int]
    """-1 down, 0 flat, 1 up, in the order of rows and columns."""
    counts: list[list[int]]
    """Rows of each label that came (down) by the label that was named (across)."""


class SplitCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """The answers on one split."""

    split: str
    """validation, test or live."""
    bins: list[ReliabilityBin]
    """The lowest confidence first; bins without rows are left out."""
    confusion: Confusion
    """What came by what was named."""
    reason: str | None
    """Why something is empty."""


def of_evidence(evidence: Mapping[str, Any] | None) -> list[SplitCalibration]:
    """What the trainer kept of validation and test."""
    kept = evidence or {}
    confusions, bins = kept.get("confusion") or {}, kept.get("reliability") or {}
    found = []
    for split in ("validation", "test"):
        if split not in confusions and split not in bins:
            continue
        counts = confusions.get(split) or []
        missing = not counts or split not in bins
        found.append(
            SplitCalibration(
                split=split,
                bins=msgspec.convert(bins.get(split) or [], list[ReliabilityBin]),
                confusion=Confusion(labels=_labels(kept.get("labels"), len(counts)), counts=counts),
                reason=_reason(kept, counts) if missing else None,
            )
        )
    return found


def of_live(pairs: Mapping[str, float]) -> SplitCalibration | None:
    """The live predictions counted so far, by `actual:predicted`; None: none was."""
    counted = {tuple(map(int, pair.split(":"))): round(value) for pair, value in pairs.items()}
    if not counted:
        return None
    labels = sorted({label for pair in counted for label in pair})
    counts = [[counted.get((came, named), 0) for named in labels] for came in labels]
    return SplitCalibration(
        split="live", bins=[], confusion=Confusion(labels=labels, counts=counts), reason=_NOT_LIVE
    )


# Versions from before labels were kept have all three, or the two sides.
def _labels(kept: list[int] | None, count: int) -> list[int]:
    return kept or {3: [-1, 0, 1], 2: [-1, 1]}.get(count, [])


def _reason(kept: Mapping[str, Any], counts: list[list[int]]) -> str:
    is_regression = kept.get("labels") == [] and not counts
    return "a regression names no labels" if is_regression else _NOT_KEPT
