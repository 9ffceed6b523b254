"""Mutation testing of the cores: would a test notice if a line decided something else?

`python -m tests.mutants [NAMES]` changes every function under a `core/` in every way that mutmut knows, runs
the unit tests that reach it, and prints what went unnoticed; NAMES (`common.core.exits.*`) choose some, and
SAMPLE=1000 in the environment so many of all, at random (SEED: others). What was found before stands until
its function changes, unless it is named again. Ends with status 1 where fewer than LEAST_KILLED are noticed
of a full run or of a sample, or any change of what must not fail goes unnoticed.

mutmut wants one source folder and packages named by their place in it: it works on a copy of the tree.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / ".flotilla" / "mutants"
PACKAGES = ("libs/*/src", "services/*/src", "deploy/*/src", "migrations/src")
NOT_COPIED = ("__pycache__", "test_no_pickle.py", "test_configuration.py")
"""Tests of the tree's own files, which lie elsewhere in the copy: they would fail with nothing changed."""
FEW = "common.core.trading_state.*"
"""The quickest way to have every change written down."""
LEAST_KILLED = 0.85
WITHOUT_SURVIVORS = (
    "common.core.exits.*",
    "common.core.ids.*",
    "common.core.trading_state.*",
    "exit_strategy.core.keeping.*",
    "inference.core.stream.*",
    "inference.core.vector_gates.*",
    "trainer.core.promotion.*",
)
"""Stop loss, staleness, ids, fences and promotion."""
FATES = ("killed", "hung", "survived", "not run")
KILLED = (1, 3)
"""How the tests ended where one failed."""
HUNG = (-24, 24, 36, 152, 255, -9)
"""How they ended where they took too long: noticed, too, unless the machine itself was too busy."""
SET_ASIDE = 34
"""mutmut's own word for a change that is not to be run."""
UNDECIDED = (None, 2)
"""Not run, or broken off by the user."""


def main(names: list[str]) -> int:
    """Runs what is to be run and prints what came of it; the exit status."""
    _copy_tree()
    size = int(os.environ.get("SAMPLE", "0"))
    if not names and size:
        return _run_sample(size, os.environ.get("SEED", "1"))
    if failed := _run(names):
        return failed
    verdicts = {name: code for name, code in _verdicts() if not names or _is_one_of(name, names)}
    return _report(verdicts, is_whole=not names)


def _run_sample(size: int, seed: str) -> int:
    if failed := _run([FEW]):
        return failed
    chosen = set(random.Random(seed).sample(sorted(name for name, _ in _verdicts()), size))
    # mutmut runs what has no verdict; a thousand names on its command line take it longer than the tests.
    _replace_verdicts(lambda name, code: SET_ASIDE if code is None and name not in chosen else code)
    try:
        if failed := _run([]):
            return failed
        return _report({name: code for name, code in _verdicts() if name in chosen}, is_whole=True)
    finally:
        _replace_verdicts(lambda _, code: None if code == SET_ASIDE else code)


def _run(names: list[str]) -> int:
    mutmut = Path(sys.executable).with_name("mutmut")
    return subprocess.run([mutmut, "run", "--max-children", "1", *names], cwd=COPY, check=False).returncode


def _copy_tree() -> None:
    for sources in PACKAGES:
        for package in ROOT.glob(f"{sources}/*/__init__.py"):
            _copy(package.parent, COPY / "src" / package.parent.name)
    _copy(ROOT / "tests", COPY / "tests")
    shutil.rmtree(COPY / "mutants" / "tests", ignore_errors=True)
    shutil.copy2(ROOT / "pyproject.toml", COPY)


def _copy(tree: Path, to: Path) -> None:
    # What is gone from the tree must not be tested; mutmut goes by the times of files.
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(tree, to, ignore=shutil.ignore_patterns(*NOT_COPIED))


def _verdicts() -> Iterator[tuple[str, int | None]]:
    changed = COPY / "mutants"
    for found in changed.glob("src/**/*.meta"):
        if (COPY / found.relative_to(changed)).with_suffix("").is_file():
            yield from json.loads(found.read_text())["exit_code_by_key"].items()


def _replace_verdicts(changed: Callable[[str, int | None], int | None]) -> None:
    for path in (COPY / "mutants").glob("src/**/*.meta"):
        found = json.loads(path.read_text())
        codes = found["exit_code_by_key"]
        found["exit_code_by_key"] = {name: changed(name, code) for name, code in codes.items()}
        path.write_text(json.dumps(found, indent=4))


def _report(verdicts: dict[str, int | None], *, is_whole: bool) -> int:
    by_package: dict[str, Counter[str]] = {}
    survivors = []
    for name, code in sorted(verdicts.items()):
        fate = _fate(code)
        by_package.setdefault(name.partition(".")[0], Counter())[fate] += 1
        if fate == "survived":
            survivors.append(name)
    for survivor in survivors:
        print(f"survived: {survivor}")
    total: Counter[str] = sum(by_package.values(), Counter())
    for package, fates in [*by_package.items(), ("all", total)]:
        counts = "".join(f"{fates[fate]:7} {fate}" for fate in FATES)
        print(f"{package:14} {fates.total():6} changes {counts}  {_share(fates):.1%} noticed")
    forbidden = [name for name in survivors if _is_one_of(name, WITHOUT_SURVIVORS)]
    for name in forbidden:
        print(f"must not survive: {name}")
    return int(bool(forbidden) or (is_whole and _share(total) < LEAST_KILLED))


def _fate(code: int | None) -> str:
    if code in UNDECIDED:
        return "not run"
    if code in KILLED:
        return "killed"
    return "hung" if code in HUNG else "survived"


def _share(fates: Counter[str]) -> float:
    noticed = fates["killed"] + fates["hung"]
    return noticed / max(1, noticed + fates["survived"])


def _is_one_of(name: str, patterns: tuple[str, ...] | list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
