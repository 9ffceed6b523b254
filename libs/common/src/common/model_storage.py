"""The directory of the saved versions, looked at: is it there, may this process use it, has it room?"""

import asyncio
import os
import shutil
from pathlib import Path

import msgspec

from common.probes import Check
from common.settings import ModelStorageSettings


class ModelStorage(msgspec.Struct, frozen=True, kw_only=True):
    """The model storage as this process finds it."""

    exists: bool
    """It is a directory."""
    readable: bool
    """This process may read there."""
    writable: bool
    """The trainer alone has to write there."""
    free_bytes: int | None
    """Free space of its file system; null: it cannot be told."""


def look(path: Path) -> ModelStorage:
    """What this process may do at `path`; asks the file system, which may take its time."""
    exists = path.is_dir()
    return ModelStorage(
        exists=exists,
        readable=exists and os.access(path, os.R_OK | os.X_OK),
        writable=exists and os.access(path, os.W_OK | os.X_OK),
        free_bytes=free_bytes(path),
    )


def free_bytes(path: Path) -> int | None:
    """Free bytes where `path` is, or would be made; None where the file system does not say."""
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def problem(found: ModelStorage, *, writes: bool, min_free_bytes: int) -> str | None:
    """What is wrong with the storage for a process that `writes` there, or only reads."""
    if not found.exists:
        return "MODEL_STORAGE_PATH is no directory"
    if not found.readable:
        return "MODEL_STORAGE_PATH cannot be read"
    if writes and not found.writable:
        return "MODEL_STORAGE_PATH cannot be written"
    if found.free_bytes is not None and found.free_bytes < min_free_bytes:
        return f"{found.free_bytes:,} bytes are free, MODEL_MIN_FREE_BYTES is {min_free_bytes:,}"
    return None


def storage_check(settings: ModelStorageSettings, *, writes: bool) -> Check:
    """The model storage is as a process needs it that `writes` there, or only reads."""

    async def check() -> str | None:
        found = await asyncio.to_thread(look, settings.model_storage_path)
        return problem(found, writes=writes, min_free_bytes=settings.model_min_free_bytes)

    return check
