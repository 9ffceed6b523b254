"""Rows as boosting takes them: features with labels and, of classes, weights, a batch at a time."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy.typing as npt

from trainer.model import Floats
from trainer.reading import BATCH_ROWS, Matrix, Rows

Batch = tuple[Matrix, npt.NDArray[Any], Floats | None]
"""Features (k, columns), labels (k,) and, where rows are weighed, weights (k,)."""


class Labelled(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The rows of a split."""

    rows: Rows
    weight_of_class: Floats | None
    """None: the labels are numbers, and all count the same."""

    def batches(self, most: int = BATCH_ROWS) -> Iterator[Batch]:
        """One stretch of at most so many rows after the other."""
        part, by_class = self.rows.part, self.weight_of_class
        labels = part.target if by_class is None else part.classes
        for where, features in self.rows.batches(most):
            yield features, labels[where], None if by_class is None else by_class[labels[where]]
