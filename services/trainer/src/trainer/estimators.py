"""Which library fits a model; each is only loaded where it does: they take 50 MB each."""

import numpy as np

from trainer.core.recipe import ModelType
from trainer.model import Floats, Model, Recipe, Report
from trainer.reading import Rows


def train(recipe: Recipe, train: Rows, validation: Rows, heard: Report) -> Model:
    """The model of `recipe`; `validation` says when to stop and nothing else."""
    if recipe.model is ModelType.XGBOOST:
        from trainer import boosters  # noqa: PLC0415

        return boosters.fit(recipe, train, validation, heard)
    from trainer import pipelines  # noqa: PLC0415

    return pipelines.fit(recipe, train, validation, heard)


def answers(model: Model, rows: Rows, *, outputs: int) -> Floats:
    """Raw outputs (n, outputs) of all rows, a batch at a time."""
    found = np.empty((len(rows), outputs))
    for where, features in rows.batches():
        found[where] = model.predict(features)
    return found
