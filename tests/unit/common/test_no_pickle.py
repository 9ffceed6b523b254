"""Serving reads nothing that can run code while it is read: no pickle of ours, and none of a library's."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RUNS_CODE = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}
SOURCES = [
    path
    for package in (
        "libs/common/src",
        "services/inference/src",
        "services/exit_strategy/src",
        "services/api/src",
    )
    for path in sorted((ROOT / package).rglob("*.py"))
]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_nothing_that_serves_imports_what_runs_code_while_it_reads():
    found = {str(path.relative_to(ROOT)): RUNS_CODE & set(imported(path)) for path in SOURCES}

    assert len(SOURCES) > 100
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("service", ["inference", "exit_strategy", "api"])
def test_a_serving_process_never_loads_a_model_library_that_unpickles(service):
    look = f"import sys, {service}.app; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert f"{service}.app" in done.stdout.split()
    assert {"joblib", "cloudpickle", "dill", "sklearn"} & set(done.stdout.split()) == set()
