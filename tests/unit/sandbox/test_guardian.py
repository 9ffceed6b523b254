"""The guardian ends what its owner left, and nothing else; with real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.processes import runs, soon

from sandbox.guardian import MARK, Group, Guardian, stop_all

_STUBBORN = "trap '' TERM; sleep 60 & echo $!; wait; wait"
_OWNER = f"""
import subprocess, sys, time
from sandbox.guardian import Guardian
guardian = Guardian(grace_s=0.3)
polite = subprocess.Popen(["sleep", "60"], start_new_session=True)
stubborn = subprocess.Popen(["sh", "-c", {_STUBBORN!r}], stdout=subprocess.PIPE, start_new_session=True)
left_alone = subprocess.Popen(["sleep", "60"], start_new_session=True)
for child in (polite, stubborn, left_alone):
    guardian.add(child.pid)
guardian.remove(left_alone.pid)
grandchild = int(stubborn.stdout.readline())
print(guardian.pid, polite.pid, stubborn.pid, grandchild, left_alone.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_killing_the_owner_ends_every_group_that_was_added_and_no_other():
    with subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        guardian, polite, stubborn, grandchild, left_alone = map(int, owner.stdout.readline().split())

        owner.kill()

        assert soon(lambda: not any(map(runs, (guardian, polite, stubborn, grandchild))))
        assert runs(left_alone)
        os.kill(left_alone, signal.SIGKILL)


def test_ctrl_c_and_termination_do_not_reach_the_guardian(sleeper):
    guardian = Guardian(grace_s=1)
    guardian.add(sleeper.pid)
    assert soon(lambda: ignores(guardian.pid, signal.SIGINT))

    os.kill(guardian.pid, signal.SIGINT)
    os.kill(guardian.pid, signal.SIGTERM)
    assert runs(sleeper.pid)

    guardian.close()
    assert not runs(sleeper.pid)


def test_a_group_is_asked_with_the_signal_that_was_named():
    script = "trap 'exit 7' INT; trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()

        with Guardian(grace_s=5) as guardian:
            guardian.add(shell.pid, ask=signal.SIGINT)

        assert shell.wait() == 7


def test_a_pid_that_was_used_again_is_not_hit(sleeper):
    reused = Group(sleeper.pid, started=1)

    reused.send(signal.SIGKILL)

    assert reused.members() == []
    assert runs(sleeper.pid)


def test_a_group_outlives_its_leader(sleeper):
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE, start_new_session=True, text=True
    ) as leader:
        assert leader.stdout is not None
        with Guardian() as guardian:
            group = guardian.add(leader.pid)
            member = int(leader.stdout.readline())
            leader.wait()

            assert group.members() == [member]

        assert not runs(member)


def test_stopping_a_directory_asks_whoever_started_the_others_and_nobody_else(tmp_path, sleeper):
    script = "trap 'kill $!; exit 7' TERM; sleep 60 & echo $!; wait"
    environment = {**os.environ, MARK: str(tmp_path)}
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        started_by_ours = int(ours.stdout.readline())

        stop_all(tmp_path, grace_s=5)

        # Killed it loses its mark first, and is seen for a moment more.
        assert soon(lambda: not runs(started_by_ours), limit_s=1)
        assert ours.wait(2) == 7
    assert runs(sleeper.pid)


def test_stopping_a_directory_kills_what_does_not_listen(tmp_path):
    environment = {**os.environ, MARK: str(tmp_path)}
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        ours.stdout.readline()

        stop_all(tmp_path, grace_s=0.2)

        assert ours.wait(2) == -signal.SIGKILL


def ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(mask >> (number - 1) & 1)
