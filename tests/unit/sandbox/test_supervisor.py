"""The supervisor with real processes: restarts, output, and that nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from tests.processes import runs, soon

from sandbox.errors import Missing
from sandbox.supervisor import Backoff, Supervisor

_QUICK = Backoff(first_s=0.02, longest_s=0.1)
_OWNER = """
import asyncio, os, sys
from pathlib import Path
from sandbox.supervisor import Supervisor

async def main():
    def on_line(name, line):
        print(line, flush=True)
    async with Supervisor(Path(sys.argv[1]), on_line, grace_s=0.3) as supervisor:
        await supervisor.start("polite", ["sh", "-c", "sleep 60 & echo $$ $!; wait"], dict(os.environ))
        stubborn = "trap '' TERM INT; sleep 60 & echo $$ $!; wait; wait"
        await supervisor.start("stubborn", ["sh", "-c", stubborn], dict(os.environ))
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Lines:
    """Collects what the supervised services say and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))
        self._news.set()

    async def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        async with asyncio.timeout(5):
            while not holds([line for _, line in self.seen]):
                self._news.clear()
                await self._news.wait()
        return [line for _, line in self.seen]


@pytest.fixture
def lines() -> Lines:
    return Lines()


async def test_a_dead_service_is_started_again_with_growing_delays(tmp_path, lines):
    async with Supervisor(tmp_path, lines, _QUICK) as supervisor:
        await supervisor.start("worker", shell("echo up; exit 3"), ENVIRONMENT)

        said = await lines.until(lambda seen: seen.count("up") >= 4)
        assert supervisor.restarts("worker") >= 3

    assert [line for line in said if line != "up"][:3] == [
        "ended with status 3; starting again in 0.02 s",
        "ended with status 3; starting again in 0.04 s",
        "ended with status 3; starting again in 0.08 s",
    ]


async def test_a_service_that_stayed_alive_starts_its_delays_anew(tmp_path, lines):
    settled_at_once = Backoff(first_s=0.02, longest_s=10, settled_s=0)

    async with Supervisor(tmp_path, lines, settled_at_once) as supervisor:
        await supervisor.start("worker", shell("exit 1"), ENVIRONMENT)
        said = await lines.until(lambda seen: len(seen) >= 4)

    assert {line.rpartition("in ")[2] for line in said} == {"0.02 s"}


@pytest.mark.parametrize(
    ("deaths_in_a_row", "delay_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (10_000, 10.0)]
)
def test_the_delay_doubles_up_to_ten_seconds(deaths_in_a_row, delay_s):
    assert Backoff().delay_s(deaths_in_a_row) == delay_s


async def test_a_killed_service_comes_back_as_another_process(tmp_path, lines):
    async with Supervisor(tmp_path, lines, _QUICK) as supervisor:
        await supervisor.start("worker", shell("echo up; exec sleep 60"), ENVIRONMENT)
        await lines.until(lambda seen: "up" in seen)
        first = supervisor.pid("worker")
        assert first is not None

        os.kill(first, signal.SIGKILL)
        said = await lines.until(lambda seen: seen.count("up") == 2)

        assert said[1] == "died by SIGKILL; starting again in 0.02 s"
        assert supervisor.pid("worker") not in (first, None)
        assert supervisor.restarts("worker") == 1


async def test_every_line_reaches_the_callback_and_the_log(tmp_path, lines):
    script = "trap \"printf 'no newline'; exit\" TERM; echo out; echo err >&2; while :; do sleep 0.01; done"
    async with Supervisor(tmp_path, lines) as supervisor:
        await supervisor.start("talker", shell(script), ENVIRONMENT)
        await lines.until(lambda seen: "err" in seen)

    assert lines.seen == [("talker", "out"), ("talker", "err"), ("talker", "no newline")]
    assert (tmp_path / "talker.log").read_text() == "out\nerr\nno newline\n"


async def test_an_endless_line_is_cut_rather_than_kept_in_memory(tmp_path, lines):
    async with Supervisor(tmp_path, lines) as supervisor:
        await supervisor.start(
            "talker", shell("head -c 300000 /dev/zero | tr '\\0' x; echo; sleep 60"), ENVIRONMENT
        )
        said = await lines.until(lambda seen: sum(map(len, seen)) == 300_000)

    assert 2 <= len(said) <= 300_000 / 65_536 + 1


async def test_a_stopped_service_is_asked_and_not_started_again(tmp_path, lines):
    async with Supervisor(tmp_path, lines, _QUICK) as supervisor:
        await supervisor.start(
            "polite",
            shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"),
            ENVIRONMENT,
        )
        await lines.until(lambda seen: "up" in seen)

        await supervisor.stop("polite")

    assert lines.seen == [("polite", "up"), ("polite", "bye")]


async def test_a_service_that_ignores_the_request_is_killed_when_its_grace_is_over(tmp_path, lines):
    async with Supervisor(tmp_path, lines) as supervisor:
        script = "trap '' TERM; sleep 60 & echo $$ $!; wait"
        await supervisor.start("stubborn", shell(script), ENVIRONMENT, grace_s=0.1)
        said = await lines.until(bool)

        await supervisor.stop("stubborn")

    assert not any(runs(int(pid)) for pid in said[0].split())


async def test_what_a_dead_service_left_in_its_group_is_ended_before_the_next_one(tmp_path, lines):
    async with Supervisor(tmp_path, lines, _QUICK) as supervisor:
        await supervisor.start("leaky", shell("sleep 60 & echo $!; exit 1"), ENVIRONMENT)
        said = await lines.until(lambda seen: len(seen) >= 3)

        assert not runs(int(said[0]))


async def test_a_service_stopped_while_it_waits_for_its_restart_ends_at_once(tmp_path, lines):
    async with Supervisor(tmp_path, lines, Backoff(first_s=60, longest_s=60)) as supervisor:
        await supervisor.start("worker", shell("exit 1"), ENVIRONMENT)
        await lines.until(bool)
        assert supervisor.pid("worker") is None

        async with asyncio.timeout(2):
            await supervisor.stop("worker")


async def test_a_program_that_does_not_exist_is_named(tmp_path, lines):
    async with Supervisor(tmp_path, lines) as supervisor:
        with pytest.raises(Missing, match=r"cannot start worker \(/no/such/program\)"):
            await supervisor.start("worker", ["/no/such/program"], ENVIRONMENT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_nothing_outlives_the_owner(tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for _ in range(2) for pid in owner.stdout.readline().split()]

        os.killpg(owner.pid, number)

        assert len(pids) == 4
        assert soon(lambda: not any(map(runs, pids)))


ENVIRONMENT = {"PATH": os.environ["PATH"]}


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]
