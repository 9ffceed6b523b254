"""The versions that a fit compares with, where its child process reads them: it has no key of a bucket."""

from contextlib import suppress
from pathlib import Path

import msgspec

from common.errors import Unusable
from common.model_directory import ModelDirectory
from common.model_store import ModelStore
from trainer.job import ChampionFile, Job

_VERSIONS = "versions"


def brought(job: Job, store: ModelStore, directory: Path) -> Job:
    """`job` with its champion and its earlier runs on this machine's disk, below `directory` if need be.

    What cannot be read is left out: the fit says that it could not compare. Raises TryAgain where a bucket
    does not answer.
    """
    if isinstance(store, ModelDirectory):
        return job
    local = ModelDirectory(directory / _VERSIONS)
    named = [*job.earlier, *([job.champion] if job.champion else [])]
    for version in sorted({each.version for each in named}):
        with suppress(Unusable):
            local.create(version, {name: store.read(version, name) for name in store.names(version)})
    return msgspec.structs.replace(
        job,
        champion=_moved(job.champion, local) if job.champion else None,
        earlier=tuple(_moved(each, local) for each in job.earlier),
    )


def _moved(file: ChampionFile, to: ModelDirectory) -> ChampionFile:
    return msgspec.structs.replace(file, root=to.location)
