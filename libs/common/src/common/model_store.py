"""Where the files of versions are kept, whatever keeps them.

A version's files come together and never change: it is there with all of them, or not at all. Whether the
bytes may be trusted is not asked here: `artifacts` holds them against the registry.
"""

import re
from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from common.errors import Unusable

MANIFEST = "manifest.json"
"""The file that makes a version complete: written last, removed first."""
LARGEST_FILE_BYTES = 1 << 30
"""A larger one is not read: whoever put it there wants the memory of those who serve."""
ABANDONED_AFTER_S = 3600.0
"""What no row knows of is somebody's work in progress until then, in seconds."""

_VERSION = re.compile(r"v\d+(\.\d+)?")
_FILE = re.compile(r"[a-z0-9_]+\.[a-z]+")


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """The store as this process finds it."""

    exists: bool
    """It is a directory, or a bucket that answers."""
    readable: bool
    """This process may read there."""
    writable: bool
    """The trainer alone has to write there; of a bucket it is not known before a version is written."""
    free_bytes: int | None
    """Free space of its file system; null: it cannot be told, as for a bucket."""


@runtime_checkable
class ModelStore(Protocol):
    """A directory (`ModelDirectory`) or a bucket (`ModelBucket`); every method waits for a disk or a network.

    Each raises Unusable for a name that is no version's or file's, TryAgain where a bucket does not answer.
    """

    @property
    def location(self) -> str:
        """Where it is, as the settings say it; never with a credential."""
        ...

    def create(self, version: str, files: Mapping[str, bytes]) -> None:
        """The version is there with all its files, the manifest among them. Raises Conflict if it exists."""
        ...

    def read(self, version: str, name: str) -> bytes:
        """The file's bytes. Raises Unusable, naming it, where it is missing, too large or leads elsewhere."""
        ...

    def names(self, version: str) -> list[str]:
        """The version's files; none where it is not there."""
        ...

    def remove(self, version: str) -> None:
        """The version is gone; a reader sees all of its files or none."""
        ...

    def versions(self) -> dict[str, int]:
        """Versions that are there, with the size of their files in bytes."""
        ...

    def sweep(self, known: Collection[str], *, older_than_s: float = ABANDONED_AFTER_S) -> list[str]:
        """What a crash left is gone: unfinished and unknown versions of that age; returns their names."""
        ...

    def state(self) -> StoreState:
        """What this process finds; raises nothing."""
        ...


def is_version(name: str) -> bool:
    """Whether `name` is that of a version."""
    return _VERSION.fullmatch(name) is not None


def checked_version(name: str) -> str:
    """`name`. Raises Unusable where it is no version's: nothing else becomes part of a path."""
    if not is_version(name):
        raise Unusable(f"{name!r} is no version")
    return name


def check_size(version: str, name: str, size_bytes: int) -> None:
    """Raises Unusable where a file is too large to be a model's."""
    if size_bytes > LARGEST_FILE_BYTES:
        raise Unusable(
            f"version {version}: {name} has {size_bytes:,} bytes, more than {LARGEST_FILE_BYTES:,}"
        )


def checked_file(version: str, name: str) -> str:
    """`name`. Raises Unusable where it is no file's of a version."""
    if not _FILE.fullmatch(name):
        raise Unusable(f"version {version}: {name!r} is no file name")
    return name
