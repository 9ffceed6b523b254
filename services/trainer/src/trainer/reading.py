"""Parquet in, rows out: what the Feature Service delivers, as arrays.

Every numeric column is a feature except `target`; names and units are the Feature Service's. What is
infinite, or too large for float32, counts as missing.
"""

from pathlib import Path

import numpy as np
import polars as pl

from trainer.core.dataset import Rejection, Split

TIME, SYMBOL, TARGET, PRICE = "timestamp", "symbol", "target", "mid_price"


def read_split(path: Path | None, *, name: str, symbol: str) -> Split | Rejection:
    """The split's rows in the file's order; None is a split that the Feature Service had no rows for."""
    if path is None:
        return _empty()
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        return _rejected(f"{name} is no readable Parquet file: {error}")
    if not isinstance(frame.schema.get(TIME), pl.Datetime):
        return _rejected(f"{name} has no column {TIME} with instants")
    if SYMBOL in frame.columns and (others := set(frame[SYMBOL].unique()) - {symbol}):
        return _rejected(f"{name} holds rows of {', '.join(sorted(map(str, others)))}, not only of {symbol}")
    features = [
        column
        for column, kind in frame.schema.items()
        if kind.is_numeric() and column not in {TIME, SYMBOL, TARGET}
    ]
    if frame[TIME].null_count():
        return _rejected(f"{name} has rows without a {TIME}")
    return Split(
        names=tuple(features),
        at_ns=frame[TIME].dt.cast_time_unit("ns").to_physical().to_numpy(),
        features=_floats(frame, features),
        target=_column(frame, TARGET),
        price=_column(frame, PRICE),
    )


def _floats(frame: pl.DataFrame, names: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    matrix = np.empty((len(frame), len(names)), np.float32)
    with np.errstate(over="ignore"):
        for index, name in enumerate(names):
            matrix[:, index] = frame[name].cast(pl.Float64).to_numpy()
    matrix[np.isinf(matrix)] = np.nan
    return matrix


def _column(frame: pl.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    if name not in frame.columns or not frame.schema[name].is_numeric():
        return None
    return np.asarray(frame[name].cast(pl.Float64).to_numpy(), dtype=np.float64)


def _empty() -> Split:
    return Split(
        names=(),
        at_ns=np.empty(0, np.int64),
        features=np.empty((0, 0), np.float32),
        target=np.empty(0),
    )


def _rejected(reason: str) -> Rejection:
    return Rejection(reason=reason, figures={})
