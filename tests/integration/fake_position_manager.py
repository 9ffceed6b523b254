"""A Position Manager whose positions stand where the test puts them; an ASGI application."""

import asyncio
import json
from datetime import UTC, datetime


class FakePositionManager:
    """Answers the two questions that the fleet asks, in the real service's shapes."""

    def __init__(self):
        self.rows = {}
        self.is_down = False
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    def book(self, symbol, size, entry="100", at=None):
        """The position of `symbol` is so; returns the update that the real one would send."""
        at = (at or datetime.now(UTC)).isoformat()
        self.rows[symbol] = {
            "id": f"row-{symbol}",
            "asset": symbol,
            "mode": "one-way",
            "size": size,
            "average_entry_price": entry,
            "current_price": None,
            "unrealized_pnl": "0E-8",
            "version": 1,
            "last_updated": at,
        }
        return {
            "event_type": "position_updated",
            "position_id": None,
            "asset": symbol,
            "size": size,
            "unrealized_pnl": "0E-8",
            "realized_pnl": "0",
            "unrealized_pnl_pct": None,
            "update_source": "order_execution",
            "trace_id": None,
            "timestamp": at,
        }

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        self.asked += 1
        await self.answers.wait()
        status, body = self._answer(scope["path"])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def _answer(self, path):
        if self.is_down:
            return 503, {"detail": "down"}
        if path == "/api/v1/positions":
            return 200, {"positions": list(self.rows.values()), "count": len(self.rows)}
        symbol = path.rpartition("/")[2]
        if symbol in self.rows:
            return 200, self.rows[symbol]
        return 404, {"detail": f"Position not found for asset: {symbol}, mode: one-way"}


async def _lifespan(receive, send):
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
