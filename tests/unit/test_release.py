"""A checkout is fit for a release when it is one version everywhere, has notes and holds nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest
from deploy.release_check import different_versions, lacking_notes, uncommitted, version

ROOT = Path(__file__).parents[2]
VERSIONED = (
    "pyproject.toml",
    "libs/common/pyproject.toml",
    "services/trainer/pyproject.toml",
    "deploy/kubernetes/platform/kustomization.yaml",
    "deploy/compose.yaml",
    "deploy/images/api.Dockerfile",
    "CHANGELOG.md",
    "docs/upgrading.md",
)


@pytest.fixture
def checkout(tmp_path):
    for name in VERSIONED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def changed(checkout, name, old, new):
    path = checkout / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_everything_here_has_one_version():
    assert list(different_versions(ROOT)) == []


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("services/trainer/pyproject.toml", 'version = "{}"'),
        ("deploy/kubernetes/platform/kustomization.yaml", "newTag: {}"),
        ("deploy/compose.yaml", "FLOTILLA_VERSION:-{}"),
        ("deploy/images/api.Dockerfile", "ARG VERSION={}"),
    ],
)
def test_another_version_is_named_with_its_file(checkout, name, old):
    was = version(checkout)
    changed(checkout, name, old.format(was), old.format("9.8.7"))

    (said,) = different_versions(checkout)

    assert said.startswith(name)
    assert "9.8.7" in said
    assert was in said


def test_a_version_needs_its_heading_at_the_top_of_the_changelog(checkout):
    path = checkout / "CHANGELOG.md"
    path.write_text(f"# Changelog\n\n## Unreleased\n\n## {version(checkout)} - 2026-01-01\n")

    assert [each.split(" ")[0] for each in lacking_notes(checkout)] == ["CHANGELOG.md"]

    path.write_text(f"# Changelog\n\n## {version(checkout)} - 2026-01-01\n")

    assert list(lacking_notes(checkout)) == []


def test_a_version_needs_its_notes_on_upgrading(checkout):
    (checkout / "CHANGELOG.md").write_text(f"## {version(checkout)} - 2026-01-01\n")
    changed(checkout, "docs/upgrading.md", f"### {version(checkout)}", "### 0.0.1")

    assert list(lacking_notes(checkout)) == [f"docs/upgrading.md has no notes on {version(checkout)}"]


def test_what_is_not_committed_is_counted(checkout):
    def git(*arguments):
        told = ("-c", "user.name=ada", "-c", "user.email=ada@localhost")
        subprocess.run(["git", *told, *arguments], cwd=checkout, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "--message", "all")
    assert list(uncommitted(checkout)) == []

    (checkout / "new").write_text("")

    assert list(uncommitted(checkout)) == ["1 files are not committed"]
