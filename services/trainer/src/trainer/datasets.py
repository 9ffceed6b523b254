"""Datasets of the Feature Service over REST: ask for one, ask how it is, fetch its splits.

While it builds, the Feature Service answers nothing at all: silence is TryAgain and never a failed build.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Literal, TypeVar
from uuid import UUID

import httpx
import msgspec

from common import tracing
from common.errors import NotFound, TryAgain, Unusable
from common.neighbour import http_client
from common.settings import FeatureServiceSettings
from trainer.core.periods import Period, Periods

MAX_SPLIT_BYTES = 4 * 2**30
"""A longer download is garbage."""
CHUNK_BYTES = 1 << 20
DOWNLOAD_SILENCE_S = 30.0
"""Longest wait for the next piece of a download, in seconds."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The dataset to build."""

    symbol: str
    strategy_id: str
    periods: Periods
    horizon_s: int
    threshold: float
    feature_registry_version: str


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset is."""

    status: Literal["building", "ready", "failed"]
    error_message: str | None = None


class _Accepted(msgspec.Struct):
    dataset_id: UUID


T = TypeVar("T")

_accepted = msgspec.json.Decoder(_Accepted)
_built = msgspec.json.Decoder(Built)


class Datasets:
    """A client with one connection pool; close it with `aclose`."""

    def __init__(
        self, settings: FeatureServiceSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = http_client(
            settings.feature_service_url(),
            settings.feature_service_api_key,
            timeout_s=settings.feature_service_timeout_seconds,
            transport=transport,
        )

    async def build(self, wanted: Wanted) -> UUID:
        """The id of the dataset that is being built.

        Raises TryAgain where no build began, or nobody knows; Unusable where this request never can.
        """
        answer = await self._asked("POST", "/dataset/build", json=_request(wanted))
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise Unusable(f"the Feature Service refuses the build: {answer.text[:500]}")
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            raise TryAgain(
                "the Feature Service answers 500 to a build: a wrong FEATURE_SERVICE_API_KEY, or its table "
                "datasets has TIMESTAMP columns and needs TIMESTAMPTZ"
            )
        if answer.status_code != httpx.codes.ACCEPTED:
            raise TryAgain(f"the Feature Service answers {answer.status_code} to a build")
        return _decoded(_accepted, answer.content).dataset_id

    async def status(self, dataset_id: UUID) -> Built:
        """How the dataset is. Raises NotFound where there is none, TryAgain where nobody answers."""
        answer = await self._asked("GET", f"/dataset/{dataset_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFound(f"the Feature Service has no dataset {dataset_id}")
        if answer.status_code != httpx.codes.OK:
            raise TryAgain(f"the Feature Service answers {answer.status_code} for dataset {dataset_id}")
        return _decoded(_built, answer.content)

    async def download(self, dataset_id: UUID, split: str, target: Path) -> str | None:
        """The split lies in `target`, whole; returns its sha256, None where it has no rows.

        Raises TryAgain for a download that did not come to its end, Unusable for one without an end.
        """
        unfinished = target.with_suffix(".part")
        digest, size = hashlib.sha256(), 0
        try:
            async with self._http.stream(
                "GET",
                f"/dataset/{dataset_id}/download",
                params={"split": split},
                headers=_trace(),
                timeout=DOWNLOAD_SILENCE_S,
            ) as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                if answer.status_code != httpx.codes.OK:
                    raise TryAgain(f"the Feature Service answers {answer.status_code} to a download")
                with unfinished.open("wb") as file:
                    async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                        size += len(chunk)
                        if size > MAX_SPLIT_BYTES:
                            raise Unusable(f"{split} is longer than {MAX_SPLIT_BYTES} bytes")
                        digest.update(chunk)
                        await asyncio.to_thread(file.write, chunk)
        except httpx.HTTPError as error:
            raise TryAgain(f"download of {split} broke off: {type(error).__name__}: {error}") from error
        unfinished.rename(target)
        return digest.hexdigest()

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    async def _asked(self, method: str, path: str, json: object = None) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=json, headers=_trace())
        except httpx.HTTPError as error:
            raise TryAgain(f"the Feature Service does not answer: {type(error).__name__}") from error


# What today's release needs and what the next one does, together: each ignores what it does not know.
def _request(wanted: Wanted) -> dict[str, object]:
    periods = wanted.periods
    return {
        "symbol": wanted.symbol,
        "strategy_id": wanted.strategy_id,
        "split_strategy": "time_based",
        **_bounds("train", periods.train),
        **_bounds("validation", periods.validation),
        **_bounds("test", periods.test),
        "target_config": {
            "type": "classification",
            "horizon": wanted.horizon_s,
            "threshold": wanted.threshold,
        },
        "feature_registry_version": wanted.feature_registry_version,
        "target_registry_version": wanted.feature_registry_version,
        "output_format": "parquet",
    }


def _bounds(name: str, period: Period) -> dict[str, str]:
    return {
        f"{name}_period_start": period.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{name}_period_end": period.end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _trace() -> dict[str, str]:
    return {"X-Trace-ID": tracing.current()}


def _decoded(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise TryAgain(f"the Feature Service answers what cannot be read: {error}") from error
