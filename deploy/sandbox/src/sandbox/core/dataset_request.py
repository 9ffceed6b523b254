"""A dataset build as it is asked for: is the body of POST /dataset/build one that the Feature Service takes?

It answers as the real one: 422 with one entry per missing or unreadable field; a request that is complete
but makes no sense to it (walk-forward, a period that ends before it starts) runs into a 500.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from sandbox.core.datasets import SPLITS, Period, Split, Target

Problem = dict[str, Any]


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A time-based build that can be tried."""

    symbol: str
    periods: dict[Split, Period]
    target: Target
    feature_registry_version: str
    output_format: str


class Unprocessable(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are missing or unreadable: 422 with `detail`."""

    detail: list[Problem]


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """What the real service does not survive: 500."""


def parse(body: object) -> BuildRequest | Unprocessable | Crash:
    """The request, or how it is refused. Fields that are not known are ignored, as today."""
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        return Unprocessable(detail=[_problem("model_attributes_type", ["body"], message, body)])
    target = body.get("target_config")
    problems = _problems(body, _FIELDS, ["body"])
    if isinstance(target, dict):
        problems += _problems(target, _TARGET_FIELDS, ["body", "target_config"])
        if not _is_threshold(target.get("threshold")):
            where = ["body", "target_config", "threshold"]
            problems.append(
                _problem("float_type", where, "Input should be a valid number", target["threshold"])
            )
    if problems:
        return Unprocessable(detail=problems)
    return _understood(body, cast("dict[str, Any]", target))


def _understood(body: dict[str, Any], target: dict[str, Any]) -> BuildRequest | Crash:
    periods = {
        split: Period(
            start=_utc(body[f"{split}_period_start"]),
            end=_utc(body[f"{split}_period_end"]),
        )
        for split in SPLITS
    }
    if body["split_strategy"] != "time_based":
        return Crash()
    if any(period.end < period.start for period in periods.values()):
        return Crash()
    threshold = target.get("threshold")
    return BuildRequest(
        symbol=body["symbol"],
        periods=periods,
        target=Target(
            type=target["type"],
            horizon=int(target["horizon"]),
            threshold=None if threshold is None else float(threshold),
        ),
        feature_registry_version=body["feature_registry_version"],
        output_format=str(body.get("output_format", "parquet")),
    )


def _problems(fields: dict[str, Any], known: "Mapping[str, _Kind]", where: list[str]) -> list[Problem]:
    found = []
    for name, (type_, message, is_fine) in known.items():
        if name not in fields:
            found.append(_problem("missing", [*where, name], "Field required", fields))
        elif not is_fine(fields[name]):
            found.append(_problem(type_, [*where, name], message, fields[name]))
    return found


def _problem(type_: str, where: list[str], message: str, given: object) -> Problem:
    return {"type": type_, "loc": where, "msg": message, "input": given}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_moment(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        _utc(value)
    except (ValueError, OverflowError):
        return False
    return True


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value == int(value) and value > 0


def _is_threshold(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# A moment without a zone is UTC, by the platform's convention.
def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


_Kind = tuple[str, str, Callable[[object], bool]]

_TEXT: _Kind = ("string_type", "Input should be a valid string", _is_text)
_MOMENT: _Kind = ("datetime_from_date_parsing", "Input should be a valid datetime or date", _is_moment)
_FIELDS: dict[str, _Kind] = {
    "symbol": _TEXT,
    "split_strategy": (
        "enum",
        "Input should be 'time_based' or 'walk_forward'",
        lambda value: value in {"time_based", "walk_forward"},
    ),
    **{f"{split}_period_{edge}": _MOMENT for split in SPLITS for edge in ("start", "end")},
    "target_config": (
        "model_attributes_type",
        "Input should be a valid dictionary or object to extract fields from",
        lambda value: isinstance(value, dict),
    ),
    "feature_registry_version": _TEXT,
}
_TARGET_FIELDS: dict[str, _Kind] = {
    "type": (
        "literal_error",
        "Input should be 'regression', 'classification' or 'risk_adjusted'",
        lambda value: value in {"regression", "classification", "risk_adjusted"},
    ),
    "horizon": ("int_type", "Input should be a valid integer", _is_seconds),
}
