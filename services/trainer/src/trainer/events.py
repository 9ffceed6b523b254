"""What the trainer logs: docs/events.md is written from it."""

from common.core.named import Named


class Event(Named):
    """Events of the trainer."""

    TRAINING_REQUESTED = (
        "training requested",
        "A strategy that is due asked for a training (`trigger`).",
    )
    TRAINING_REFUSED = (
        "training refused",
        "A strategy is due for a training that the queue does not take, because `reason`; it asks again.",
    )
    DATASET_DEFERRED = (
        "dataset deferred",
        "No dataset is built while positions are open in `symbols` (TRAINING_DEFER_WHILE_POSITIONS_OPEN).",
    )
    DATASET_REQUESTED = (
        "dataset requested",
        "The Feature Service builds a dataset; until it is done it answers nothing else.",
    )
    DATASET_DELAYED = (
        "dataset delayed",
        "The Feature Service did not take or answer for a build because `reason`; it is asked again.",
    )
    DATASET_READY = "dataset ready", "A dataset can be downloaded; its training is next."
    DATASET_UNKNOWN = (
        "dataset unknown",
        "A dataset was announced that no training waits for; nothing is done.",
    )
    TEST_SPLIT_MISSING = (
        "test split missing",
        "No test rows (`reason`: empty_split, file_not_found, download_failed): validation stands in.",
    )
    TRAINING_STARTED = (
        "training started",
        "A trainer downloads a dataset and fits a model in a child process.",
    )
    TRAINING_SUCCEEDED = (
        "training succeeded",
        "A version is registered, with its `verdict` and the sentence that explains it.",
    )
    TRAINING_REJECTED = "training rejected", "No model can be trained on the dataset; `reason` says why."
    TRAINING_FAILED = "training failed", "A training was given up; `reason` says why."
    TRAINING_INTERRUPTED = (
        "training interrupted",
        "A fit ended before it was done because `reason`; the run is tried again.",
    )
    HEART_BEAT_MISSED = (
        "heart-beat missed",
        "A running training could not renew its lease because `reason`; without one it is taken over.",
    )
    TRAINING_SUPERSEDED = (
        "training superseded",
        "A training was taken over or cancelled while it ran; its result is thrown away.",
    )
    TRAINING_RECOVERED = (
        "training recovered",
        "A run whose trainer went silent waits for a trainer again.",
    )
    VERSION_ACTIVATED = "version activated", "A strategy trades with a new version from now on."
    VERSION_NOT_ACTIVATED = (
        "version not activated",
        "An accepted version was registered only: somebody changed the active version meanwhile.",
    )
    EXECUTION_BOOKED = (
        "execution booked",
        "A fill of our order stands in execution_events; `realized_pnl` is null where it only opened.",
    )
    EXECUTION_INVALID = (
        "execution invalid",
        "An execution breaks the validation rules (`reason`); it is kept in invalid_executions.",
    )
    ORDER_EVENTS_SHARED = (
        "order events shared",
        "Somebody else consumes the order events, too: fills are lost to both. Set EXECUTION_SOURCE=orders.",
    )
    METRIC_REFUSED = (
        "metric refused",
        "A figure of a new version does not fit the quality table (`reason`); it is left out, never rounded.",
    )
    QUALITY_DEGRADED = (
        "quality degraded",
        "An active version is worse by more than QUALITY_DEGRADATION_DROP than when it was promoted.",
    )
    QUALITY_RECOVERED = (
        "quality recovered",
        "An active version is as good as promised again, or another one is active.",
    )
    VERSION_RETIRED = (
        "version retired",
        "The files of an old version were deleted or archived (MODEL_RETENTION_POLICY); its row stays.",
    )
    VERSION_RESTORED = (
        "version restored",
        "An archived version's files are back below MODEL_STORAGE_PATH: it can be activated again.",
    )
    LEFTOVERS_REMOVED = "leftovers removed", "Files that a crash left behind were removed."
