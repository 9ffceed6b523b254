"""What every service shows to Prometheus: names with units, meanings, and labels that stay few."""

import re

import prometheus_client
import pytest
from docs.generate import ROOT
from docs.metrics_page import described_metrics, metrics_page

METRICS = [metric for found in described_metrics().values() for metric in found]
LABELS = {
    "fate",
    "feature",
    "kept",
    "kind",
    "method",
    "of",
    "outcome",
    "queue",
    "reason",
    "result",
    "route",
    "rule",
    "source",
    "state",
    "statistic",
    "status",
    "strategy_id",
}
"""Each has the values of an enum, of the code, or of the configuration."""
PER_SYMBOL = {"flotilla_exit_coverage_seconds"}
"""Shows what is watched now and forgets it afterwards."""
OTHER_UNITS = r"_(ms|milliseconds|s|sec|secs|minutes|hours|days|kb|mb|gb|kib|mib|percent|pct)(_total)?$"


def test_every_part_of_the_fleet_shows_metrics_and_each_under_a_name_of_its_own():
    names = [metric.name for metric in METRICS]

    assert all(described_metrics().values())
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_users_expect_it(metric):
    assert re.fullmatch(r"flotilla_[a-z][a-z0-9]*(_[a-z0-9]+)*", metric.name)
    assert not re.search(OTHER_UNITS, metric.name), "seconds and bytes; shares as fractions"
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created", "_info"))
    assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_bytes"))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_says_what_it_means_in_a_sentence(metric):
    assert metric.meaning[0].isupper() or metric.meaning[0].isdigit()
    assert metric.meaning.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_label_has_few_values(metric):
    allowed = LABELS | {"symbol"} if metric.name in PER_SYMBOL else LABELS

    assert set(metric.labels) <= allowed


def test_no_metric_is_made_where_it_is_not_found():
    registered = {
        family.name for family in prometheus_client.REGISTRY.collect() if family.name.startswith("flotilla_")
    }

    assert registered == {metric.name.removesuffix("_total") for metric in METRICS}


def test_a_process_shows_its_own_figures():
    text = prometheus_client.generate_latest().decode()

    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"):
        assert f"\n{name}" in text


def test_the_metrics_page_is_the_code():
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page(), "run `make docs`"
