"""position_updated in, exit signal out: captured bodies are read, the Order Manager takes what we send."""

from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from uuid import UUID

import msgspec
import pytest

from common.core.exits.dispatch import Issue, amount_quote
from common.core.exits.exit_signal import exit_signal
from common.core.exits.position import Opening, View, opened
from common.core.exits.rules import Rules, StopLoss, look_at, verdicts
from common.core.ids import exit_signal_id
from common.messages import MarketSnapshot, PositionUpdated, TradingSignal, encode_signal
from sandbox.core.order_rules import Signal, validate

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)

OPENED = (
    b'{"event_type": "position_updated", "position_id": "c2da134c-8f60-4d82-9fdc-0300004d9136", "asset": '
    b'"BTCUSDT", "size": "0.05000000", "unrealized_pnl": "0E-8", "realized_pnl": "0E-8", "mode": "one-way", '
    b'"unrealized_pnl_pct": "0E+8", "time_held_minutes": 0, "position_size_norm": null, "update_source": '
    b'"order_execution", "trace_id": null, "timestamp": "2026-11-22T12:59:54.459426+00:00"}'
)
CLOSED = OPENED.replace(b'"0.05000000"', b'"0E-8"').replace(b'"0E+8"', b"null")
SHORT = OPENED.replace(b'"0.05000000"', b'"-1.50000000"').replace(b"BTCUSDT", b"ETHUSDT")
NUMBER = OPENED.replace(b'"0.05000000"', b"0.05")
NAIVE = OPENED.replace(b"54.459426+00:00", b"54.459426")
BARE = b'{"asset": "BTCUSDT", "size": "0.05", "timestamp": "2026-11-22T12:59:54.459426Z"}'

UPDATES = [
    (OPENED, "BTCUSDT", "0.05"),
    (CLOSED, "BTCUSDT", "0"),
    (SHORT, "ETHUSDT", "-1.5"),
    (NUMBER, "BTCUSDT", "0.05"),
    (NAIVE, "BTCUSDT", "0.05"),
    (BARE, "BTCUSDT", "0.05"),
]


@pytest.mark.parametrize(("body", "symbol", "size"), UPDATES)
def test_a_captured_update_is_read(body, symbol, size):
    update = msgspec.json.decode(body, type=PositionUpdated)

    assert (update.symbol, update.size) == (symbol, Decimal(size))
    assert update.timestamp == datetime(2026, 11, 22, 12, 59, 54, 459426, tzinfo=UTC)


def exit_of(size, price, rule="stop_loss", generation=1):
    view = View(symbol="BTCUSDT", size=Decimal(size), entry_price=Decimal("92000.5"), seen_at=NOW)
    opening = Opening(lifecycle_id=UUID(int=1), strategy_id="momentum_v1", opened_at=NOW)
    tracked = opened(view, Decimal("92000.5"), opening)
    live = abs(Decimal(size))
    issue = Issue(
        rule=rule,
        stage=0,
        generation=generation,
        size=live,
        size_to_close=live,
        price=Decimal(price),
        amount_quote=amount_quote(live, Decimal(price)),
    )
    of = Rules(stop_loss=StopLoss(loss_pct=Decimal(2)))
    found = verdicts(look_at(tracked, Decimal(price), NOW, of), of)
    return exit_signal(tracked, issue, found, NOW, "trace-1")


@pytest.mark.parametrize(
    ("size", "price", "side"),
    [("0.037", "90001.4", "SELL"), ("0.05", "90160.49", "SELL"), ("-0.037", "93840.51", "Buy")],
)
def test_the_order_manager_reads_an_exit_as_an_urgent_order_of_exactly_the_live_size(size, price, side):
    read = validate(msgspec.json.decode(encode_signal(exit_of(size, price))))

    assert isinstance(read, Signal)
    assert (read.side, read.urgency, read.is_exit, read.confidence) == (side, True, True, 1)
    lots = (read.amount_quote / read.price / Decimal("0.001")).to_integral_value(ROUND_FLOOR)
    assert lots * Decimal("0.001") == abs(Decimal(size))


