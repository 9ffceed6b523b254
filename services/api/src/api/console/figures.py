"""The console's figures: from rows to what plotly draws, one pure function per figure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import accumulate
from typing import Any, Literal

import msgspec
import plotly.graph_objects as go

Theme = Literal["light", "dark"]

SHOWN_REASONS = 7
"""So many reasons have a colour of their own; the rest are added up."""
REST = "other reasons"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as plotly draws it."""

    data: list[dict[str, Any]]
    """Its traces."""
    layout: dict[str, Any]
    """Axes, titles and colours."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a symbol in a minute, quote currency."""

    at: datetime
    open: float
    high: float
    low: float
    close: float


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A signal on the price chart."""

    at: datetime
    strategy_id: str
    side: Literal["buy", "sell"]
    price: float
    version: str | None
    is_warmup: bool
    rule: str | None
    """The exit rule that gave it; null: an entry."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A position on the price chart, from its opening to its close."""

    strategy_id: str
    side: Literal["long", "short"]
    opened_at: datetime
    closed_at: datetime | None
    entry_price: float
    stop_price: float | None


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Skips for one reason in one stretch of time."""

    at: datetime
    reason: str
    skips: int


class Equity(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy's closing fills came to in one stretch of time."""

    at: datetime
    strategy_id: str
    pnl: float
    """Realized, quote currency."""
    gained: int
    closed: int


