"""More rows than memory is meant for: boosted from files that are gone afterwards, to a model as good."""

import os
import sys

import pytest
from pydantic import ValidationError
from tests.unit.trainer import market_files

from common.settings import problems
from trainer import boosters, fit
from trainer.job import ONNX, UBJ
from trainer.memory import memory_bytes
from trainer.settings import Settings

ROWS = (4000, 1200, 1200)
EDGE = 0.2


def files(directory):
    return list(directory.glob("external-*/*"))


@pytest.fixture(scope="module")
def from_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("large") / "run"
    return directory, market_files.fitted(directory, ROWS, edge=EDGE, in_memory_bytes=0)


def test_the_same_trees_and_figures_come_from_files_as_from_memory(from_files, tmp_path):
    directory, found = from_files

    in_memory = market_files.fitted(tmp_path / "small", ROWS, edge=EDGE, in_memory_bytes=2**40)

    assert found.metrics == in_memory.metrics
    assert found.evidence == in_memory.evidence
    assert (directory / UBJ).read_bytes() == (tmp_path / "small" / UBJ).read_bytes()


def test_the_same_rows_and_seed_give_the_same_bytes_from_files(from_files, tmp_path):
    directory, _ = from_files

    market_files.fitted(tmp_path / "again", ROWS, edge=EDGE, in_memory_bytes=0)

    for name in (ONNX, UBJ):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()


@pytest.mark.parametrize(("more_bytes", "uses_files"), [(-1, True), (0, False)])
def test_files_are_used_only_above_the_bound_and_removed_also_after_a_failure(
    from_files, tmp_path, more_bytes, uses_files
):
    market_files.write(market_files.frames(ROWS, edge=EDGE), tmp_path)
    job = market_files.job(ROWS, edge=EDGE)
    prepared = fit.prepare(job, tmp_path)
    train, validation = prepared.rows["train"], prepared.rows["validation"]
    bound = train.nbytes + validation.nbytes + more_bytes
    recipe = fit.recipe_of(market_files.job(ROWS, edge=EDGE, in_memory_bytes=bound), prepared)
    seen = []

    def fails(round_, score):
        seen.extend(files(tmp_path))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        boosters.fit(recipe, train, validation, fails)

    assert bool(seen) is uses_files
    assert not list(tmp_path.glob("external-*"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("memory.max", "1048576\n", 1_048_576),
        ("memory/memory.limit_in_bytes", "2097152\n", 2_097_152),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("unrelated", "1\n", None),
    ],
)
def test_a_container_has_the_memory_of_its_control_group_and_never_more_than_the_machine(
    tmp_path, name, content, expected
):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert memory_bytes(tmp_path) == (expected or machine)


@pytest.mark.parametrize("missing", ["dask", "distributed", "pandas"])
def test_a_scheduler_without_its_libraries_is_refused_with_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ValidationError) as refused:
        Settings(model_training_dask_scheduler="tcp://127.0.0.1:8786")

    assert any(
        "install flotilla-trainer with its extra `dask`" in line for line in problems(Settings, refused.value)
    )
