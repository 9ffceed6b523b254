"""The console's figures over HTTP: each is what plotly draws, built here."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.console import figures
from api.console.figures import Figure
from api.core.calibration import SplitCalibration, of_evidence
from api.parameters import SYMBOL, StrategyFilter
from api.problems import documented
from api.queries import figures as rows
from api.queries import outcomes
from api.routes.models import named

MOST_MARKS = 500
"""Signals on one chart at most, the newest."""
MOST_POSITIONS = 100
BUCKETS = 240
"""Stretches of time on one chart, about."""
_SIDES = {-1: "down", 0: "flat", 1: "up"}

ThemeChoice = Annotated[figures.Theme, QueryParameter(name="theme", description="Colours for that ground.")]
Hours = Annotated[int, QueryParameter(ge=1, le=168, description="How far it looks back.")]
Version = Annotated[
    str, QueryParameter(max_length=50, pattern=r"^v[0-9]+(\.[0-9]+)?$", description="Its name.")
]
Days = Annotated[int, QueryParameter(ge=1, le=365, description="How far it looks back.")]


@get(
    "/console/figures/price",
    operation_id="GetPriceFigure",
    summary="Figure: price with signals and stops",
    responses=documented(),
)
async def price_figure(
    engine: NamedDependency[AsyncEngine],
    symbol: Annotated[str, QueryParameter(pattern=SYMBOL, description="The symbol.")],
    hours: Hours = 6,
    theme: ThemeChoice = "light",
) -> Figure:
    """Minute bars of the symbol, the signals sent at them, entries and stop levels of its positions."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=hours)
    async with engine.connect() as connection:
        minutes = await outcomes.bars(connection, symbol, since, now, hours * 60 + 1)
        marks = await rows.marks(connection, symbol, since, MOST_MARKS)
        watched = await rows.watched(connection, symbol, since, MOST_POSITIONS)
    bars = [
        figures.Bar(
            at=each.minute,
            open=float(each.open),
            high=float(each.high),
            low=float(each.low),
            close=float(each.close),
        )
        for each in minutes
    ]
    return figures.price(symbol, bars, marks, watched, since=since, now=now, theme=theme)


@get(
    "/console/figures/skips",
    operation_id="GetSkipsFigure",
    summary="Figure: skip reasons over time",
    responses=documented(),
)
async def skips_figure(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    hours: Hours = 6,
    theme: ThemeChoice = "light",
) -> Figure:
    """Why there was no signal, minute by minute or coarser, over all workers."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=hours)
    bucket = timedelta(minutes=max(1, hours * 60 // BUCKETS))
    async with engine.connect() as connection:
        counted = await rows.skips_over_time(connection, since, bucket, strategy_id=strategy_id)
    return figures.skips(counted, bucket=bucket, since=since, now=now, theme=theme)


@get(
    "/console/figures/equity",
    operation_id="GetEquityFigure",
    summary="Figure: realized results",
    responses=documented(),
)
async def equity_figure(
    engine: NamedDependency[AsyncEngine],
    strategy_id: StrategyFilter = None,
    days: Days = 30,
    theme: ThemeChoice = "light",
) -> Figure:
    """Realized results of the strategy, or of each, added up from the begin of the time shown."""
    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    async with engine.connect() as connection:
        first = await rows.first_result(connection, since, strategy_id=strategy_id)
        bucket = max(timedelta(seconds=1), (now - (first or now)) / BUCKETS)
        bucket = timedelta(seconds=round(bucket.total_seconds()))
        results = await rows.equity(connection, since, bucket, strategy_id=strategy_id)
    return figures.equity(results, since=since, now=now, theme=theme)


@get(
    "/console/figures/calibration",
    operation_id="GetCalibrationFigure",
    summary="Figure: calibration of a version",
    responses=documented(404),
)
async def calibration_figure(
    engine: NamedDependency[AsyncEngine], version: Version, theme: ThemeChoice = "light"
) -> Figure:
    """How often answers of each confidence were right on test, or on validation where there was no test."""
    judged = await _judged(engine, version)
    bins = [] if judged is None else judged.bins
    return figures.calibration(
        [figures.Reliable(predicted=each.predicted, observed=each.observed, rows=each.rows) for each in bins],
        split=judged.split if judged else "",
        theme=theme,
    )


@get(
    "/console/figures/confusion",
    operation_id="GetConfusionFigure",
    summary="Figure: confusion of a version",
    responses=documented(404),
)
async def confusion_figure(
    engine: NamedDependency[AsyncEngine], version: Version, theme: ThemeChoice = "light"
) -> Figure:
    """What came by what was predicted, on test, or on validation where there was no test."""
    judged = await _judged(engine, version)
    labels = [] if judged is None else judged.confusion.labels
    counts = [] if judged is None else judged.confusion.counts
    return figures.confusion([_SIDES.get(label, str(label)) for label in labels], counts, theme=theme)


async def _judged(engine: AsyncEngine, version: str) -> SplitCalibration | None:
    async with engine.connect() as connection:
        found = await named(connection, version)
    splits = {each.split: each for each in of_evidence(found.evidence)}
    return splits.get("test") or splits.get("validation")
