"""Versions in a bucket that speaks S3: `{url}/v{n}/`, for trainer and inference without a shared volume.

A bucket has no rename. So a version is there when its manifest is: the manifest is put last, only where there
is none yet, and removed first.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from common.errors import Conflict, TryAgain, Unusable
from common.model_store import (
    ABANDONED_AFTER_S,
    MANIFEST,
    StoreState,
    check_size,
    checked_file,
    checked_version,
    is_version,
)

REQUEST_TIMEOUT = timedelta(seconds=30)
"""Longest that one request may take."""
CONNECT_TIMEOUT = timedelta(seconds=3)
RETRIES = 3

T = TypeVar("T")


class ModelBucket:
    """A `ModelStore` behind a URL such as s3://bucket/prefix; AWS_ variables say how to reach it."""

    def __init__(self, url: str) -> None:
        """Asks nobody yet. Raises Unusable for a URL that names no store."""
        self.location = url
        try:
            self._store: ObjectStore = from_url(
                url,
                client_options={
                    "timeout": REQUEST_TIMEOUT,
                    "connect_timeout": CONNECT_TIMEOUT,
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"),
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": REQUEST_TIMEOUT},
            )
        except (BaseError, ValueError) as error:
            raise Unusable(f"{url} is no place for models: {_sentence(error)}") from error

    def create(self, version: str, files: Mapping[str, bytes]) -> None:
        """See `ModelStore`; two that create the same version at once: one of them gets Conflict."""
        checked_version(version)
        if MANIFEST in self.names(version):
            raise Conflict(f"version {version} exists in {self.location} already")
        for name in sorted(files, key=lambda each: each == MANIFEST):
            path, body = f"{version}/{checked_file(version, name)}", files[name]
            put = partial(obstore.put, mode="create" if name == MANIFEST else "overwrite")
            try:
                self._asked(partial(put, self._store, path, body))
            except AlreadyExistsError as error:
                raise Conflict(f"version {version} exists in {self.location} already") from error

    def read(self, version: str, name: str) -> bytes:
        """See `ModelStore`."""
        path = f"{checked_version(version)}/{checked_file(version, name)}"
        try:
            found = self._asked(partial(obstore.get, self._store, path))
            check_size(version, name, found.meta["size"])
            return self._asked(lambda: bytes(found.bytes()))
        except FileNotFoundError as error:
            raise Unusable(f"{self.location}/{path} cannot be read: it is not there") from error

    def names(self, version: str) -> list[str]:
        """See `ModelStore`; also those of a version that is not complete."""
        return sorted(
            each["path"].rpartition("/")[2] for each in self._objects(f"{checked_version(version)}/")
        )

    def remove(self, version: str) -> None:
        """See `ModelStore`."""
        for name in sorted(self.names(version), key=lambda each: each != MANIFEST):
            self._asked(partial(obstore.delete, self._store, f"{version}/{name}"))

    def versions(self) -> dict[str, int]:
        """See `ModelStore`."""
        return {
            version: sum(each["size"] for each in objects)
            for version, objects in self._all().items()
            if any(each["path"] == f"{version}/{MANIFEST}" for each in objects)
        }

    def sweep(self, known: Collection[str], *, older_than_s: float = ABANDONED_AFTER_S) -> list[str]:
        """See `ModelStore`; whatever else lies there is somebody else's."""
        oldest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        abandoned = sorted(
            version
            for version, objects in self._all().items()
            if version not in known and max(each["last_modified"] for each in objects) < oldest
        )
        for version in abandoned:
            self.remove(version)
        return abandoned

    def state(self) -> StoreState:
        """See `ModelStore`; who may read is taken to be allowed to write until a version is written."""
        try:
            self._asked(lambda: next(iter(obstore.list(self._store, chunk_size=1)), None))
        except TryAgain:
            return StoreState(exists=False, readable=False, writable=False, free_bytes=None)
        return StoreState(exists=True, readable=True, writable=True, free_bytes=None)

    def _all(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = defaultdict(list)
        for each in self._objects(None):
            version, _, name = each["path"].partition("/")
            if is_version(version) and "/" not in name:
                found[version].append(each)
        return found

    def _objects(self, prefix: str | None) -> list[Any]:
        return self._asked(lambda: [each for page in obstore.list(self._store, prefix) for each in page])

    # What the bucket means stays as it is; that it does not answer is the caller's to try again.
    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except (FileNotFoundError, AlreadyExistsError):
            raise
        except (BaseError, OSError) as error:
            raise TryAgain(f"{self.location}: {_sentence(error)}") from error


# The library appends the whole chain of its sources; the first line says what happened.
def _sentence(error: Exception) -> str:
    return next(_lines(error), type(error).__name__)


def _lines(error: Exception) -> Iterator[str]:
    return (line.strip() for line in str(error).splitlines() if line.strip())
