"""The scrape configuration and the alert rules, as promtool and the code see them."""

import re
import subprocess

import pytest
import yaml
from docs.generate import ROOT
from docs.metrics_page import described_metrics

from sandbox.errors import Missing
from sandbox.promtool import promtool
from sandbox.servers import FLOTILLA

PROMETHEUS = ROOT / "deploy" / "prometheus"
MONITORING = ROOT / "docs" / "monitoring.md"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
KINDS = {metric.name: metric.kind for found in described_metrics().values() for metric in found}
SUFFIXES = ("_bucket", "_sum", "_count")


def told(*arguments):
    tool = promtool(FLOTILLA / "packages", print)
    done = subprocess.run([tool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_prometheus_takes_the_configuration_and_its_rules():
    code, said = told("check", "config", "prometheus.yml")

    assert code == 0, said
    assert f"{len(RULES)} rules found" in said


def test_every_rule_fires_when_it_should_and_not_before():
    code, said = told("test", "rules", "rules_test.yml")

    assert code == 0, said


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_is_tested_both_ways(rule):
    cases = [
        case
        for test in yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    ]

    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_the_services_have(rule):
    names = set(re.findall(r"\bflotilla_\w+", rule["expr"]))

    assert names or "up{" in rule["expr"]
    assert all(is_shown(name) for name in names), names


def is_shown(name):
    of_histogram = next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), None)
    return name in KINDS or KINDS.get(of_histogram) == "histogram"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_what_it_means_and_what_to_do(rule):
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in MONITORING.read_text().splitlines()
        if line.startswith("#")
    }

    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert ROOT / page == MONITORING
    assert anchor in headings


def test_the_services_are_scraped_at_their_own_ports():
    [job] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    ports = dict(
        re.findall(
            r"^#(INFERENCE|TRAINER|EXIT_STRATEGY|MODEL_SERVICE)_PORT=(\d+)$",
            (ROOT / ".env.example").read_text(),
            re.MULTILINE,
        )
    )
    scraped = {
        each["labels"]["service"]: target.partition(":")[2]
        for each in job["static_configs"]
        for target in each["targets"]
    }

    assert scraped == {
        "api": ports["MODEL_SERVICE"],
        "inference": ports["INFERENCE"],
        "trainer": ports["TRAINER"],
        "exit_strategy": ports["EXIT_STRATEGY"],
    }


def test_the_promtool_of_the_machine_goes_before_a_private_one(tmp_path):
    installed = tmp_path / "promtool"
    installed.touch(mode=0o755)

    assert promtool(tmp_path / "packages", print, str(tmp_path)) == installed


def test_a_machine_that_can_have_none_is_told_which_package_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Missing, match="apt-get install prometheus"):
        promtool(tmp_path / "packages", print)
