"""What Prometheus can be told: every metric of the code, and docs/metrics.md from it."""

import importlib
import pkgutil
from collections.abc import Iterator

import msgspec
from prometheus_client.metrics import MetricWrapperBase

PACKAGES = {
    "All services": "common",
    "Inference": "inference",
    "Trainer": "trainer",
    "Exit strategy": "exit_strategy",
    "API": "api",
}
"""Headings of the page and the packages that they stand for; a metric belongs to the first that has it."""

_INTRODUCTION = [
    "Every service answers `GET /metrics` in Prometheus' text format, without a key. Each also shows",
    "what prometheus-client knows of its process: `process_resident_memory_bytes`,",
    "`process_cpu_seconds_total`, `process_open_fds`, `process_start_time_seconds`,",
    "`python_gc_collections_total`, `python_info`.",
    "",
    "Names begin with `flotilla_` and end with their unit (`_seconds`, `_bytes`); counters end with `_total`",
    "and begin at 0 with each process. A histogram is read by `_bucket`, `_sum` and `_count`. Labels have",
    "few values; a symbol is one only where just what is watched at the moment is shown.",
]


class DescribedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric as `/metrics` shows it."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]


def described_metrics() -> dict[str, list[DescribedMetric]]:
    """The metrics of each heading by name; importing what holds them is all that it takes."""
    seen: set[int] = set()
    found: dict[str, list[DescribedMetric]] = {}
    for title, package in PACKAGES.items():
        own = {id(metric): metric for metric in _metrics(package) if id(metric) not in seen}
        seen |= own.keys()
        found[title] = sorted(map(_described, own.values()), key=lambda metric: metric.name)
    return found


def metrics_page() -> str:
    """Every metric with its kind, labels and meaning, as Markdown."""
    lines = ["# Metrics", "", "Written from the code by `make docs`.", "", *_INTRODUCTION]
    for title, metrics in described_metrics().items():
        lines += ["", f"## {title}", "", "| metric | kind | labels | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{metric.name}` | {metric.kind} | {', '.join(map('`{}`'.format, metric.labels))} "
            f"| {metric.meaning} |"
            for metric in metrics
        ]
    return "\n".join(lines) + "\n"


def _metrics(package: str) -> Iterator[MetricWrapperBase]:
    root = importlib.import_module(package)
    yield from _held(root)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not found.name.endswith(".__main__"):
            yield from _held(importlib.import_module(found.name))


def _held(module: object) -> Iterator[MetricWrapperBase]:
    yield from (value for value in vars(module).values() if isinstance(value, MetricWrapperBase))


def _described(metric: MetricWrapperBase) -> DescribedMetric:
    [family] = metric.describe()
    return DescribedMetric(
        name=f"{family.name}_total" if family.type == "counter" else family.name,
        kind=family.type,
        meaning=family.documentation,
        labels=tuple(metric._labelnames),
    )
