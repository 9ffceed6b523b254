"""The sandbox's Position Manager against the bodies captured from the real one."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from litestar.testing import TestClient

from sandbox import ws_gateway
from sandbox.core.positions import Fill, Position, after_fill, position_updated
from sandbox.position_manager import PositionManager, create_app

OPENED_AT = datetime(2026, 11, 22, 12, 59, 54, 458747, tzinfo=UTC)
CLOSED_AT = datetime(2026, 11, 22, 13, 0, 0, 984009, tzinfo=UTC)
KEY = {"X-API-Key": "position-key"}

OPENED_EVENT: dict[str, Any] = {
    "event_type": "position_updated",
    "position_id": "c2da134c-8f60-4d82-9fdc-0300004d9136",
    "asset": "BTCUSDT",
    "size": "0.05000000",
    "unrealized_pnl": "0E-8",
    "realized_pnl": "0E-8",
    "mode": "one-way",
    "unrealized_pnl_pct": "0E+8",
    "time_held_minutes": 0,
    "position_size_norm": None,
    "update_source": "order_execution",
    "trace_id": None,
    "timestamp": "2026-11-22T12:59:54.459426+00:00",
}
CLOSED_EVENT = {
    **OPENED_EVENT,
    "size": "0E-8",
    "realized_pnl": "24.87500000",
    "unrealized_pnl_pct": None,
    "timestamp": "2026-11-22T13:00:00.986361+00:00",
}
OPEN_LONG: dict[str, Any] = {
    "id": "c2da134c-8f60-4d82-9fdc-0300004d9136",
    "asset": "BTCUSDT",
    "mode": "one-way",
    "size": "0.05000000",
    "average_entry_price": "92000.50000000",
    "current_price": None,
    "unrealized_pnl": "0E-8",
    "realized_pnl": "0E-8",
    "long_size": None,
    "short_size": None,
    "version": 1,
    "last_updated": "2026-11-22T12:59:54.458747Z",
    "closed_at": None,
    "created_at": "2026-11-22T12:59:54.458747Z",
    "unrealized_pnl_pct": "0E+8",
    "time_held_minutes": 0,
}
CLOSED = {
    **OPEN_LONG,
    "size": "0E-8",
    "average_entry_price": None,
    "realized_pnl": "24.87500000",
    "version": 2,
    "last_updated": "2026-11-22T13:00:00.984009Z",
    "closed_at": "2026-11-22T13:00:00.984009Z",
    "unrealized_pnl_pct": None,
}
SHORT = {
    **OPEN_LONG,
    "id": "e7e1078d-fb23-4a4a-828e-9b55efb0e0f0",
    "asset": "ETHUSDT",
    "size": "-1.50000000",
    "average_entry_price": "3100.00000000",
    "last_updated": "2026-11-22T13:00:00.711325Z",
    "created_at": "2026-11-22T13:00:00.711325Z",
}
PORTFOLIO = {
    "total_exposure_usdt": 303.25,
    "total_unrealized_pnl_usdt": -3.25,
    "total_realized_pnl_usdt": 24.875,
    "portfolio_value_usdt": 303.25,
    "open_positions_count": 4,
    "long_positions_count": 3,
    "short_positions_count": 1,
    "net_exposure_usdt": 303.25,
    "by_asset": {
        "BNBUSDT": {
            "exposure_usdt": 303.25,
            "unrealized_pnl_usdt": -3.25,
            "realized_pnl_usdt": 0,
            "size": 0.5,
        },
        "BTCUSDT": {
            "exposure_usdt": 0,
            "unrealized_pnl_usdt": 0,
            "realized_pnl_usdt": 24.875,
            "size": 0.02,
        },
        "ETHUSDT": {"exposure_usdt": 0, "unrealized_pnl_usdt": 0, "realized_pnl_usdt": 0, "size": -1.5},
        "SOLUSDT": {"exposure_usdt": 0, "unrealized_pnl_usdt": 0, "realized_pnl_usdt": 0, "size": 1.3},
    },
    "calculated_at": "2026-11-22T13:01:40.379702",
    "limit_exceeded": False,
}
HEALTH = {
    "status": "healthy",
    "service": "position-manager",
    "database_connected": True,
    "queue_connected": True,
    "positions_count": 1,
    "validation_statistics": {
        "total_validations": 0,
        "total_discrepancies": 0,
        "total_fixes": 0,
        "total_errors": 0,
    },
}


def position(symbol: str, id_: str, change: str, price: str, opened_at: datetime = OPENED_AT) -> Position:
    empty = Position(id=uuid.UUID(id_), symbol=symbol, last_updated=opened_at, created_at=opened_at)
    return after_fill(empty, Fill(change=Decimal(change), price=Decimal(price)), opened_at)


LONG = position("BTCUSDT", OPEN_LONG["id"], "0.05", "92000.5")
SOLD = after_fill(LONG, Fill(change=Decimal("-0.05"), price=Decimal(92498)), CLOSED_AT)
SHORTED = position("ETHUSDT", SHORT["id"], "-1.5", "3100", datetime.fromisoformat(SHORT["created_at"]))


class Shelf(PositionManager):
    """A Position Manager whose rows stand where the test puts them."""

    def __init__(self, *rows: Position, now: datetime = CLOSED_AT, database_is_away: bool = False) -> None:
        super().__init__(database_url="", amqp_url="", clock=lambda: now)
        self.ready.set()
        self._rows = list(rows)
        self._database_is_away = database_is_away

    async def find(self, symbol: str, mode: str) -> Position | None:
        rows = await self.all_positions()
        return next((row for row in rows if (row.symbol, row.mode) == (symbol, mode)), None)

    async def all_positions(self) -> list[Position]:
        if self._database_is_away:
            raise ConnectionRefusedError
        return self._rows


def get(path: str, *rows: Position, headers: dict[str, str] = KEY, **changes: Any) -> Any:
    with TestClient(create_app(Shelf(*rows, **changes), api_key="position-key")) as client:
        return client.get(path, headers=headers)


@pytest.mark.parametrize(("row", "captured"), [(LONG, OPENED_EVENT), (SOLD, CLOSED_EVENT)])
def test_a_fill_is_announced_exactly_as_captured(row, captured):
    announced = position_updated(row, datetime.fromisoformat(captured["timestamp"]))

    assert announced == captured
    assert list(announced) == list(captured)


@pytest.mark.parametrize(("row", "captured"), [(LONG, OPEN_LONG), (SOLD, CLOSED), (SHORTED, SHORT)])
def test_a_position_is_shown_exactly_as_captured(row, captured):
    answer = get(f"/api/v1/positions/{row.symbol}", row)

    assert answer.status_code == 200
    assert answer.json() == captured
    assert list(answer.json()) == list(captured)


def test_the_list_includes_closed_rows():
    answer = get("/api/v1/positions", SOLD, SHORTED)

    assert answer.json() == {"positions": [CLOSED, SHORT], "count": 2}


def test_the_portfolio_is_the_captured_one():
    sold = after_fill(SOLD, Fill(change=Decimal("0.02"), price=Decimal(92000)), CLOSED_AT)
    from_stream = Position(
        id=uuid.uuid4(),
        symbol="BNBUSDT",
        size=Decimal("0.50000000"),
        average_entry_price=Decimal(600),
        current_price=Decimal("606.5"),
        unrealized_pnl=Decimal("-3.25"),
        last_updated=OPENED_AT,
        created_at=OPENED_AT,
    )
    sol = position("SOLUSDT", str(uuid.uuid4()), "1.3", "130")
    now = datetime.fromisoformat(PORTFOLIO["calculated_at"]).replace(tzinfo=UTC)

    answer = get("/api/v1/portfolio", sold, SHORTED, from_stream, sol, now=now)

    assert answer.json() == PORTFOLIO
    assert list(answer.json()) == list(PORTFOLIO)


def test_exposure_and_pnl_have_the_captured_keys():
    assert get("/api/v1/portfolio/exposure", LONG).json() == {
        "total_exposure_usdt": 0,
        "calculated_at": "2026-11-22T13:00:00.984009",
    }
    assert get("/api/v1/portfolio/pnl", LONG).json() == {
        "total_unrealized_pnl_usdt": 0,
        "total_realized_pnl_usdt": 0,
        "total_pnl_usdt": 0,
        "calculated_at": "2026-11-22T13:00:00.984009",
    }


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/v1/positions/BTCUSDT", 404, "Position not found for asset: BTCUSDT, mode: one-way"),
        ("/api/v1/positions/ETHUSDT?mode=hedge", 404, "Position not found for asset: ETHUSDT, mode: hedge"),
        ("/api/v1/positions/BTCUSDT?mode=foo", 400, "Invalid mode. Must be 'one-way' or 'hedge'"),
    ],
)
def test_refusals_are_worded_as_captured(path, status, detail):
    answer = get(path, SHORTED)

    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}])
@pytest.mark.parametrize("path", ["positions", "positions/BTCUSDT", "portfolio", "portfolio/pnl"])
def test_a_wrong_key_is_a_proper_401(path, headers):
    answer = get(f"/api/v1/{path}", LONG, headers=headers)

    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid or missing API key"})


def test_a_snapshot_fails_as_it_does_today():
    with TestClient(create_app(Shelf(LONG), api_key="position-key")) as client:
        answer = client.post("/api/v1/positions/BTCUSDT/snapshot", headers=KEY)

    assert (answer.status_code, answer.json()) == (500, {"detail": "Failed to create position snapshot"})


def test_health_needs_no_key_and_counts_the_open_positions():
    answer = get("/health", SOLD, SHORTED, headers={})

    assert (answer.status_code, answer.json()) == (200, HEALTH)


def test_without_a_database_health_says_so_and_the_rest_fails():
    health = get("/health", database_is_away=True)

    assert (health.json()["status"], health.json()["database_connected"]) == ("unhealthy", False)
    assert get("/api/v1/positions", database_is_away=True).status_code == 500


@pytest.mark.parametrize(("written", "status"), [(True, 200), (False, 503)])
def test_a_balance_sync_takes_no_body(written, status):
    async def write_balances():
        return written

    with TestClient(ws_gateway.create_app(write_balances)) as client:
        assert client.post("/api/v1/balances/sync").status_code == status
