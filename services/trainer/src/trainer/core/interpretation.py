"""What do a model's raw outputs mean? Fitted on validation; inference reads them by the same tables."""

import msgspec
import numpy as np
import numpy.typing as npt

from common.core.calibration import Table
from trainer.core.dataset import Part
from trainer.core.fitted_calibration import calibrated, fit_sign_table, fit_tables, sign_confidence
from trainer.core.threshold import Leaning, of_classes, of_returns

Floats = npt.NDArray[np.float64]


class Interpretation(msgspec.Struct, frozen=True, kw_only=True):
    """A classifier has labels and a table for each, a regression the table of its sign."""

    labels: tuple[int, ...]
    calibration: tuple[Table, ...] = ()
    sign_confidence: Table = ()

    def probabilities(self, raw: Floats) -> Floats:
        """Of each label (n, labels), calibrated."""
        return calibrated(raw, self.calibration)

    def leaning(self, raw: Floats) -> Leaning:
        """The side that each row would take."""
        if self.labels:
            return of_classes(self.probabilities(raw), self.labels)
        return of_returns(raw[:, 0], sign_confidence(raw[:, 0], self.sign_confidence))


def interpret(raw: Floats, validation: Part, labels: tuple[int, ...]) -> Interpretation:
    """What the raw outputs (n, outputs) on validation turned out to mean."""
    if labels:
        return Interpretation(labels=labels, calibration=fit_tables(raw, validation.classes))
    return Interpretation(labels=(), sign_confidence=fit_sign_table(raw[:, 0], validation.target))
