"""Grafana's JSON from what matters of a panel: its question, who is asked, and the unit of the answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

SOURCES: Mapping[str, dict[str, str]] = {
    "postgres": {"type": "postgres", "uid": "flotilla-postgres"},
    "prometheus": {"type": "prometheus", "uid": "flotilla-prometheus"},
}
"""The data sources, as provisioning/datasources names them."""

STRATEGIES = """
SELECT strategy_id FROM latest_outcomes UNION SELECT strategy_id FROM activations ORDER BY 1
"""
"""What the variable $strategy offers."""

_COLUMNS = 24
_HEIGHT = 8
_STAT_HEIGHT = 4


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel: a picture over time, a table, or a figure."""

    title: str
    meaning: str
    """What a reader takes from it, in a sentence."""
    kind: Literal["timeseries", "table", "stat"]
    sql: str | None = None
    promql: Mapping[str, str] = msgspec.field(default_factory=dict)
    """By legend; without `sql`."""
    unit: str = "short"
    """Grafana's name of it: s, bytes, percentunit, ops, ..."""
    width: int = 12
    """Of 24 columns."""

    @property
    def height(self) -> int:
        """In rows of Grafana's grid."""
        return _STAT_HEIGHT if self.kind == "stat" else _HEIGHT


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """A page of panels."""

    uid: str
    title: str
    meaning: str
    panels: Sequence[Panel]


def over_time(title: str, meaning: str, sql: str, *, unit: str = "short", width: int = 12) -> Panel:
    """A picture of what PostgreSQL holds: columns `time`, optionally `metric`, and a value."""
    return Panel(title=title, meaning=meaning, kind="timeseries", sql=sql.strip(), unit=unit, width=width)


def table(title: str, meaning: str, sql: str, *, width: int = 24) -> Panel:
    """Rows of PostgreSQL."""
    return Panel(title=title, meaning=meaning, kind="table", sql=sql.strip(), width=width)


def measured(
    title: str, meaning: str, promql: Mapping[str, str], *, unit: str = "short", width: int = 12
) -> Panel:
    """A picture of what Prometheus measured, by legend."""
    return Panel(title=title, meaning=meaning, kind="timeseries", promql=promql, unit=unit, width=width)


def figure(title: str, meaning: str, promql: str, *, unit: str = "short", width: int = 6) -> Panel:
    """One figure of Prometheus as it is now."""
    return Panel(title=title, meaning=meaning, kind="stat", promql={"": promql}, unit=unit, width=width)


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.meaning,
        "tags": ["flotilla"],
        "schemaVersion": 38,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_STRATEGY]},
        "links": [{"type": "dashboards", "tags": ["flotilla"], "title": "Flotilla", "asDropdown": True}],
        "panels": [
            _panel(panel, number, x, y)
            for number, (panel, x, y) in enumerate(_placed(dashboard.panels), start=1)
        ],
    }


_STRATEGY: dict[str, Any] = {
    "name": "strategy",
    "label": "Strategy",
    "type": "query",
    "datasource": SOURCES["postgres"],
    "query": STRATEGIES.strip(),
    "multi": True,
    "includeAll": True,
    "current": {"text": "All", "value": "$__all"},
    "refresh": 2,
    "sort": 1,
}


def _placed(panels: Sequence[Panel]) -> list[tuple[Panel, int, int]]:
    placed, x, y, row_height = [], 0, 0, 0
    for panel in panels:
        if x + panel.width > _COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        placed.append((panel, x, y))
        x, row_height = x + panel.width, max(row_height, panel.height)
    return placed


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    source = SOURCES["postgres" if panel.sql else "prometheus"]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": source,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [{"datasource": source, **target} for target in _targets(panel)],
    }


def _targets(panel: Panel) -> list[dict[str, Any]]:
    if panel.sql:
        shape = "time_series" if panel.kind == "timeseries" else "table"
        return [{"refId": "A", "rawSql": panel.sql, "format": shape, "rawQuery": True, "editorMode": "code"}]
    return [
        {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend, "instant": panel.kind == "stat"}
        for n, (legend, expr) in enumerate(panel.promql.items())
    ]
