"""Grafana's dashboards: written from the code, laid out, and asking Prometheus for what the services show."""

import re
import subprocess

import pytest
import yaml
from deploy.grafana.build import DASHBOARDS, WRITTEN, file_of, text_of
from deploy.grafana.panels import SOURCES, rendered
from docs.generate import ROOT
from docs.metrics_page import described_metrics

from sandbox.promtool import promtool
from sandbox.servers import FLOTILLA

METRICS = {metric.name: metric for found in described_metrics().values() for metric in found}
OF_EVERY_PROCESS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
QUERIES = [
    (f"{dashboard.uid}: {panel.title}", query)
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.promql.values()
]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_a_dashboard_is_what_the_code_says(dashboard):
    assert file_of(dashboard).read_text() == text_of(dashboard), "run `make docs`"


def test_no_other_dashboard_is_left_behind():
    assert sorted(WRITTEN.iterdir()) == sorted(map(file_of, DASHBOARDS))


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_lie_side_by_side(dashboard):
    taken = set()
    for panel in rendered(dashboard)["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}

        assert columns.stop <= 24
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize(
    "panel", [panel for each in DASHBOARDS for panel in each.panels], ids=lambda p: p.title
)
def test_a_panel_asks_one_source_and_says_what_it_means(panel):
    assert bool(panel.sql) != bool(panel.promql)
    assert panel.meaning.endswith(".")


def test_both_data_sources_are_provisioned_as_the_panels_name_them():
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "flotilla.yml"
    provisioned = yaml.safe_load(path.read_text())["datasources"]

    named = [{"type": each["type"], "uid": each["uid"]} for each in provisioned]
    assert named == list(SOURCES.values())


@pytest.mark.parametrize(("name", "query"), QUERIES, ids=[name for name, _ in QUERIES])
def test_a_query_asks_for_metrics_and_labels_that_the_services_have(name, query):
    asked = re.findall(r"\b(up|flotilla_\w+|process_\w+)(?:\{(\w+)[!=])?", query)

    assert asked
    for metric, label in asked:
        if metric in OF_EVERY_PROCESS:
            continue
        shown = METRICS.get(metric) or METRICS[re.sub("_(bucket|sum|count)$", "", metric)]
        assert shown.name == metric or shown.kind == "histogram"
        assert not label or label in shown.labels
        assert "rate(" in query or not metric.endswith(("_total", "_bucket"))


def test_prometheus_understands_every_query(tmp_path):
    rules = [
        {
            "record": f"panel:query_{number}",
            "expr": query.replace("$__rate_interval", "1m").replace("$strategy", "momentum|reversal"),
        }
        for number, (_, query) in enumerate(QUERIES)
    ]
    written = tmp_path / "rules.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool(FLOTILLA / "packages", print), "check", "rules", written],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout
