"""What PostgreSQL reads to answer: the plans of the statements that a question sends."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

Ask = Callable[[AsyncConnection], Awaitable[object]]


async def read_whole(engine: AsyncEngine, ask: Ask) -> set[str]:
    """The tables that some statement of `ask` scans row by row, without an index."""
    steps = await _steps(engine, ask)
    return {step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"}


async def indexes_used(engine: AsyncEngine, ask: Ask) -> set[str]:
    """The indexes that some statement of `ask` reads."""
    return {step["Index Name"] for step in await _steps(engine, ask) if "Index Name" in step}


async def _steps(engine: AsyncEngine, ask: Ask) -> list[dict[str, Any]]:
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    async with engine.connect() as connection:
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        try:
            await ask(connection)
        finally:
            event.remove(engine.sync_engine, "before_cursor_execute", note)
        assert statements, "it asks nothing of the database"
        found: list[dict[str, Any]] = []
        for statement, parameters in statements:
            explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            [plan] = explained.scalar_one()
            found += _nodes(plan["Plan"])
        return found


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("Plans", ()):
        yield from _nodes(each)
