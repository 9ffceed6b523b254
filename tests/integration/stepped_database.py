"""A database that a state machine, which cannot await, asks one question at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.database import create_engine
from common.settings import DatabaseSettings


class Stepped:
    """Every question is a transaction, committed when it is answered; an error rolls it back."""

    def __init__(self, engine: AsyncEngine, runner: asyncio.Runner) -> None:
        self.engine = engine
        self._runner = runner

    def ask(self, question: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        return self.run(self._transaction(question))

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self._runner.run(awaited())

    async def _transaction(self, question: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        async with self.engine.begin() as connection:
            return await question(connection)


@contextmanager
def stepped(database_url: str) -> Iterator[Stepped]:
    """The database, for steps of one test."""
    settings = DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=5000)
    with asyncio.Runner() as runner:
        engine = create_engine(settings, application="machine")
        try:
            yield Stepped(engine, runner)
        finally:
            runner.run(engine.dispose())
