"""Parquet in, rows out: what the Feature Service delivers, as float32, and never all of it in memory.

Every numeric column is a feature except `target`; names and units are the Feature Service's. What is
infinite, or too large for float32, counts as missing. Columns are read one by one and laid down in a file of
their own, from which the fit reads rows in batches as often as it needs them: the peak is a batch and a
column, not a dataset.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from trainer.core.dataset import Mask, Part, Rejection, Split, rejected

TIME, SYMBOL, TARGET, PRICE = "timestamp", "symbol", "target", "mid_price"
BATCH_ROWS = 32_768

Values = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]


MOST_VALUES = 2_000_000_000
"""Of a split, rows by columns: a file of a few bytes may claim any number of rows."""


class SplitFile:
    """One downloaded split: its labels in memory, its features where they are."""

    def __init__(self, split: Split, frame: pl.LazyFrame | None) -> None:
        self.split = split
        self._frame = frame

    def column(self, name: str, kept: Mask) -> Values:
        """One feature of the `kept` rows; NaN throughout where the split has none of that name."""
        if self._frame is None or name not in self.split.names:
            return np.full(int(np.sum(kept)), np.nan, np.float32)
        as_float = pl.col(name).cast(pl.Float64).cast(pl.Float32)
        values = self._frame.select(as_float).collect()[name].to_numpy()[kept]
        values[np.isinf(values)] = np.nan
        return np.asarray(values, dtype=np.float32)


class Rows:
    """Usable rows of a split with the model's features, in a file of columns."""

    def __init__(self, part: Part, path: Path, columns: int) -> None:
        self.part = part
        self.columns = columns
        self.path = path

    @property
    def nbytes(self) -> int:
        """Of the features, as a fit without batches would hold them."""
        return len(self) * self.columns * np.dtype(np.float32).itemsize

    def __len__(self) -> int:
        return len(self.part)

    def batches(self, most: int = BATCH_ROWS) -> Iterator[tuple[slice, Matrix]]:
        """The features (k, columns) of one stretch of rows after the other, with where it lies."""
        with self.path.open("rb") as file:
            for start in range(0, len(self), most):
                rows = min(most, len(self) - start)
                laid = np.empty((self.columns, rows), np.float32)
                for column in range(self.columns):
                    at = (column * len(self) + start) * laid.itemsize
                    if os.preadv(file.fileno(), [laid[column].data], at) != laid[column].nbytes:
                        raise OSError(f"{self.path} ends too early")
                yield slice(start, start + rows), np.ascontiguousarray(laid.T)

    def first(self, most: int) -> Matrix:
        """The features of the first rows, at most so many."""
        return next((matrix for _, matrix in self.batches(most)), np.empty((0, self.columns), np.float32))

    def matrix(self) -> Matrix:
        """All features at once."""
        whole = np.empty((len(self), self.columns), np.float32)
        for where, matrix in self.batches():
            whole[where] = matrix
        return whole


def open_split(
    path: Path | None, *, name: str, symbol: str, volatility: str | None = None
) -> SplitFile | Rejection:
    """The split with labels and instants; None is a split that there is no file of.

    `volatility` names the column that a risk-adjusted target was divided by.
    """
    if path is None:
        return SplitFile(_empty(), None)
    found = _opened(path, name, volatility)
    if isinstance(found, Rejection):
        return found
    frame, schema, held = found
    if SYMBOL in held.columns and (others := set(held[SYMBOL].unique()) - {symbol}):
        return rejected(f"{name} holds rows of {', '.join(sorted(map(str, others)))}, not only of {symbol}")
    if held[TIME].null_count():
        return rejected(f"{name} has rows without a {TIME}")
    split = Split(
        names=tuple(
            column
            for column, kind in schema.items()
            if kind.is_numeric() and column not in {TIME, SYMBOL, TARGET}
        ),
        at_ns=held[TIME].dt.cast_time_unit("ns").to_physical().to_numpy(),
        target=_floats(held, TARGET),
        price=_floats(held, PRICE),
        volatility=_floats(held, volatility) if volatility else None,
    )
    return SplitFile(split, frame)


class Layer:
    """Lays columns of equal length down, one after the other; close it with `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = 0

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, values: Values) -> None:
        """One more column."""
        self._file.write(np.ascontiguousarray(values).data)
        self.columns += 1


def lay(source: SplitFile, part: Part, names: Sequence[str], path: Path) -> Rows:
    """The columns `names` of the rows of `part`, laid down at `path`."""
    with Layer(path) as layer:
        for name in names:
            layer.add(source.column(name, part.kept))
    return Rows(part, path, len(names))


_Opened = tuple[pl.LazyFrame, pl.Schema, pl.DataFrame]


# The file, what it holds, and of that what is small: nothing is read of a file that would not fit.
def _opened(path: Path, name: str, volatility: str | None) -> _Opened | Rejection:
    try:
        frame = pl.scan_parquet(path)
        schema = frame.collect_schema()
        if not isinstance(schema.get(TIME), pl.Datetime):
            return rejected(f"{name} has no column {TIME} with instants")
        rows = frame.select(pl.len()).collect().item()
        if rows * len(schema) > MOST_VALUES:
            return rejected(f"{name} holds {rows:,} rows of {len(schema)} columns, too many to be read")
        small = {each for each in (TIME, SYMBOL, TARGET, PRICE, volatility) if each and each in schema}
        return frame, schema, frame.select(sorted(small)).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        return rejected(f"{name} is no readable Parquet file: {error}")


def _floats(frame: pl.DataFrame, name: str) -> npt.NDArray[np.float64] | None:
    if name not in frame.columns or not frame.schema[name].is_numeric():
        return None
    return np.asarray(frame[name].cast(pl.Float64).to_numpy(), dtype=np.float64)


def _empty() -> Split:
    return Split(names=(), at_ns=np.empty(0, np.int64), target=np.empty(0))
