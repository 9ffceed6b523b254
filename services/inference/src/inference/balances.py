"""Balances that went stale are refreshed through the ws-gateway: off the decision path, and not too often.

A decision that met a stale balance only says so and skips; the next one finds what the refresh wrote. The
pause between refreshes holds over all replicas: its row in rate_limits lets one of them ask.
"""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tracing
from common.errors import TryAgain, first_line
from common.tables import rate_limits
from common.ws_gateway import WsGateway
from inference.events import Event

log = structlog.get_logger(__name__)

SCOPE = "balance_refresh"
PAUSE = timedelta(seconds=30)
"""Between two refreshes, whichever replica asked."""


class BalanceRefresh:
    """What stands between decisions and the ws-gateway."""

    def __init__(self, engine: AsyncEngine, gateway: WsGateway) -> None:
        self._engine = engine
        self._gateway = gateway
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Somebody met a stale balance: it is refreshed as soon as the fleet's pause is over."""
        self._wanted.set()

    async def run(self) -> None:
        """For ever: a wanted refresh is asked for, by one replica and after the pause."""
        while True:
            await self._wanted.wait()
            with tracing.bound(tracing.new()):
                await self._refreshed()
            self._wanted.clear()
            await asyncio.sleep(1.0)

    async def _refreshed(self) -> None:
        try:
            if not await self._is_our_turn():
                return
            await self._gateway.sync_balances()
        except (TryAgain, SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning(Event.BALANCES_NOT_REFRESHED, reason=first_line(error))
        else:
            log.info(Event.BALANCES_REFRESHED)

    async def _is_our_turn(self) -> bool:
        turn = insert(rate_limits).values(scope=SCOPE, tokens=0.0, refilled_at=func.now())
        async with self._engine.begin() as connection:
            taken = await connection.execute(
                turn.on_conflict_do_update(
                    index_elements=["scope"],
                    set_={"refilled_at": func.now()},
                    where=rate_limits.c.refilled_at <= func.now() - PAUSE,
                ).returning(rate_limits.c.scope)
            )
            return taken.first() is not None
