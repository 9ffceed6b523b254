"""Claims stand in the ledger in the order in which they were made, whoever began first."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text
from tests.contract.test_trading_signal import signal

from common import bus
from common.database import create_engine
from common.settings import BusSettings, DatabaseSettings
from common.signal_outbox import SignalOutbox
from common.tables import signal_outbox


@pytest.fixture
async def engine(database_url):
    engine = create_engine(DatabaseSettings(database_url=SecretStr(database_url)), application="test")
    yield engine
    await engine.dispose()


async def test_who_waited_for_the_lock_comes_after_who_held_it(engine, amqp_url):
    broker = bus.create_broker(BusSettings(rabbitmq_url=SecretStr(amqp_url)), service="test")
    outbox = SignalOutbox(engine, broker, owner="test")
    first, second = signal(signal_id=uuid4()), signal(signal_id=uuid4())
    later = datetime.now(UTC) + timedelta(minutes=1)

    async def claim(connection, one):
        await outbox.claim(connection, one, kind="entry", feature_timestamp=None, valid_until=later)

    async with engine.begin() as waiting:
        await waiting.execute(text("SELECT 1"))
        await asyncio.sleep(0.05)
        async with engine.begin() as quicker:
            await claim(quicker, first)
        await claim(waiting, second)

    async with engine.connect() as connection:
        rows = await connection.execute(
            select(signal_outbox.c.signal_id).order_by(signal_outbox.c.created_at)
        )
        assert list(rows.scalars()) == [first.signal_id, second.signal_id]
