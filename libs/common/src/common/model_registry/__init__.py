"""The model registry: which versions exist, how good they were, and which one a strategy trades with.

`registered` holds the versions, `quality` their figures, `epochs` what a strategy trades with and since when.
Of every function the caller owns the transaction.
"""

from common.model_registry.epochs import (
    Activation,
    Active,
    Moved,
    activate,
    activations,
    active_for,
    active_of,
    announced,
    deactivate,
    earlier_version,
    rollback,
)
from common.model_registry.quality import (
    METRIC_LIMIT,
    Metric,
    MetricType,
    NewMetric,
    Split,
    add_metrics,
    metrics_of,
    unholdable,
)
from common.model_registry.registered import (
    DEFAULT_STRATEGY,
    ModelVersion,
    NewVersion,
    Sort,
    Verdict,
    Version,
    add,
    find,
    has_files,
    has_servable,
    names,
    next_version,
    versions,
)

__all__ = [
    "DEFAULT_STRATEGY",
    "METRIC_LIMIT",
    "Activation",
    "Active",
    "Metric",
    "MetricType",
    "ModelVersion",
    "Moved",
    "NewMetric",
    "NewVersion",
    "Sort",
    "Split",
    "Verdict",
    "Version",
    "activate",
    "activations",
    "active_for",
    "active_of",
    "add",
    "add_metrics",
    "announced",
    "deactivate",
    "earlier_version",
    "find",
    "has_files",
    "has_servable",
    "metrics_of",
    "names",
    "next_version",
    "rollback",
    "unholdable",
    "versions",
]