class Reliable(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of about the same confidence, and how often they were right."""

    predicted: float
    observed: float
    rows: int


class _Palette(msgspec.Struct, frozen=True, kw_only=True):
    ink: str
    muted: str
    grid: str
    surface: str
    up: str
    down: str
    exit: str
    stop: str
    series: tuple[str, ...]
    scale: tuple[str, str]


_COLOURS: dict[str, tuple[Any, Any]] = {
    "ink": ("#1b2330", "#e2e8f1"),
    "muted": ("#5a6576", "#98a4b6"),
    "grid": ("#e4e8ee", "#263041"),
    "surface": ("#ffffff", "#141a24"),
    "up": ("#0b7a5f", "#3fc79f"),
    "down": ("#b3402e", "#f0826c"),
    "exit": ("#6d3fc0", "#b794f6"),
    "stop": ("#b36b00", "#f0b34d"),
    "series": (
        ("#2563b8", "#c2701c", "#0b7a5f", "#8a4fbf", "#a8324a", "#0f7f96", "#7a6a1d", "#8d97a5"),
        ("#6aa6f5", "#f2a65a", "#3fc79f", "#c39af2", "#ef7f96", "#56c6dc", "#cdbb5e", "#7d899b"),
    ),
    "scale": (("#f4f6f9", "#2563b8"), ("#1a2230", "#6aa6f5")),
}
"""On light and on dark ground, as in console.css."""
_PALETTES: dict[Theme, _Palette] = {
    "light": _Palette(**{name: light for name, (light, _) in _COLOURS.items()}),
    "dark": _Palette(**{name: dark for name, (_, dark) in _COLOURS.items()}),
}


def price(
    symbol: str,
    bars: Sequence[Bar],
    marks: Sequence[Mark],
    positions: Sequence[Watched],
    *,
    since: datetime,
    now: datetime,
    theme: Theme,
) -> Figure:
    """Minute bars with what was sent at them, and entry and stop level of the positions.

    Where nothing is old enough to reach back to `since` the chart begins with the oldest bar.
    """
    palette = _PALETTES[theme]
    begin = max(since, min([bar.at for bar in bars] + [mark.at for mark in marks], default=since))
    figure = _empty(palette, revision=f"price {symbol}")
    figure.add_trace(
        go.Candlestick(
            name=symbol,
            x=[bar.at for bar in bars],
            open=[bar.open for bar in bars],
            high=[bar.high for bar in bars],
            low=[bar.low for bar in bars],
            close=[bar.close for bar in bars],
            increasing={"line": {"color": palette.up, "width": 1}, "fillcolor": _pale(palette.up)},
            decreasing={"line": {"color": palette.down, "width": 1}, "fillcolor": _pale(palette.down)},
            # A bar covers its minute, so that what was sent in that minute lies on it.
            xperiod=60_000,
            xperiodalignment="middle",
            whiskerwidth=0,
            showlegend=False,
        )
    )
    _add_levels(figure, positions, palette, begin=begin, now=now)
    entries = [mark for mark in marks if mark.rule is None]
    for side, shape, colour in (("buy", "triangle-up", palette.up), ("sell", "triangle-down", palette.down)):
        sent = [each for each in entries if each.side == side]
        _add_marks(figure, sent, palette, name=side, shape=shape, colour=colour)
    exits = [each for each in marks if each.rule]
    _add_marks(figure, exits, palette, name="exit", shape="x", colour=palette.exit)
    figure.update_layout(
        hovermode="closest",
        xaxis={"range": [begin, now], "rangeslider": {"visible": False}},
        yaxis={"side": "right", "tickformat": ",.6~f"},
        margin={"l": 8},
    )
    return _figure(figure)


def skips(
    counted: Sequence[Skipped], *, bucket: timedelta, since: datetime, now: datetime, theme: Theme
) -> Figure:
    """Stacked bars over time, each as long as `bucket`, the most frequent reasons by name."""
    palette = _PALETTES[theme]
    totals: Counter[str] = Counter()
    for each in counted:
        totals[each.reason] += each.skips
    named = [reason for reason, _ in totals.most_common(SHOWN_REASONS)]
    figure = _empty(palette, revision="skips")
    for number, reason in enumerate([*named, REST] if len(totals) > len(named) else named):
        sums: Counter[datetime] = Counter()
        for each in counted:
            if each.reason == reason or (reason == REST and each.reason not in named):
                sums[each.at] += each.skips
        figure.add_trace(
            go.Bar(
                name=reason.replace("_", " "),
                x=list(sums),
                y=list(sums.values()),
                # Each covers its stretch of time.
                width=bucket.total_seconds() * 900,
                offset=bucket.total_seconds() * 50,
                marker={"color": palette.series[number], "line": {"width": 0}},
                hovertemplate="%{y:,} %{fullData.name}<extra></extra>",
            )
        )
    begin = max(since, min((each.at for each in counted), default=since))
    figure.update_layout(
        barmode="stack",
        hovermode="x unified",
        legend={"traceorder": "normal"},
        xaxis={"range": [begin, now]},
        yaxis={"rangemode": "tozero", "tickformat": ",~s"},
    )
    return _figure(figure)


def equity(results: Sequence[Equity], *, since: datetime, now: datetime, theme: Theme) -> Figure:
    """The sum of realized results of each strategy, from 0 at its first one, as steps."""
    palette = _PALETTES[theme]
    figure = _empty(palette, revision="equity")
    strategies = sorted({each.strategy_id for each in results})
    for number, strategy_id in enumerate(strategies):
        own = [each for each in results if each.strategy_id == strategy_id]
        sums = list(accumulate(each.pnl for each in own))
        colour = palette.series[number % len(palette.series)]
        figure.add_trace(
            go.Scatter(
                name=_plain(strategy_id),
                x=[*(each.at for each in own), now],
                y=[*sums, sums[-1]],
                mode="lines",
                line={"color": colour, "width": 2, "shape": "hv"},
                hovertemplate="%{y:+,.2f} %{fullData.name}<extra></extra>",
            )
        )
    begin = max(since, min((each.at for each in results), default=since))
    figure.update_layout(
        hovermode="x unified",
        xaxis={"range": [begin, now]},
        yaxis={"tickformat": "+,~r", "zeroline": True, "zerolinecolor": palette.muted},
    )
    return _figure(figure)


def calibration(bins: Sequence[Reliable], *, split: str, theme: Theme) -> Figure:
    """How often answers of each confidence were right; on the diagonal it means what it says."""
    palette = _PALETTES[theme]
    most = max((each.rows for each in bins), default=1)
    figure = _empty(palette, revision="calibration")
    figure.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": palette.muted, "dash": "dot", "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            name=split,
            x=[each.predicted for each in bins],
            y=[each.observed for each in bins],
            customdata=[each.rows for each in bins],
            mode="lines+markers",
            line={"color": palette.series[0], "width": 2},
            marker={"size": [6 + 10 * (each.rows / most) ** 0.5 for each in bins]},
            hovertemplate="confidence %{x:.3f}, right %{y:.3f} of %{customdata:,} rows<extra></extra>",
            showlegend=False,
        )
    )
    seen = [value for each in bins for value in (each.predicted, each.observed)]
    room = [max(0.0, min(seen, default=0.0) - 0.05), min(1.0, max(seen, default=1.0) + 0.05)]
    figure.update_layout(
        xaxis={"range": room, "title": {"text": "confidence"}, "type": "linear"},
        yaxis={"range": room, "title": {"text": "share that was right"}},
        margin={"l": 52, "b": 44},
    )
    return _figure(figure)


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], *, theme: Theme) -> Figure:
    """Rows: what came; columns: what was predicted; the shade is the share of the row."""
    palette = _PALETTES[theme]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    texts = [
        [f"{count:,}<br>{share:.0%}" for count, share in zip(row, part, strict=True)]
        for row, part in zip(counts, shares, strict=True)
    ]
    figure = _empty(palette, revision="confusion")
    figure.add_trace(
        go.Heatmap(
            x=list(labels),
            y=list(labels),
            z=shares,
            zmin=0,
            zmax=1,
            text=texts,
            texttemplate="%{text}",
            colorscale=[[0, palette.scale[0]], [1, palette.scale[1]]],
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="came %{y}, predicted %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": {"text": "predicted"}, "type": "category", "showgrid": False},
        yaxis={"title": {"text": "came"}, "type": "category", "autorange": "reversed", "showgrid": False},
        margin={"l": 60, "b": 44},
    )
    return _figure(figure)


def _add_levels(
    figure: go.Figure, positions: Iterable[Watched], palette: _Palette, *, begin: datetime, now: datetime
) -> None:
    levels: dict[str, list[tuple[datetime, datetime, float]]] = {"entry": [], "stop": []}
    for each in positions:
        span = (max(each.opened_at, begin), each.closed_at or now)
        levels["entry"].append((*span, each.entry_price))
        if each.stop_price is not None:
            levels["stop"].append((*span, each.stop_price))
    for name, lines in levels.items():
        colour, dash = (palette.muted, "dot") if name == "entry" else (palette.stop, "dash")
        figure.add_trace(
            go.Scatter(
                name=name,
                x=[at for start, end, _ in lines for at in (start, end, None)],
                y=[value for _, _, level in lines for value in (level, level, None)],
                mode="lines",
                line={"color": colour, "width": 1.5, "dash": dash},
                hovertemplate=f"{name} %{{y:,.6~f}}<extra></extra>",
                showlegend=bool(lines),
            )
        )


def _add_marks(
    figure: go.Figure, marks: Sequence[Mark], palette: _Palette, *, name: str, shape: str, colour: str
) -> None:
    figure.add_trace(
        go.Scatter(
            name=name,
            x=[mark.at for mark in marks],
            y=[mark.price for mark in marks],
            text=[_plain(f"{mark.strategy_id}, {_author(mark)}") for mark in marks],
            mode="markers",
            marker={
                "symbol": [f"{shape}-open" if mark.is_warmup else shape for mark in marks],
                "color": colour,
                "size": 8,
                "line": {"color": palette.surface if name != "exit" else colour, "width": 1},
            },
            hovertemplate="%{y:,.6~f} " + name + "<br>%{text}<extra></extra>",
            showlegend=bool(marks),
        )
    )


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.3)"


def _author(mark: Mark) -> str:
    return mark.rule or ("warm-up" if mark.is_warmup else mark.version or "model")


def _empty(palette: _Palette, *, revision: str) -> go.Figure:
    axis = {"gridcolor": palette.grid, "linecolor": palette.grid, "zeroline": False, "automargin": True}
    return go.Figure(
        layout={
            "template": None,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": palette.muted, "size": 11},
            "margin": {"l": 40, "r": 12, "t": 28, "b": 28},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
            "hoverlabel": {
                "bgcolor": palette.surface,
                "bordercolor": palette.grid,
                "font": {"color": palette.ink},
            },
            "xaxis": {**axis, "type": "date"},
            "yaxis": axis,
            # The same revision keeps what the operator zoomed into while new rows come in.
            "uirevision": revision,
        }
    )


def _figure(figure: go.Figure) -> Figure:
    drawn = figure.to_plotly_json()
    return Figure(data=drawn["data"], layout=drawn["layout"])


# Plotly reads tags in texts: whatever somebody named is shown as it is written.
def _plain(text: str) -> str:
    return escape(text, quote=False)
