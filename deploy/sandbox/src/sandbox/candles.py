"""Candle files: are these real bars, complete enough to replay as a market?

Parquet, feather (Arrow IPC) and CSV with the columns date (or timestamp), open, high, low, close
and volume. A file is read whole or refused: a bar that cannot be true is never repaired.
"""

from pathlib import Path

import numpy as np
import polars as pl

from sandbox.core.market import Candles

# A candle file knows no order book: the spread is simulated as this share of the bar's range.
SPREAD_SHARE_OF_RANGE = 0.4
SPREAD_REL_MIN, SPREAD_REL_MAX = 0.0002, 0.003

_READERS = {
    ".parquet": pl.read_parquet,
    ".feather": pl.read_ipc,
    ".arrow": pl.read_ipc,
    ".csv": pl.read_csv,
}
_NUMBERS = ("open", "high", "low", "close", "volume")


class UnreadableCandles(ValueError):
    """The candle file cannot be replayed; the message names the file, what is wrong and the way out."""


def read_candles(path: Path, *, min_bars: int = 2) -> Candles:
    """The file's bars in time order, their spread simulated from the range.

    Raises UnreadableCandles.
    """
    frame = _read(path)
    if frame.height < min_bars:
        raise UnreadableCandles(
            f"{path}: {frame.height} bars, at least {min_bars} are needed: "
            "give a longer file or a shorter history"
        )
    _check_dates(path, frame)
    columns = {name: _numbers(path, frame, name) for name in _NUMBERS}
    for name in ("open", "high", "low", "close"):
        _refuse(path, columns[name] <= 0, f"{name} is not positive", "remove the bar or correct the price")
    _refuse(path, columns["volume"] < 0, "volume is negative", "use 0 for a bar without trades")
    highest = np.maximum(columns["open"], columns["close"])
    lowest = np.minimum(columns["open"], columns["close"])
    _refuse(
        path,
        (columns["high"] < highest) | (columns["low"] > lowest),
        "high or low does not enclose open and close",
        "check that the columns are not swapped",
    )
    range_rel = (columns["high"] - columns["low"]) / columns["close"]
    spread_rel = np.clip(SPREAD_SHARE_OF_RANGE * range_rel, SPREAD_REL_MIN, SPREAD_REL_MAX)
    return Candles(**columns, spread_rel=spread_rel)


def _read(path: Path) -> pl.DataFrame:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableCandles(
            f"{path}: format {path.suffix or 'without a suffix'} is not known: use .parquet, .feather or .csv"
        )
    if not path.is_file():
        raise UnreadableCandles(f"{path}: there is no such file: check the path")
    try:
        frame: pl.DataFrame = reader(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UnreadableCandles(
            f"{path}: not a readable {path.suffix} file ({str(error).splitlines()[0]}): export it anew"
        ) from error
    if "date" not in frame.columns and "timestamp" in frame.columns:
        frame = frame.rename({"timestamp": "date"})
    missing = [name for name in ("date", *_NUMBERS) if name not in frame.columns]
    if missing:
        raise UnreadableCandles(
            f"{path}: column {', '.join(missing)} is missing, found {', '.join(frame.columns)}: "
            "rename or add it (timestamp is accepted for date)"
        )
    return frame


def _check_dates(path: Path, frame: pl.DataFrame) -> None:
    dates = frame["date"]
    if dates.dtype == pl.String:
        dates = dates.str.to_datetime(strict=False, time_zone="UTC")
    if not (dates.dtype.is_temporal() or dates.dtype.is_integer()) or dates.null_count():
        raise UnreadableCandles(
            f"{path}: date is not a time everywhere: use ISO 8601 dates or integer epochs, none empty"
        )
    instants = dates.cast(pl.Int64).to_numpy()
    backwards = np.flatnonzero(np.diff(instants) <= 0) + 1
    if len(backwards):
        row = int(backwards[0])
        kind = "repeats" if instants[row] == instants[row - 1] else "lies before"
        raise UnreadableCandles(
            f"{path}: date of row {row} {kind} the one above it: sort the bars by date and drop duplicates"
        )


def _numbers(path: Path, frame: pl.DataFrame, name: str) -> np.typing.NDArray[np.float64]:
    column = frame[name]
    if not column.dtype.is_numeric():
        raise UnreadableCandles(f"{path}: {name} is not numeric ({column.dtype}): write plain numbers")
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    _refuse(path, ~np.isfinite(values), f"{name} is empty, NaN or infinite", "remove the bar or fill the gap")
    return values


def _refuse(path: Path, wrong: np.typing.NDArray[np.bool_], what: str, way_out: str) -> None:
    if wrong.any():
        raise UnreadableCandles(f"{path}: {what} in row {int(np.argmax(wrong))}: {way_out}")
