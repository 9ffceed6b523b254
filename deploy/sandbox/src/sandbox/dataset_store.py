"""Datasets on disk: a row of JSON and up to three Parquet files each, found again after a restart.

A row says `ready` only once its files are whole. A build that was under way when the process ended has
failed, and nobody is told.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
import structlog

from sandbox.core.dataset_request import BuildRequest
from sandbox.core.datasets import Period, Split, Target

INTERRUPTED = "Dataset build was interrupted"

log = structlog.get_logger(__name__)


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the Feature Service's datasets, fields in the order in which it shows them."""

    id: UUID
    symbol: str
    status: Literal["building", "ready", "failed"] = "building"
    split_strategy: str = "time_based"
    train_period_start: datetime
    train_period_end: datetime
    validation_period_start: datetime
    validation_period_end: datetime
    test_period_start: datetime
    test_period_end: datetime
    walk_forward_config: None = None
    target_config: Target
    feature_registry_version: str
    train_records: int = 0
    validation_records: int = 0
    test_records: int = 0
    output_format: str
    storage_path: str | None = None
    created_at: datetime
    completed_at: datetime | None = None
    estimated_completion: None = None
    error_message: str | None = None

    @property
    def periods(self) -> dict[Split, Period]:
        """When each split begins and ends."""
        return {
            "train": Period(start=self.train_period_start, end=self.train_period_end),
            "validation": Period(start=self.validation_period_start, end=self.validation_period_end),
            "test": Period(start=self.test_period_start, end=self.test_period_end),
        }


def requested(request: BuildRequest, now: datetime) -> Dataset:
    """The row of a build that has just been asked for."""
    train, validation, test = (request.periods[split] for split in ("train", "validation", "test"))
    return Dataset(
        id=uuid4(),
        symbol=request.symbol,
        train_period_start=train.start,
        train_period_end=train.end,
        validation_period_start=validation.start,
        validation_period_end=validation.end,
        test_period_start=test.start,
        test_period_end=test.end,
        target_config=request.target,
        feature_registry_version=request.feature_registry_version,
        output_format=request.output_format,
        created_at=now,
    )


def listed(dataset: Dataset) -> dict[str, Any]:
    """The row as the list shows it: the target is a string of JSON there."""
    shown: dict[str, Any] = msgspec.to_builtins(dataset)
    return {**shown, "target_config": json.dumps(shown["target_config"])}


class DatasetStore:
    """The datasets of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._rows = {row.id: row for row in map(_read, sorted(directory.glob("*/row.json"))) if row}
        for row in list(self._rows.values()):
            if row.status == "building":
                self.save(failed(row, INTERRUPTED, datetime.now(UTC)))

    def find(self, dataset_id: UUID) -> Dataset | None:
        """The dataset's row."""
        return self._rows.get(dataset_id)

    def newest(self, limit: int) -> list[Dataset]:
        """At most `limit` rows, the newest first."""
        return sorted(self._rows.values(), key=lambda row: row.created_at, reverse=True)[:limit]

    def save(self, dataset: Dataset) -> None:
        """The row outlives the process."""
        folder = self.folder(dataset.id)
        folder.mkdir(exist_ok=True)
        fresh = folder / "row.new"
        fresh.write_bytes(msgspec.json.encode(dataset))
        fresh.replace(folder / "row.json")
        self._rows[dataset.id] = dataset

    def delete(self, dataset_id: UUID) -> None:
        """Row and files are gone."""
        del self._rows[dataset_id]
        shutil.rmtree(self.folder(dataset_id), ignore_errors=True)

    def folder(self, dataset_id: UUID) -> Path:
        """Where the dataset's files lie."""
        return self._directory / str(dataset_id)

    def split_file(self, dataset_id: UUID, split: str) -> Path:
        """The split's Parquet file, which exists only if the split has rows."""
        return self.folder(dataset_id) / f"{split}.parquet"


def failed(dataset: Dataset, reason: str, now: datetime) -> Dataset:
    """The row of a build that came to nothing."""
    return msgspec.structs.replace(dataset, status="failed", completed_at=now, error_message=reason)


def _read(path: Path) -> Dataset | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Dataset)
    except msgspec.DecodeError as error:
        log.warning("dataset skipped, its row is not readable", path=str(path), error=str(error))
        return None
