"""Where a version comes from, read from what its training left behind."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time."""

    start: datetime
    """Inclusive."""
    end: datetime
    """Exclusive."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from; what its training did not leave behind is null."""

    dataset_id: str | None
    """The Feature Service's."""
    symbol: str | None
    train_period: Span | None
    """What it was fitted on."""
    validation_period: Span | None
    """What chose its rounds and threshold."""
    test_period: Span | None
    """What it was judged by."""
    parameters: dict[str, Any]
    """Of the estimator."""
    parent_version: str | None
    """The active version that it was compared with; null: there was none, or it could not be compared."""
    unscored: str | None
    """Why the active version could not be compared."""
    trigger: str | None
    """What asked for the training: bootstrap, manual, schedule or degradation."""
    requested_by: str | None
    """Who asked for it."""
    trace_id: str | None
    """Of the training."""


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """What lineage needs to know of a run."""

    trigger: str
    requested_by: str
    trace_id: str
    figures: dict[str, Any] | None


def lineage(
    config: Mapping[str, Any] | None, evidence: Mapping[str, Any] | None, run: Training | None
) -> Lineage:
    """The lineage of a version with this `training_config` and `evidence`, which came of `run`."""
    settled, proof = config or {}, evidence or {}
    periods = ((run.figures if run else None) or {}).get("periods") or {}
    champion = proof.get("champion") or {}
    return Lineage(
        dataset_id=settled.get("dataset_id"),
        symbol=settled.get("symbol"),
        train_period=_span(periods.get("train")),
        validation_period=_span(periods.get("validation")),
        test_period=_span(periods.get("test")),
        parameters=settled.get("parameters") or {},
        parent_version=champion.get("version"),
        unscored=proof.get("unscored") or None,
        trigger=run.trigger if run else None,
        requested_by=run.requested_by if run else None,
        trace_id=run.trace_id if run else None,
    )


def _span(period: Mapping[str, Any] | None) -> Span | None:
    return msgspec.convert(period, Span) if period else None
