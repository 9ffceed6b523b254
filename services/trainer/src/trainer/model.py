"""What every fitted model can do, whichever library fitted it."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from trainer.core.recipe import ClassWeights, ModelType
from trainer.reading import Matrix

Floats = npt.NDArray[np.float64]

PROBABILITIES, PREDICTIONS = "probabilities", "predictions"
"""The served file's output: (n, labels) of a classifier, (n, 1) of a regression."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is fitted."""

    model: ModelType
    classes: int
    """0: a regression."""
    class_weights: ClassWeights
    medians: tuple[float, ...]
    """Of each column in train: what stands for a missing value where a model cannot do without."""
    seed: int
    threads: int
    in_memory_bytes: int | None = None
    """Features of train and validation above it are boosted from files; None: never."""
    scheduler: str | None = None
    """Address of the Dask cluster that boosts."""

    def output_name(self) -> str:
        """Of the served file."""
        return PROBABILITIES if self.classes else PREDICTIONS


class Model(Protocol):
    """A fitted model, cut at its best round."""

    rounds: int
    """Boosting rounds, trees, epochs or iterations."""
    parameters: dict[str, Any]
    libraries: dict[str, str]
    """Name and version of those that its bytes depend on."""

    def predict(self, features: Matrix) -> Floats:
        """Raw probabilities (n, labels) or numbers (n, 1)."""
        ...

    def split_points(self) -> list[tuple[int, float]]:
        """Column and value of the borders that decisions hang on; none where it has no such borders."""
        ...

    def to_onnx(self, columns: int) -> bytes:
        """The file that inference serves, the same bytes for the same model."""
        ...

    def native(self) -> bytes | None:
        """The library's own file, where that is safe to read."""
        ...


Report = Callable[[int, float], None]
"""Told the round and the score on validation that it reached; lower is better."""
