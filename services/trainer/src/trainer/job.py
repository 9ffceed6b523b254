"""What a fit is asked, and what it answers: the files between a trainer and its child process."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from common.artifacts import Manifest
from trainer.core.dataset import Rejection
from trainer.core.promotion import Evidence
from trainer.core.threshold import Costs, Trades

JOB, RESULT, UBJ, ONNX = "job.json", "result.json", "model.ubj", "model.onnx"
UNNUMBERED = "v0"
"""Stands in the manifest until the version has its number."""


SplitName = Literal["train", "validation", "test"]


class ChampionFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the active version lies, and the hash that proves it."""

    version: str
    sha256: str
    root: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to fit, from which files, by which rules."""

    strategy_id: str
    symbol: str
    dataset_id: str
    splits: dict[SplitName, str | None]
    """File of each split beside the job; None: the Feature Service has no rows of it."""
    dataset_sha256: dict[str, str]
    feature_registry_version: str
    horizon_s: float
    label_threshold: float
    """Smallest move that the labels count, as a fraction."""
    test_end: datetime
    min_train_rows: int
    excluded_features: tuple[str, ...]
    costs: Costs
    min_trade_share: float
    seed: int
    threads: int
    champion: ChampionFile | None


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How well the record and the served file agree."""

    rows: dict[str, int]
    """By kind: plain, missing values, on the trees' split points."""
    largest_difference: float
    relative_difference: float
    """To the spread of the model's outputs."""
    decision_flips: int


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A trained, exported and evaluated model; its files lie beside the result."""

    manifest: Manifest
    evidence: Evidence
    metrics: dict[str, dict[str, float]]
    """Figures by split: validation and test."""
    trades: dict[str, Trades]
    """What acting from the threshold on would have done, by split."""
    rows: dict[str, int]
    parameters: dict[str, Any]
    """Of the booster."""
    rounds: int
    parity: Parity
    notes: tuple[str, ...]
    seconds: dict[str, float]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Either a fitted model or why the dataset is not fit for one."""

    fitted: Fitted | None = None
    rejection: Rejection | None = None
