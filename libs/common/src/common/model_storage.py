"""The model store that the settings name: which it is, and is it as a process needs it?"""

import asyncio

from common.model_directory import ModelDirectory
from common.model_store import ModelStore, StoreState
from common.probes import Check
from common.settings import ModelStorageSettings


def store_of(settings: ModelStorageSettings) -> ModelStore:
    """Where the versions lie. Raises Unusable where MODEL_STORAGE_URL names no store."""
    return store_at(settings.model_storage_url or str(settings.model_storage_path))


def store_at(location: str) -> ModelStore:
    """The bucket of a URL, or the directory of a path. Raises Unusable for a URL that names no store."""
    if "://" not in location:
        return ModelDirectory.at(location)
    from common.model_bucket import ModelBucket  # noqa: PLC0415 - whoever has no bucket loads no client

    return ModelBucket(location)


def problem(found: StoreState, *, name: str, writes: bool, min_free_bytes: int) -> str | None:
    """What is wrong with the store that setting `name` says, for one that `writes` there, or only reads."""
    if not found.exists:
        return f"{name} is no directory" if name == "MODEL_STORAGE_PATH" else f"{name} does not answer"
    if not found.readable:
        return f"{name} cannot be read"
    if writes and not found.writable:
        return f"{name} cannot be written"
    if found.free_bytes is not None and found.free_bytes < min_free_bytes:
        return f"{found.free_bytes:,} bytes are free, MODEL_MIN_FREE_BYTES is {min_free_bytes:,}"
    return None


def storage_check(settings: ModelStorageSettings, store: ModelStore, *, writes: bool) -> Check:
    """The store is as a process needs it that `writes` there, or only reads."""
    name = "MODEL_STORAGE_URL" if settings.model_storage_url else "MODEL_STORAGE_PATH"

    async def check() -> str | None:
        found = await asyncio.to_thread(store.state)
        return problem(found, name=name, writes=writes, min_free_bytes=settings.model_min_free_bytes)

    return check
