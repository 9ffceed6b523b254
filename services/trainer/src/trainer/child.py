"""The child process of a fit: started nicely, listened to, and gone when nobody waits for it any more."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from common.errors import TryAgain
from trainer.job import JOB, RESULT, Job, Result

LOG = "fit.log"
SAID_AT_LAST = 2000
"""Characters of the child's last words that a reason quotes."""
STOP_GRACE_S = 10.0
"""After SIGTERM the child may take so long to end, in seconds; then comes SIGKILL."""

Fit = Callable[[Job, Path, Callable[[dict[str, Any]], None]], Awaitable[Result]]

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


async def fit(job: Job, directory: Path, heard: Callable[[dict[str, Any]], None]) -> Result:
    """The result of `job`, fitted in `directory`; each progress report goes to `heard`.

    However it ends, cancellation included, no process of the fit is left. Raises TryAgain where the child
    ends without a result.
    """
    job_path = directory / JOB
    job_path.write_bytes(msgspec.json.encode(job))
    with (directory / LOG).open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trainer.fit",
            str(job_path),
            stdin=asyncio.subprocess.PIPE,  # stays open until the end: the child dies with us
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment(job.threads),
            start_new_session=True,  # its own group: whatever it starts is stopped with it
        )
    code = await listened(child, heard)
    try:
        return msgspec.json.decode((directory / RESULT).read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        said = (directory / LOG).read_text(errors="replace")[-SAID_AT_LAST:].strip()
        last = said.splitlines()[-1] if said else "it said nothing"
        raise TryAgain(f"the fit ended with {code}: {last}") from None


async def listened(child: Process, heard: Callable[[dict[str, Any]], None]) -> int:
    """The child's exit code; it has ended, with its group, and each of its reports went to `heard`."""
    assert child.stdout is not None
    try:
        async for line in child.stdout:
            with suppress(msgspec.DecodeError):  # a library's own words are no progress
                heard(msgspec.json.decode(line, type=dict[str, Any]))
        return await child.wait()
    finally:
        await stop(child)


async def stop(child: Process, grace_s: float = STOP_GRACE_S) -> None:
    """The child and every process of its group are gone: asked with SIGTERM, after `grace_s` killed."""
    try:
        if child.returncode is None:
            _signal(child, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await child.wait()
    finally:
        _signal(child, signal.SIGKILL)
    await child.wait()


def environment(threads: int, ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of a fit. No credentials: it needs none. Spinning threads would take the cores from whoever trades."""
    return {
        **{name: ours[name] for name in _INHERITED if name in ours},
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(threads),
        "POLARS_MAX_THREADS": str(threads),
        # what a batch took is given back at once: without these two a fit peaks 44 MiB higher
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "PYTHONWARNINGS": "ignore",
    }


def _signal(child: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)
