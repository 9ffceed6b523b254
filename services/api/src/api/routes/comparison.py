"""Judging versions: two side by side, and how far the confidence of one can be trusted."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.calibration import SplitCalibration, of_evidence, of_live
from api.core.comparison import ComparedMetric, compared
from api.problems import documented
from api.queries import metrics
from api.queries.versions import live_confusion
from api.routes.metrics import figures
from api.routes.models import named, names_a_version
from common.model_registry import ModelVersion, Verdict, Version


class VersionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said of a version."""

    version: str
    verdict: Verdict | None
    """Null: trained before verdicts were kept."""
    verdict_sentence: str | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions side by side."""

    versions: list[Version]
    """Left and right."""
    metrics: list[ComparedMetric]
    """Every figure that one of the two has."""
    same_dataset: bool
    """False: the figures are of different rows, so a small difference says nothing."""
    verdicts: list[VersionVerdict]
    """Left and right."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a version's answers were worth, split by split."""

    version: str
    items: list[SplitCalibration]
    reason: str | None
    """Why there is nothing."""


@get(
    "/models/{version:str}/compare/{other:str}",
    operation_id="CompareModels",
    summary="Two versions side by side",
    guards=[names_a_version],
    responses=documented(404),
)
async def compare(
    engine: NamedDependency[AsyncEngine], version: FromPath[str], other: FromPath[str]
) -> Comparison:
    """`version` is left, `other` right: the newest figure of each, by split, and which is the better one."""
    async with engine.connect() as connection:
        both = [await named(connection, each) for each in (version, other)]
        found = await metrics.newest(connection, [version, other])
    left, right = both
    return Comparison(
        versions=[msgspec.convert(each, Version, from_attributes=True) for each in both],
        metrics=compared(figures(found.get(version, [])), figures(found.get(other, []))),
        same_dataset=_dataset(left) is not None and _dataset(left) == _dataset(right),
        verdicts=[msgspec.convert(each, VersionVerdict, from_attributes=True) for each in both],
    )


@get(
    "/models/{version:str}/calibration",
    operation_id="GetModelCalibration",
    summary="Calibration and confusion of a version",
    guards=[names_a_version],
    responses=documented(404),
)
async def calibration(engine: NamedDependency[AsyncEngine], version: FromPath[str]) -> Calibration:
    """Split by split: how far the confidence kept its word, and what was mistaken for what."""
    async with engine.connect() as connection:
        found = await named(connection, version)
        live = of_live(await live_confusion(connection, version))
    items = of_evidence(found.evidence) + ([live] if live else [])
    reason = None if items else "nothing was kept when it was trained, and no live prediction is scored yet"
    return Calibration(version=version, items=items, reason=reason)


def _dataset(version: ModelVersion) -> str | None:
    dataset: str | None = (version.training_config or {}).get("dataset_id")
    return dataset
