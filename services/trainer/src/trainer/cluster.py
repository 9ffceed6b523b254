"""XGBoost on a Dask cluster: the rows go to its workers a batch at a time, the booster comes back.

Needs the extra `dask`, here and on every worker, with the same versions. The workers need nothing of ours:
neither this package nor the dataset's files.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from common.errors import TryAgain
from trainer.labelled import Labelled
from trainer.reading import BATCH_ROWS

CONNECT_TIMEOUT_S = 30.0
"""A scheduler that does not answer by then is tried again with the run's next attempt, in seconds."""


def train(
    scheduler: str,
    parameters: dict[str, Any],
    train: Labelled,
    validation: Labelled,
    *,
    max_rounds: int,
    patience_rounds: int,
) -> tuple[Any, list[float]]:
    """The booster, not yet cut, and its score on validation by round.

    Raises TryAgain where the scheduler does not answer or has no workers.
    """
    from xgboost import dask  # noqa: PLC0415

    with connected(scheduler) as client:
        workers = _workers(client)
        if not workers:
            raise TryAgain(f"the Dask scheduler {scheduler} has no workers")
        matrix = dask.DaskQuantileDMatrix(client, **_spread(client, workers, train))
        held_out = dask.DaskQuantileDMatrix(client, **_spread(client, workers, validation), ref=matrix)
        found = dask.train(
            client,
            parameters,
            matrix,
            max_rounds,
            evals=[(held_out, "validation")],
            early_stopping_rounds=patience_rounds,
            verbose_eval=False,
        )
    (score_by_round,) = found["history"]["validation"].values()
    return found["booster"], [float(score) for score in score_by_round]


def connected(scheduler: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Any:
    """A client of the cluster, to be closed with `with`. Raises TryAgain where nobody answers."""
    import distributed  # noqa: PLC0415

    client: Any = distributed.Client
    try:
        return client(scheduler, timeout=timeout_s)
    except OSError as error:
        raise TryAgain(f"the Dask scheduler {scheduler} does not answer: {error}") from error


# By name: a worker's address differs from start to start.
def _workers(client: Any) -> list[str]:
    known = client.scheduler_info(n_workers=-1)["workers"]
    return sorted(known, key=lambda address: (str(known[address]["name"]), address))


# In turn, and each worker has some: one without rows of train could not quantise those of validation.
def _spread(client: Any, workers: Sequence[str], labelled: Labelled) -> dict[str, Any]:
    import dask.array  # noqa: PLC0415

    array: Any = dask.array
    most = min(BATCH_ROWS, -(-len(labelled.rows) // len(workers)))
    parts: dict[str, list[Any]] = {}
    for worker, batch in zip(itertools.cycle(workers), labelled.batches(most), strict=False):
        for name, values in zip(("data", "label", "weight"), batch, strict=True):
            if values is not None:
                there = client.scatter(values, workers=[worker], direct=True, hash=False)
                part = array.from_delayed(there, shape=values.shape, dtype=values.dtype)
                parts.setdefault(name, []).append(part)
    return {name: array.concatenate(each) for name, each in parts.items()}
