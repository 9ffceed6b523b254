"""Decides whether the pages a reader follows lead somewhere: links, and sections of alerts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    assert [target for target in LINK.findall(page.read_text()) if not _resolves(page, target)] == []


def test_a_link_to_no_file_or_to_no_heading_is_found() -> None:
    readme = PAGES[0]
    assert not _resolves(readme, "docs/no-such-page.md")
    assert not _resolves(readme, "docs/platform.md#no-such-heading")


def test_the_alert_sections_of_the_monitoring_page_are_the_alerts_of_the_rules() -> None:
    alerts = re.findall(r"alert: (\w+)", (ROOT / "deploy/prometheus/rules.yml").read_text())
    sections = re.findall(r"^### (Flotilla\w+)$", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE)
    assert alerts
    assert sorted(sections) == sorted(alerts)


def _resolves(page: Path, target: str) -> bool:
    if re.match(r"\w+:", target):
        return True
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.exists():
        return False
    return not anchor or file.suffix != ".md" or anchor in _anchors(file)


def _anchors(page: Path) -> set[str]:
    words = (heading.strip().lower() for heading in HEADING.findall(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words}
