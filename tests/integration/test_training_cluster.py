"""A fit on a Dask cluster of two worker processes: as good as at home, judged by the same test rows."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
from distributed import Client
from tests.unit.trainer import market_files

from common.errors import TryAgain
from trainer import cluster

ROWS = (4000, 1200, 1200)
EDGE = 0.2
TOLERANCE = 0.02
"""As documented: of accuracy and log loss, between a fit on workers and one at home."""
WAIT_S = 60


@contextmanager
def process(*arguments):
    started = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(WAIT_S)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler with two workers, each a process of its own."""
    directory = tmp_path_factory.mktemp("cluster")
    described = directory / "scheduler.json"
    with ExitStack() as stack:
        local = ("--scheduler-file", str(described), "--host", "127.0.0.1", "--no-dashboard")
        stack.enter_context(process("distributed.cli.dask_scheduler", *local, "--port", "0"))
        worker = ("distributed.cli.dask_worker", *local, "--nthreads", "1", "--no-nanny")
        for name in ("one", "two"):
            stack.enter_context(process(*worker, "--name", name, "--local-directory", str(directory / name)))
        with Client(scheduler_file=str(described), timeout=WAIT_S, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=WAIT_S)
            address = client.scheduler.address
        yield address


def test_two_workers_fit_a_model_as_good_as_the_trainer_does(scheduler, tmp_path):
    home = market_files.fitted(tmp_path / "home", ROWS, edge=EDGE)
    away = market_files.fitted(tmp_path / "away", ROWS, edge=EDGE, scheduler=scheduler)

    for split in ("validation", "test"):
        for figure in ("accuracy", "log_loss"):
            assert away.metrics[split][figure] == pytest.approx(home.metrics[split][figure], abs=TOLERANCE)
    assert away.rows == home.rows
    assert away.evidence.source == "test"
    assert away.evidence.effective_rows == home.evidence.effective_rows
    assert away.manifest.features == home.manifest.features
    assert away.parity.decision_flips == 0


def test_a_scheduler_that_is_not_there_is_tried_again():
    address = "tcp://127.0.0.1:1"

    with pytest.raises(TryAgain, match=address):
        cluster.connected(address, timeout_s=0.5)
