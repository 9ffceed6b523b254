"""The API as an operator starts it: a process of its own, asked over HTTP."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import httpx
import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sandbox.ports import free_port

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"
READ_ONLY = "f00ddeadbeef0123456789abcdef9876543210fedcba1357924680aceb02468a"
PATIENCE_S = 20.0


class Api(msgspec.Struct, frozen=True):
    """A running API process with a hand on its database."""

    process: asyncio.subprocess.Process
    url: str
    engine: AsyncEngine

    async def insert(self, table, *rows, **values):
        async with self.engine.begin() as connection:
            await connection.execute(insert(table), list(rows) or [values])

    def client(self, key=KEY):
        return httpx.AsyncClient(base_url=self.url, headers={"X-API-Key": key}, timeout=PATIENCE_S)


@asynccontextmanager
async def api_process(database_url, amqp_url, tmp_path, **variables):
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "RABBITMQ_URL": amqp_url,
        "MODEL_SERVICE_PORT": str(port),
        "MODEL_SERVICE_API_KEY": KEY,
        "MODEL_SERVICE_READONLY_API_KEY": READ_ONLY,
        "MODEL_SERVICE_EVENT_POLL_SECONDS": "0.1",
        "MODEL_STORAGE_PATH": str(tmp_path),
        "TRADING_STRATEGIES": "momentum,reversal",
        "TRADING_SYMBOLS": "BTCUSDT,ETHUSDT",
        **variables,
    }
    log_path = tmp_path / "log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api", env=environment, stdout=log, stderr=log
        )
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    url = f"http://127.0.0.1:{port}"
    try:
        await _live(process, url, log_path)
        yield Api(process, url, engine)
    finally:
        await engine.dispose()
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def _live(process, url, log_path):
    async with httpx.AsyncClient() as client, asyncio.timeout(PATIENCE_S):
        while True:
            assert process.returncode is None, log_path.read_text()
            try:
                if (await client.get(f"{url}/health/live")).status_code == 200:
                    return
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
