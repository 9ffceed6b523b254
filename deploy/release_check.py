"""Is this checkout fit to become a release? One line per reason why not, and exit status 1.

`make release-check` looks, after `make lint`, at what no test of the code sees: that the version is the same
everywhere and has its notes, that nothing is uncommitted, that what is written from the code is up to date.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs.generate import pages

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = ("libs/*", "services/*", "migrations", "deploy/sandbox")
_HEADING = re.compile(r"^## (\S+)", re.MULTILINE)
_TAGS = (
    ("deploy/kubernetes/*/kustomization.yaml", re.compile(r"newTag: ([^\s}]+)")),
    ("deploy/images/*.Dockerfile", re.compile(r"^ARG VERSION=(\S+)", re.MULTILINE)),
    ("deploy/compose*.yaml", re.compile(r"FLOTILLA_VERSION:-([^}]+)\}")),
)
"""Where images have a version, or are named with one."""


def main() -> int:
    """Prints what stands against a release."""
    found = [*different_versions(ROOT), *lacking_notes(ROOT), *outdated(ROOT), *uncommitted(ROOT)]
    for each in found:
        print(f"release-check: {each}")
    if not found:
        print(f"release-check: {version(ROOT)} can be tagged v{version(ROOT)}")
    return int(bool(found))


def version(root: Path) -> str:
    """The version of everything in the checkout: what the root's pyproject.toml says."""
    return _version(root / "pyproject.toml")


def different_versions(root: Path) -> Iterator[str]:
    """What says another version than the checkout's."""
    wanted = version(root)
    for member in MEMBERS:
        for path in sorted(root.glob(f"{member}/pyproject.toml")):
            if (said := _version(path)) != wanted:
                yield f"{path.relative_to(root)} says {said}, pyproject.toml says {wanted}"
    for where, tag in _TAGS:
        for path in sorted(root.glob(where)):
            for said in sorted(set(tag.findall(path.read_text())) - {wanted}):
                yield f"{path.relative_to(root)} says {said} of images, pyproject.toml says {wanted}"


def lacking_notes(root: Path) -> Iterator[str]:
    """Where the version has no notes, or some are not its own yet."""
    wanted = version(root)
    headings = _HEADING.findall((root / "CHANGELOG.md").read_text())
    if headings[:1] != [wanted]:
        begins = headings[0] if headings else "nothing"
        yield f"CHANGELOG.md begins with {begins}, not with {wanted} and its date"
    if wanted not in re.findall(r"^### (\S+)", (root / "docs/upgrading.md").read_text(), re.MULTILINE):
        yield f"docs/upgrading.md has no notes on {wanted}"


def outdated(root: Path) -> Iterator[str]:
    """What is written from the code and was not written again."""
    for path, text in pages().items():
        if not path.is_file() or path.read_text() != text:
            yield f"{path.relative_to(root)} is not what the code says: make docs"


def uncommitted(root: Path) -> Iterator[str]:
    """Whether the checkout holds anything that the release would lack."""
    said = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    if said:
        yield f"{len(said.splitlines())} files are not committed"


def _version(path: Path) -> str:
    return str(tomllib.loads(path.read_text())["project"]["version"])


if __name__ == "__main__":
    sys.exit(main())
