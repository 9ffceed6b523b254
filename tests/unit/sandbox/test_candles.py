"""Candle files: read exactly, or refused with the reason."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sandbox.candles import UnreadableCandles, read_candles

DATES = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=5 * row) for row in range(3)]
GOOD: dict[str, list[Any]] = {
    "date": DATES,
    "open": [100.0, 101.0, 102.0],
    "high": [101.5, 102.5, 102.0],
    "low": [99.5, 100.5, 101.9],
    "close": [101.0, 102.0, 101.95],
    "volume": [5.0, 0.0, 7.5],
}


def without(name: str) -> dict[str, list[Any]]:
    return {key: values for key, values in GOOD.items() if key != name}


def write(path: Path, columns: dict[str, list[Any]], file_format: str) -> Path:
    frame = pl.DataFrame(columns)
    if file_format == "parquet":
        frame.write_parquet(path)
    elif file_format == "feather":
        frame.write_ipc(path, compression="lz4")
    else:
        frame.write_csv(path)
    return path


@pytest.mark.parametrize("file_format", ["parquet", "feather", "csv"])
@pytest.mark.parametrize("dates", ["date", "timestamp"])
def test_every_format_gives_the_same_bars(tmp_path, file_format, dates):
    columns = {dates: DATES, **without("date")}

    candles = read_candles(write(tmp_path / f"bars.{file_format}", columns, file_format))

    assert len(candles) == 3
    for name in ("open", "high", "low", "close", "volume"):
        assert getattr(candles, name).tolist() == GOOD[name]


def test_integers_are_prices_and_epochs_are_dates(tmp_path):
    path = write(tmp_path / "bars.csv", GOOD | {"date": [1, 2, 3], "open": [100, 101, 102]}, "csv")

    assert read_candles(path).open.tolist() == [100.0, 101.0, 102.0]


def test_the_spread_is_simulated_from_the_range_within_bounds(tmp_path):
    columns = GOOD | {
        "high": [101.0, 102.1, 110.0],
        "low": [100.0, 100.9, 100.0],
        "close": [100.0, 101.0, 105.0],
    }
    columns |= {"open": [100.0, 101.0, 102.0]}

    spread_rel = read_candles(write(tmp_path / "bars.parquet", columns, "parquet")).spread_rel

    assert spread_rel.tolist() == pytest.approx([0.003, 0.003, 0.003])
    quiet = GOOD | {name: [100.0, 100.0, 100.0] for name in ("open", "close")}
    quiet |= {"high": [100.0, 100.1, 100.2], "low": [100.0, 100.0, 100.0]}
    spread_rel = read_candles(write(tmp_path / "quiet.parquet", quiet, "parquet")).spread_rel
    assert spread_rel.tolist() == pytest.approx([0.0002, 0.0004, 0.0008])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (without("volume"), "column volume is missing"),
        (without("date"), "column date is missing"),
        (GOOD | {"close": ["101", "x", "y"]}, "close is not numeric"),
        (GOOD | {"close": [101.0, NAN, 101.95]}, "close is empty, NaN or infinite in row 1"),
        (GOOD | {"close": [101.0, INF, 101.95]}, "close is empty, NaN or infinite in row 1"),
        (GOOD | {"volume": [5.0, None, 7.5]}, "volume is empty, NaN or infinite in row 1"),
        (GOOD | {"volume": [5.0, 1.0, -7.5]}, "volume is negative in row 2"),
        (GOOD | {"low": [99.5, 0.0, 101.9]}, "low is not positive in row 1"),
        (GOOD | {"open": [-100.0, 101.0, 102.0]}, "open is not positive in row 0"),
        (GOOD | {"high": [101.5, 100.0, 102.0]}, "high or low does not enclose open and close in row 1"),
        (GOOD | {"low": [99.5, 101.5, 101.9]}, "high or low does not enclose open and close in row 1"),
        (GOOD | {"date": [DATES[0], DATES[2], DATES[1]]}, "date of row 2 lies before the one above"),
        (GOOD | {"date": [DATES[0], DATES[1], DATES[1]]}, "date of row 2 repeats the one above"),
        (GOOD | {"date": [DATES[0], None, DATES[1]]}, "date is not a time everywhere"),
        (GOOD | {"date": ["yesterday", "today", "tomorrow"]}, "date is not a time everywhere"),
        (GOOD | {"date": [1.5, 2.5, 3.5]}, "date is not a time everywhere"),
        ({name: values[:2] for name, values in GOOD.items()}, "2 bars, at least 3 are needed"),
        ({name: values[:0] for name, values in GOOD.items()}, "0 bars, at least 3 are needed"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_reason(tmp_path, columns, complaint):
    path = write(tmp_path / "bars.parquet", columns, "parquet")

    with pytest.raises(UnreadableCandles) as refusal:
        read_candles(path, min_bars=3)

    assert str(refusal.value).startswith(f"{path}: ")
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("none.parquet", None, "there is no such file"),
        ("bars.xlsx", b"x", "format .xlsx is not known"),
        ("bars", b"x", "format without a suffix is not known"),
        ("bars.parquet", b"not a table", "not a readable .parquet file"),
        ("bars.feather", b"not a table", "not a readable .feather file"),
        ("bars.csv", b"", "not a readable .csv file"),
    ],
)
def test_what_is_not_a_table_is_refused(tmp_path, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UnreadableCandles, match=complaint) as refusal:
        read_candles(path)

    assert str(path) in str(refusal.value)
