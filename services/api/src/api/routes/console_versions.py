"""Versions as the console lists them: verdict and distance from the baseline, all of a page in one answer."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.model_performance import FIGURES, SplitFigures, by_split
from api.parameters import Offset, StrategyFilter
from api.problems import documented
from api.queries import metrics
from api.queries.versions import verdict_sentences
from api.routes.metrics import figures
from common import model_registry
from common.database import reading
from common.model_registry import Version

Page = Annotated[int, QueryParameter(name="limit", ge=1, le=50, description="Rows at most.")]


class JudgedVersion(Version, frozen=True, kw_only=True):
    """A version, what the gate said of it, and how good it is."""

    verdict_sentence: str | None
    metrics: list[SplitFigures]
    """By split: live, test, validation; the newest figures."""


class JudgedVersions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of versions, the newest training first."""

    items: list[JudgedVersion]
    total: int
    limit: int
    offset: int


@get(
    "/console/versions",
    operation_id="ListJudgedVersions",
    summary="Versions with verdict and figures",
    responses=documented(),
)
async def judged_versions(
    engine: NamedDependency[AsyncEngine],
    *,
    strategy_id: StrategyFilter = None,
    limit: Page = 10,
    offset: Offset = 0,
) -> JudgedVersions:
    """The versions that the console lists, with all that a line of it says."""
    async with reading(engine) as connection:
        found, total = await model_registry.versions(
            connection, strategy_id=strategy_id, limit=limit, offset=offset
        )
        names = [each.version for each in found]
        evaluated = await metrics.newest(connection, names, FIGURES)
        sentences = await verdict_sentences(connection, names)
    items = [
        JudgedVersion(
            **msgspec.structs.asdict(each),
            verdict_sentence=sentences.get(each.version),
            metrics=by_split(figures(evaluated.get(each.version, []))),
        )
        for each in found
    ]
    return JudgedVersions(items=items, total=total, limit=limit, offset=offset)
