"""What several integration tests stand on: exit workers, and lines to the servers that can be cut."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cable import Cable
from tests.integration.exit_fleet import Fleet, exit_fleet


@pytest.fixture
async def fleet(database_url: str, amqp_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Exit workers with nothing open, and neighbours that stand where a test puts them."""
    async with exit_fleet(database_url, amqp_url, tmp_path) as one:
        yield one


@pytest.fixture
async def database_cable(database_url: str) -> AsyncIterator[Cable]:
    """The way to the test's database."""
    async for cable in _plugged(database_url):
        yield cable


@pytest.fixture
async def broker_cable(amqp_url: str) -> AsyncIterator[Cable]:
    """The way to the test's broker."""
    async for cable in _plugged(amqp_url):
        yield cable


async def _plugged(url: str) -> AsyncIterator[Cable]:
    cable = Cable(url)
    await cable.plug()
    yield cable
    await cable.unplug()
