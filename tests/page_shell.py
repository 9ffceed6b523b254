"""A page's commands, typed into one bash as a reader would."""

import asyncio
import os
import re
import signal
import textwrap
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
DONE = "step is done"
PATIENCE_S = 90


def steps(page):
    """Every block of commands of `page`, by the heading that it stands under."""
    for part in page.read_text().split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
            yield heading, textwrap.dedent(block)


class Shell:
    """One bash that a page is typed into."""

    def __init__(self, process):
        self._process = process

    async def run(self, commands):
        """What `commands` printed; they succeeded."""
        self._process.stdin.write(f"{commands}\necho {DONE}\n".encode())
        await self._process.stdin.drain()
        said = []
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self._process.stdout.readline()).decode():
                if line.strip() == DONE:
                    return "".join(said)
                said.append(line)
        raise AssertionError(f"{commands}\nended with:\n{''.join(said)}")


@asynccontextmanager
async def shell(environment):
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-s",
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield Shell(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.stdin.close()
        await process.wait()
