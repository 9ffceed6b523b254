"""What a fit is asked, and what it answers: the files between a trainer and its child process."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from common.artifacts import Manifest
from trainer.core.dataset import MIN_CLASS_SHARE, Rejection
from trainer.core.promotion import Evidence
from trainer.core.recipe import ClassWeights, ModelType, TargetType
from trainer.core.reliability import Bin
from trainer.core.threshold import Costs, Trades

JOB, RESULT, UBJ, ONNX = "job.json", "result.json", "model.ubj", "model.onnx"
UNNUMBERED = "v0"
"""Stands in the manifest until the version has its number."""


SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
"""In the order of time."""


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
    """File of each split beside the job; None: there is none."""
    missing: dict[str, str] = {}
    """Why there is none: empty_split, file_not_found or download_failed."""
    dataset_sha256: dict[str, str]
    feature_registry_version: str
    model_type: ModelType = ModelType.XGBOOST
    target_type: TargetType = TargetType.CLASSIFICATION
    class_weights: ClassWeights = ClassWeights.NONE
    volatility_feature: str | None = None
    """What a risk-adjusted target was divided by."""
    horizon_s: float
    label_threshold: float
    """Smallest move that the labels count, as a fraction."""
    test_end: datetime
    min_train_rows: int
    min_class_share: float = MIN_CLASS_SHARE
    excluded_features: tuple[str, ...]
    costs: Costs
    min_trade_share: float
    probability_lead: float = 0.05
    """By which a side must lead the other to be acted on, as in inference."""
    seed: int
    threads: int
    in_memory_bytes: int | None = None
    """As in Recipe."""
    scheduler: str | None = None
    """As in Recipe."""
    champion: ChampionFile | None
    earlier: tuple[ChampionFile, ...] = ()
    """Versions of the same recipe, the newest first: their test rows are pooled with this one's."""
    evidence_effective_rows: float = 0.0
    """While test and `earlier` have fewer, walk-forward folds of train fill up to it."""


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How well the record and the served file agree."""

    rows: dict[str, int]
    """By kind: plain, missing values, on the borders that decisions hang on."""
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
    confusion: dict[str, tuple[tuple[int, ...], ...]] = {}
    """By split: rows of each true class, in the order of the labels, by the class that was named."""
    reliability: dict[str, tuple[Bin, ...]] = {}
    """By split: how far the model's confidence kept its word."""
    trades: dict[str, Trades]
    """What acting from the threshold on would have done, by split."""
    rows: dict[str, int]
    parameters: dict[str, Any]
    """Of the estimator."""
    rounds: int
    """Boosting rounds, trees, epochs or iterations."""
    parity: Parity
    notes: tuple[str, ...]
    seconds: dict[str, float]
    """By stage."""
    peak_memory_bytes: int = 0
    """Largest resident size of the child process."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Either a fitted model or why the dataset is not fit for one."""

    fitted: Fitted | None = None
    rejection: Rejection | None = None
