"""A trainer that dies at one statement of a booking or before its commit: `dying_bookkeeper.py STEP`."""

import asyncio
import os
import signal
import sys
from itertools import count
from typing import Any

from sqlalchemy import event

from common.database import create_engine
from common.settings import DatabaseSettings
from trainer.executions import Executions

COMMIT = "commit"
FIRST_TABLE = "fill_books"
"""The first that a booking touches: statements count from there."""


async def die_at(step: str) -> None:
    engine = create_engine(DatabaseSettings(), application="dying bookkeeper")
    numbers = count()
    begun = False

    def before_statement(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal begun
        begun = begun or FIRST_TABLE in statement
        if begun and str(next(numbers)) == step:
            die()

    def before_commit(_: Any) -> None:
        if begun and step == COMMIT:
            die()

    event.listen(engine.sync_engine, "before_cursor_execute", before_statement)
    event.listen(engine.sync_engine, "commit", before_commit)
    await Executions(engine).look()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(die_at(sys.argv[1]))
