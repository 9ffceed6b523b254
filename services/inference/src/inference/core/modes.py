"""A strategy's mode, warm-up or model, as the registry's history makes it, and when it warms up too long.

The mode is never set: it follows from the newest activation. An activation that swaps one version for
another changes no mode.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from common.core.modes import Mode


class Activation(Protocol):
    """One entry of the registry's history."""

    @property
    def epoch(self) -> int:
        """Counts the strategy's activations from 1 on."""

    @property
    def version(self) -> str | None:
        """What was activated; None: nothing is active any more."""

    @property
    def actor(self) -> str:
        """Who did it."""

    @property
    def reason(self) -> str:
        """Why."""

    @property
    def activated_at(self) -> datetime:
        """When."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A mode that began with an epoch and holds until another one does."""

    epoch: int
    mode: Mode
    since: datetime


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of mode that the registry shows."""

    began: Period
    version: str | None
    reason: str
    before: Period | None
    """The former mode; None: none is known."""


def transitions(last: Period | None, history: Sequence[Activation], now: datetime) -> list[Transition]:
    """What changed the mode after `last`, the oldest first.

    `history`: the strategy's activations, in any order. A strategy of which nothing is known, and that was
    never activated, began to warm up `now`, as epoch 0.
    """
    if last is None and not history:
        began = Period(epoch=0, mode="warm_up", since=now)
        reason = "the strategy was seen for the first time, without a model"
        return [Transition(began=began, version=None, reason=reason, before=None)]
    found: list[Transition] = []
    for entry in sorted(history, key=lambda each: each.epoch):
        mode: Mode = "model" if entry.version else "warm_up"
        if last is not None and (entry.epoch <= last.epoch or mode == last.mode):
            continue
        began = Period(epoch=entry.epoch, mode=mode, since=entry.activated_at)
        reason = f"{entry.actor}: {entry.reason}"
        found.append(Transition(began=began, version=entry.version, reason=reason, before=last))
        last = began
    return found


def warmed_up_too_long(period: Period, max_hours: float, now: datetime) -> bool:
    """Whether `period` is a warm-up of more than `max_hours`; 0: no warm-up is too long."""
    return period.mode == "warm_up" and max_hours > 0 and now - period.since > timedelta(hours=max_hours)


def hours(span: timedelta) -> float:
    """A span as figures show it."""
    return round(span / timedelta(hours=1), 3)
