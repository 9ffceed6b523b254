"""model-service.trading_signals: what we send is what the Order Manager accepts, to the letter."""

import math
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from common.errors import Unusable
from common.messages import MarketSnapshot, TradingSignal, encode_signal
from sandbox.core.order_rules import Malformed, validate

SIGNAL = TradingSignal(
    signal_id=UUID("6f99c1e2-6aab-465d-9a58-c9e1e055ed94"),
    signal_type="buy",
    symbol="BTCUSDT",
    amount=250.0,
    confidence=0.5,
    timestamp=datetime(2026, 11, 22, 13, 2, 35, 194230, tzinfo=UTC),
    strategy_id="momentum_v1",
    is_warmup=True,
    market_data_snapshot=MarketSnapshot(price=92011.4, spread=0.2, volatility=0.0003),
    metadata={"reasoning": "warm-up buy"},
    trace_id="trace-1",
)
WIRE = (
    b'{"signal_id":"6f99c1e2-6aab-465d-9a58-c9e1e055ed94","signal_type":"buy","asset":"BTCUSDT","amount":250.0,'
    b'"confidence":0.5,"timestamp":"2026-11-22T13:02:35.194230Z","strategy_id":"momentum_v1",'
    b'"market_data_snapshot":{"price":92011.4,"spread":0.2,"volume_24h":null,"volatility":0.0003,'
    b'"orderbook_depth":null,"technical_indicators":null},"model_version":null,"is_warmup":true,'
    b'"metadata":{"reasoning":"warm-up buy"},"trace_id":"trace-1"}'
)


def signal(**changes: object) -> TradingSignal:
    return msgspec.structs.replace(SIGNAL, **changes)


def snapshot(**changes: object) -> MarketSnapshot:
    return msgspec.structs.replace(SIGNAL.market_data_snapshot, **changes)


def test_a_signal_has_exactly_this_body():
    assert encode_signal(SIGNAL) == WIRE


def test_the_body_reads_back_as_the_signal():
    assert msgspec.json.decode(WIRE, type=TradingSignal) == SIGNAL


def test_the_receiver_accepts_what_passed_our_check():
    assert not isinstance(validate(msgspec.json.decode(encode_signal(SIGNAL))), Malformed)


REFUSED = [
    ({"amount": 0.009}, "amount"),
    ({"amount": math.nan}, "amount"),
    ({"amount": math.inf}, "amount"),
    ({"confidence": 1.01}, "confidence"),
    ({"confidence": -0.1}, "confidence"),
    ({"symbol": "BTC"}, "asset"),
    ({"symbol": "BTC-USDT"}, "asset"),
    ({"strategy_id": ""}, "strategy_id"),
    ({"strategy_id": "s" * 101}, "strategy_id"),
    ({"model_version": "v" * 51}, "model_version"),
    ({"trace_id": ""}, "trace_id"),
    ({"trace_id": "t" * 101}, "trace_id"),
    ({"timestamp": datetime(2026, 11, 22)}, "timestamp"),
    ({"market_data_snapshot": snapshot(price=0.0)}, "price"),
    ({"market_data_snapshot": snapshot(price=math.nan)}, "price"),
    ({"market_data_snapshot": snapshot(volatility=-1.0)}, "volatility"),
    ({"metadata": {"figure": math.nan}}, "metadata"),
]


@pytest.mark.parametrize(("changes", "field"), REFUSED)
def test_a_signal_that_would_be_dropped_is_refused_here_naming_the_field(changes, field):
    with pytest.raises(Unusable, match=field):
        encode_signal(signal(**changes))


def test_a_spread_that_json_would_turn_into_a_market_order_is_refused():
    with pytest.raises(Unusable, match="market_data_snapshot"):
        encode_signal(signal(market_data_snapshot=snapshot(spread=math.nan)))
