"""`python -m tests.benchmarks.bare_boosting DIRECTORY`: the floor of a fit, nothing but XGBoost.

The same rows, parameters, seed and stop; train lies in memory as one array. Says the seconds from that array
to the booster on standard output.
"""

import sys
import time
from pathlib import Path

import polars as pl
import xgboost

from trainer.boosters import MAX_ROUNDS, PARAMETERS, PATIENCE_ROUNDS


def main(directory: Path, threads: int = 2) -> None:
    """Reads, then fits, then says how long the fit took."""
    matrices = []
    for name in ("train", "validation"):
        frame = pl.read_parquet(directory / f"{name}.parquet")
        features = frame.select(pl.selectors.starts_with("signal_")).to_numpy(order="c")
        matrices.append((features, (frame["target"].to_numpy() > 0).astype("int64")))
    began = time.perf_counter()
    (train, labels), (validation, held_out) = matrices
    matrix = xgboost.QuantileDMatrix(train, labels, nthread=threads)
    xgboost.train(
        {
            **PARAMETERS,
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "seed": 1,
            "nthread": threads,
        },
        matrix,
        MAX_ROUNDS,
        evals=[(xgboost.QuantileDMatrix(validation, held_out, ref=matrix, nthread=threads), "validation")],
        early_stopping_rounds=PATIENCE_ROUNDS,
        verbose_eval=False,
    )
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
