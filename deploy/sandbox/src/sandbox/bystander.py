"""A bystander: asks for trainings and activates versions while the fleet is struck, as an operator might."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import asyncpg
import httpx

from sandbox.faults import ACTOR
from sandbox.outages import DATABASE_IS_AWAY

TRAINING_EVERY_S = 6.0
ACTIVATION_EVERY_S = 11.0
ENDING_LIMIT_S = 150.0
"""How long trainings may take to end once no more are asked for."""

_VERSIONS = """
SELECT version FROM model_versions WHERE strategy_id = $1 AND NOT is_active ORDER BY created_at DESC LIMIT 3
"""
_UNFINISHED = """
SELECT count(*) FROM training_runs WHERE finished_at IS NULL
"""


class Bystander:
    """Asks through the API; what it does not get it does not miss."""

    def __init__(
        self, api: httpx.AsyncClient, pool: asyncpg.Pool, strategies: Sequence[str], random: Random
    ) -> None:
        self._api = api
        self._pool = pool
        self._strategies = strategies
        self._random = random

    async def run(self) -> None:
        """Asks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._train())
            tasks.create_task(self._activate())

    async def until_no_training(self) -> bool:
        """Every run has ended; False after ENDING_LIMIT_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDING_LIMIT_S):
                while await self._unfinished():  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(1)
                return True
        return False

    async def _train(self) -> None:
        while True:
            for strategy_id in self._strategies:
                await self._asked("/api/v1/training/trigger", {"strategy_id": strategy_id, "actor": ACTOR})
                await asyncio.sleep(TRAINING_EVERY_S)

    async def _activate(self) -> None:
        while True:
            await asyncio.sleep(ACTIVATION_EVERY_S)
            strategy_id = self._random.choice(self._strategies)
            with suppress(*DATABASE_IS_AWAY):
                versions = [row["version"] for row in await self._pool.fetch(_VERSIONS, strategy_id)]
                if versions:
                    body = {"force": True, "reason": "tried in chaos", "actor": ACTOR}
                    await self._asked(f"/api/v1/models/{self._random.choice(versions)}/activate", body)

    async def _asked(self, path: str, body: dict[str, object]) -> None:
        with suppress(httpx.HTTPError):
            await self._api.post(path, json=body)

    async def _unfinished(self) -> int:
        try:
            return int(await self._pool.fetchval(_UNFINISHED))
        except DATABASE_IS_AWAY:
            return 1