def test_an_exit_says_what_the_platform_asks_of_it():
    body = msgspec.json.decode(encode_signal(exit_of("0.037", "90001.4")))

    metadata = body["metadata"]
    assert body["signal_id"] == str(exit_signal_id(UUID(int=1), "stop_loss", 0, 1))
    assert (metadata["urgency"], metadata["exit_strategy"], metadata["reduce_only"]) == (True, True, True)
    assert (metadata["exit_reason"], metadata["rule_triggered"]) == ("stop_loss", "stop_loss")
    assert metadata["reasoning"] == "stop loss: long at -2.173 % of entry 92000.5"
    assert metadata["rules"] == [
        {
            "rule": "stop_loss",
            "fires": True,
            "level": "90160.49",
            "pnl_pct": "-2.172922973245",
            "close_pct": "100",
        }
    ]
    assert body["market_data_snapshot"]["price"] == 90001.4


@pytest.mark.parametrize(("generation", "again"), [(1, ""), (2, ", signal 2 of this position")])
def test_an_exit_says_how_often_it_was_sent_from_the_second_time_on(generation, again):
    reasoning = exit_of("0.037", "90001.4", generation=generation).metadata["reasoning"]

    assert reasoning == f"stop loss: long at -2.173 % of entry 92000.5{again}"


def test_a_part_of_a_short_that_is_sent_again_says_all_that_it_was_decided_on():
    view = View(symbol="ETHUSDT", size=Decimal("-1.500"), entry_price=Decimal(3000), seen_at=NOW)
    opening = Opening(lifecycle_id=UUID(int=7), strategy_id="momentum_v1", opened_at=NOW)
    issue = Issue(
        rule="take_profit",
        stage=2,
        generation=3,
        size=Decimal("0.50"),
        size_to_close=Decimal("0.75"),
        price=Decimal("2899.123"),
        amount_quote=Decimal("1450.01"),
    )

    tracked = msgspec.structs.replace(opened(view, Decimal(3000), opening), peak_price=Decimal("2890.10"))

    found = exit_signal(tracked, issue, (), NOW, "trace-7")

    assert found == TradingSignal(
        signal_id=exit_signal_id(UUID(int=7), "take_profit", 2, 3),
        signal_type="buy",
        symbol="ETHUSDT",
        amount=1450.01,
        confidence=1.0,
        timestamp=NOW,
        strategy_id="momentum_v1",
        market_data_snapshot=MarketSnapshot(price=2899.123),
        metadata={
            "urgency": True,
            "exit_strategy": True,
            "exit_reason": "take_profit",
            "rule_triggered": "take_profit",
            "reason": "take_profit_triggered",
            "reduce_only": True,
            "reasoning": "take profit: short at +3.363 % of entry 3000, signal 3 of this position",
            "lifecycle_id": str(UUID(int=7)),
            "generation": 3,
            "stage": 2,
            "position_side": "short",
            "live_size": "1.5",
            "size_to_close": "0.75",
            "size": "0.5",
            "entry_price": "3000",
            "peak_price": "2890.1",
            "price": "2899.123",
            "pnl_pct": "3.362567",
            "rules": [],
        },
        trace_id="trace-7",
    )


def test_an_exit_id_differs_by_each_of_its_parts():
    one, other = UUID(int=1), UUID(int=2)
    ids = {
        exit_signal_id(one, "stop_loss", 0, 1),
        exit_signal_id(other, "stop_loss", 0, 1),
        exit_signal_id(one, "take_profit", 0, 1),
        exit_signal_id(one, "stop_loss", 1, 1),
        exit_signal_id(one, "stop_loss", 0, 2),
        exit_signal_id(one, "stop_loss", 11, 1),
        exit_signal_id(one, "stop_loss", 1, 11),
    }

    assert len(ids) == 7
    assert exit_signal_id(one, "stop_loss", 0, 1) == UUID("e04073df-7a4d-58c7-85d2-e11181c53f72")
