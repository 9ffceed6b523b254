"""Facts on the bus: those of the platform are read as captured, our own are these exact bytes both ways."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from common.messages import (
    DatasetReady,
    FeaturesHeard,
    PositionChanged,
    PositionUpdated,
    PriceSeen,
    VersionActivated,
)

READY = (
    b'{"dataset_id": "9396a9a8-6dfe-42d1-9681-fe269f6a09eb", "symbol": "BTCUSDT", "status": "ready", '
    b'"train_records": 1080, "validation_records": 720, "test_records": 121, "trace_id": null}'
)
OPENED = (
    b'{"event_type": "position_updated", "position_id": "c2da134c-8f60-4d82-9fdc-0300004d9136", "asset": '
    b'"BTCUSDT", "size": "0.05000000", "unrealized_pnl": "0E-8", "realized_pnl": "0E-8", "mode": "one-way", '
    b'"unrealized_pnl_pct": "0E+8", "time_held_minutes": 0, "position_size_norm": null, "update_source": '
    b'"order_execution", "trace_id": null, "timestamp": "2026-11-22T12:59:54.459426+00:00"}'
)
CLOSED = (
    b'{"event_type": "position_updated", "position_id": "c2da134c-8f60-4d82-9fdc-0300004d9136", "asset": '
    b'"BTCUSDT", "size": "0E-8", "unrealized_pnl": "0E-8", "realized_pnl": "24.87500000", "mode": "one-way", '
    b'"unrealized_pnl_pct": null, "time_held_minutes": 0, "position_size_norm": null, "update_source": '
    b'"order_execution", "trace_id": null, "timestamp": "2026-11-22T13:00:00.986361+00:00"}'
)
FROM_WEBSOCKET = (
    b'{"event_type": "position_updated", "position_id": "a0f395bb-f42c-4d72-9cb6-0700b87d6c28", "asset": '
    b'"BNBUSDT", "size": "0.50000000", "unrealized_pnl": "-3.25000000", "realized_pnl": "0E-8", "mode": '
    b'"one-way", "unrealized_pnl_pct": "-1.083333333333333333333333333", "time_held_minutes": 0, '
    b'"position_size_norm": null, "update_source": "websocket", "trace_id": "ws-abee5201", "timestamp": '
    b'"2026-11-22T13:01:31.445458+00:00"}'
)
SHORT = OPENED.replace(b'"0.05000000"', b'"-1.50000000"')
OPENED_AT = datetime(2026, 11, 22, 12, 59, 54, 459426, tzinfo=UTC)

OURS = [
    (
        VersionActivated(
            strategy_id="momentum",
            version="v7",
            epoch=3,
            sha256="0f" * 32,
            activated_at=OPENED_AT,
            trace_id="operator-1",
        ),
        (
            b'{"strategy_id":"momentum","version":"v7","epoch":3,"sha256":'
            b'"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",'
            b'"activated_at":"2026-11-22T12:59:54.459426Z","trace_id":"operator-1"}'
        ),
    ),
    (
        VersionActivated(strategy_id="momentum", version=None, epoch=4, sha256=None, activated_at=OPENED_AT),
        (
            b'{"strategy_id":"momentum","version":null,"epoch":4,"sha256":null,'
            b'"activated_at":"2026-11-22T12:59:54.459426Z","trace_id":null}'
        ),
    ),
    (FeaturesHeard(symbols=("BTCUSDT", "ETHUSDT")), b'{"symbols":["BTCUSDT","ETHUSDT"]}'),
    (
        PriceSeen(symbol="BTCUSDT", price=Decimal("92000.50"), timestamp=OPENED_AT),
        b'{"symbol":"BTCUSDT","price":"92000.50","timestamp":"2026-11-22T12:59:54.459426Z"}',
    ),
    (
        PositionChanged(symbol="ETHUSDT", size=Decimal("-1.50000000"), timestamp=OPENED_AT),
        b'{"symbol":"ETHUSDT","size":"-1.50000000","timestamp":"2026-11-22T12:59:54.459426Z"}',
    ),
    (
        PositionChanged(symbol="ETHUSDT", size=Decimal("0E-8"), timestamp=OPENED_AT),
        b'{"symbol":"ETHUSDT","size":"0E-8","timestamp":"2026-11-22T12:59:54.459426Z"}',
    ),
]


def read(body, message_type):
    return msgspec.json.decode(body, type=message_type)


def changed(body, **changes):
    return msgspec.json.encode({**msgspec.json.decode(body), **changes})


# Ours


@pytest.mark.parametrize(("message", "body"), OURS)
def test_our_own_facts_are_these_bytes_and_come_back_the_same(message, body):
    assert msgspec.json.encode(message) == body
    assert read(body, type(message)) == message


@pytest.mark.parametrize(("message", "body"), OURS)
def test_our_own_facts_may_gain_a_key_and_may_not_lose_one(message, body):
    assert read(changed(body, next_release="x"), type(message)) == message
    for name in msgspec.json.decode(body):
        if name == "trace_id":
            continue
        short = {key: value for key, value in msgspec.json.decode(body).items() if key != name}
        with pytest.raises(msgspec.ValidationError, match=name):
            read(msgspec.json.encode(short), type(message))


# DatasetReady


def test_a_captured_dataset_is_read():
    assert read(READY, DatasetReady) == DatasetReady(
        dataset_id=UUID("9396a9a8-6dfe-42d1-9681-fe269f6a09eb"),
        symbol="BTCUSDT",
        status="ready",
        train_records=1080,
        validation_records=720,
        test_records=121,
        strategy_id=None,
        trace_id=None,
    )


def test_a_dataset_of_the_next_release_names_its_strategy_and_what_we_do_not_know_is_ignored():
    body = changed(READY, strategy_id="momentum", trace_id="5f0c", manifest_version=2)

    ready = read(body, DatasetReady)

    assert (ready.strategy_id, ready.trace_id) == ("momentum", "5f0c")
    assert msgspec.structs.replace(ready, strategy_id=None, trace_id=None) == read(READY, DatasetReady)


def test_a_dataset_as_we_write_it_is_these_bytes():
    assert msgspec.json.encode(read(READY, DatasetReady)) == (
        b'{"dataset_id":"9396a9a8-6dfe-42d1-9681-fe269f6a09eb","symbol":"BTCUSDT","status":"ready",'
        b'"train_records":1080,"validation_records":720,"test_records":121,"strategy_id":null,"trace_id":null}'
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"dataset_id": "9396a9a8"}, "dataset_id"),
        ({"dataset_id": None}, "dataset_id"),
        ({"dataset_id": "../../etc/passwd"}, "dataset_id"),
        ({"symbol": "btc/usdt"}, "symbol"),
        ({"status": None}, "status"),
        ({"train_records": "1080"}, "train_records"),
    ],
)
def test_a_body_that_announces_no_dataset_is_refused_naming_the_place(change, place):
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{place}"):
        read(changed(READY, **change), DatasetReady)


# PositionUpdated


@pytest.mark.parametrize(
    ("body", "read_as"),
    [
        (OPENED, ("BTCUSDT", "0.05000000", "0E-8", "0E-8", "0E+8")),
        (CLOSED, ("BTCUSDT", "0E-8", "0E-8", "24.87500000", None)),
        (SHORT, ("BTCUSDT", "-1.50000000", "0E-8", "0E-8", "0E+8")),
        (
            FROM_WEBSOCKET,
            ("BNBUSDT", "0.50000000", "-3.25000000", "0E-8", "-1.083333333333333333333333333"),
        ),
    ],
)
def test_a_captured_update_is_read_to_the_last_digit(body, read_as):
    update = read(body, PositionUpdated)

    figures = (update.size, update.unrealized_pnl, update.realized_pnl, update.unrealized_pnl_pct)
    assert (update.symbol, *(None if each is None else str(each) for each in figures)) == read_as


def test_zero_is_zero_however_it_is_spelled():
    assert read(CLOSED, PositionUpdated).size == read(OPENED, PositionUpdated).unrealized_pnl_pct == 0


@pytest.mark.parametrize("body", [OPENED, CLOSED, SHORT, FROM_WEBSOCKET])
def test_an_update_comes_back_the_same_and_keeps_its_decimals_as_strings(body):
    captured, update = msgspec.json.decode(body), read(body, PositionUpdated)

    written = msgspec.json.encode(update)

    assert read(written, PositionUpdated) == update
    kept = msgspec.json.decode(written)
    assert kept.pop("timestamp") == captured["timestamp"].replace("+00:00", "Z")
    assert kept == {name: captured[name] for name in kept}


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-22T12:59:54.459426",
        "2026-11-22T12:59:54.459426Z",
        "2026-11-22T14:59:54.459426+02:00",
    ],
)
def test_a_timestamp_without_an_offset_is_utc(stamp):
    update = read(changed(OPENED, timestamp=stamp), PositionUpdated)

    assert update.timestamp == OPENED_AT
    assert update.timestamp.tzinfo is not None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"asset": None}, "asset"),
        ({"asset": "BTC USDT"}, "asset"),
        ({"size": None}, "size"),
        ({"size": "much"}, "size"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": None}, "timestamp"),
    ],
)
def test_an_update_that_says_no_size_is_refused_naming_the_place(change, place):
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{place}"):
        read(changed(OPENED, **change), PositionUpdated)


def test_a_size_that_is_a_bare_nan_is_no_json():
    with pytest.raises(msgspec.DecodeError, match="malformed"):
        read(OPENED.replace(b'"0.05000000"', b"NaN"), PositionUpdated)


@pytest.mark.parametrize("spelled", ["NaN", "Infinity", "-Infinity"])
def test_a_size_spelled_as_no_number_is_refused(spelled):
    with pytest.raises(msgspec.ValidationError, match="the size of BTCUSDT is not finite"):
        read(changed(OPENED, size=spelled), PositionUpdated)
