"""Versions in a directory that the trainer writes and others read: `{root}/v{n}/`.

A version is written under a temporary name, synced and renamed: one that exists is complete.
"""

import os
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from uuid import uuid4

import msgspec

from common.errors import Conflict, Unusable
from common.model_store import (
    ABANDONED_AFTER_S,
    StoreState,
    check_size,
    checked_file,
    checked_version,
    is_version,
)

_TEMPORARY = ".tmp-"


class ModelDirectory(msgspec.Struct, frozen=True):
    """A `ModelStore` on a file system."""

    root: Path

    @classmethod
    def at(cls, path: str) -> "ModelDirectory":
        """The store in the directory `path`, which need not be there yet."""
        return cls(Path(path))

    @property
    def location(self) -> str:
        """The directory."""
        return str(self.root)

    def create(self, version: str, files: Mapping[str, bytes]) -> None:
        """See `ModelStore`; nothing of it is seen where it fails, as on a full disk (OSError)."""
        target = self._directory(version)
        self.root.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise Conflict(f"version {version} exists on disk already")
        temporary = self.root / f"{_TEMPORARY}{version}-{uuid4().hex}"
        temporary.mkdir()
        try:
            for name, content in files.items():
                _write_synced(temporary / checked_file(version, name), content)
            _sync_directory(temporary)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_directory(self.root)

    def read(self, version: str, name: str) -> bytes:
        """See `ModelStore`; a link that leads out of the root is Unusable."""
        path = self._directory(version) / checked_file(version, name)
        try:
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise Unusable(f"{path} leads outside of {self.root}")
            check_size(version, name, path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise Unusable(f"{path} cannot be read: {error.strerror or error}") from error

    def names(self, version: str) -> list[str]:
        """See `ModelStore`."""
        directory = self._directory(version)
        return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []

    def remove(self, version: str) -> None:
        """See `ModelStore`."""
        target = self._directory(version)
        if target.exists():
            doomed = self.root / f"{_TEMPORARY}{version}-{uuid4().hex}"
            target.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def versions(self) -> dict[str, int]:
        """See `ModelStore`."""
        found = self.root.iterdir() if self.root.is_dir() else ()
        return {entry.name: _size(entry) for entry in found if is_version(entry.name)}

    def sweep(self, known: Collection[str], *, older_than_s: float = ABANDONED_AFTER_S) -> list[str]:
        """See `ModelStore`; whatever else lies there is somebody else's."""
        oldest = time.time() - older_than_s
        removed = []
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            ours = entry.name.startswith(_TEMPORARY) or is_version(entry.name)
            if ours and entry.name not in known and entry.lstat().st_mtime < oldest:
                shutil.rmtree(entry, ignore_errors=True)
                removed.append(entry.name)
        return sorted(removed)

    def state(self) -> StoreState:
        """See `ModelStore`."""
        exists = self.root.is_dir()
        return StoreState(
            exists=exists,
            readable=exists and os.access(self.root, os.R_OK | os.X_OK),
            writable=exists and os.access(self.root, os.W_OK | os.X_OK),
            free_bytes=free_bytes(self.root),
        )

    def _directory(self, version: str) -> Path:
        return self.root / checked_version(version)


def free_bytes(path: Path) -> int | None:
    """Free bytes where `path` is, or would be made; None where the file system does not say."""
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def _size(directory: Path) -> int:
    return sum(entry.lstat().st_size for entry in directory.rglob("*") if not entry.is_dir())


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
