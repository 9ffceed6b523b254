"""The file of a version's answers on its test rows: kept with the model, so that later runs can pool them."""

import io
from pathlib import Path

import polars as pl

from common.errors import Unusable
from trainer.core.pooling import Scored

ROWS = "test_rows.parquet"

_KINDS = {
    "at_ns": pl.Int64,
    **dict.fromkeys(("came", "named", "leant", "majority", "persisted"), pl.Int8),
    "net": pl.Float64,
}


def write_rows(path: Path, scored: Scored) -> None:
    """The answers are in `path`, the same bytes for the same answers."""
    columns = {name: getattr(scored, name) for name in _KINDS}
    pl.DataFrame(columns, schema=_KINDS).write_parquet(path, compression="zstd", statistics=False)


def read_rows(content: bytes) -> Scored:
    """The answers in a file's bytes. Raises Unusable where they are no such file."""
    try:
        frame = pl.read_parquet(io.BytesIO(content))
        columns = {name: frame[name].cast(kind).to_numpy() for name, kind in _KINDS.items()}
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Unusable(f"{ROWS} cannot be read: {error}") from error
    return Scored(**columns)
