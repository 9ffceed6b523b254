"""Datasets of the Feature Service over REST: ask for one, ask how it is, fetch its splits.

While it builds, the Feature Service answers nothing at all: silence is TryAgain and never a failed build. A
download streams to disk; one that breaks off goes on where it ended when the file is provably the same, else
from its beginning.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Literal, TypeVar
from uuid import UUID

import httpx
import msgspec
from prometheus_client import Counter

from common import tracing
from common.errors import UNREADABLE, NotFound, TryAgain, Unusable
from common.neighbour import ask, http_client, is_packed
from common.settings import FeatureServiceSettings
from trainer.core.periods import Period, Periods
from trainer.core.recipe import TargetType
from trainer.job import SPLITS, SplitName

MAX_SPLIT_BYTES = 4 * 2**30
"""A longer download is garbage."""
MAX_ANSWER_BYTES = 1_000_000
"""A longer answer to anything else is, too."""
DOWNLOAD_SILENCE_S = 30.0
"""Longest wait for the next piece of a download, in seconds."""
DOWNLOAD_LIMIT_S = 900.0
"""Longest time for one split, all attempts together, in seconds."""
DOWNLOAD_ATTEMPTS = 4
DOWNLOAD_PAUSE_S = 0.5
"""Before the second attempt, in seconds; doubles each time."""

TEST_MISSING = Counter(
    "flotilla_training_test_split_missing", "Datasets without a test split, by reason.", ["reason"]
)

Missing = Literal["empty_split", "file_not_found", "download_failed"]
"""Why there is no file of a split: no rows, no file although there are rows, or no way to fetch it."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The dataset to build."""

    symbol: str
    strategy_id: str
    periods: Periods
    target_type: TargetType = TargetType.CLASSIFICATION
    horizon_s: int
    threshold: float
    """Of classes alone."""
    feature_registry_version: str


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset is."""

    status: Literal["building", "ready", "failed"]
    error_message: str | None = None
    train_records: int | None = None
    validation_records: int | None = None
    test_records: int | None = None

    def records(self, split: SplitName) -> int | None:
        """Rows of a split, where it says."""
        known = (self.train_records, self.validation_records, self.test_records)
        return known[SPLITS.index(split)]


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset's splits on disk, `{split}.parquet` each."""

    sha256: dict[str, str]
    missing: dict[str, str]
    """Why, of each split that is not there."""


class _Accepted(msgspec.Struct):
    dataset_id: UUID


T = TypeVar("T")

_accepted = msgspec.json.Decoder(_Accepted)
_built = msgspec.json.Decoder(Built)


class Datasets:
    """A client with one connection pool; close it with `aclose`."""

    def __init__(
        self,
        settings: FeatureServiceSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        download_limit_s: float = DOWNLOAD_LIMIT_S,
    ) -> None:
        self._download_limit_s = download_limit_s
        self._timeout_s = settings.feature_service_timeout_seconds
        self._http = http_client(
            settings.feature_service_url(),
            settings.feature_service_api_key,
            timeout_s=self._timeout_s,
            ca_file=settings.neighbour_ca_file,
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

    async def fetch(self, dataset_id: UUID, directory: Path) -> Fetched:
        """All splits lie in `directory`, but for those that are missing.

        A test that cannot be fetched is missing too: validation stands in for it. Raises as `download`.
        """
        sha256: dict[str, str] = {}
        missing: dict[str, str] = {}
        for split in SPLITS:
            try:
                found = await self.download(dataset_id, split, directory / f"{split}.parquet")
            except TryAgain:
                if split != "test":
                    raise
                missing[split] = "download_failed"
                continue
            if found is None:
                missing[split] = await self._why_missing(dataset_id, split)
            else:
                sha256[split] = found
        if reason := missing.get("test"):
            TEST_MISSING.labels(reason).inc()
        return Fetched(sha256=sha256, missing=missing)

    async def download(self, dataset_id: UUID, split: SplitName, target: Path) -> str | None:
        """The split lies in `target`, whole; returns its sha256, None where the Feature Service has no file.

        Raises TryAgain for a download that did not come to its end, Unusable for one without an end.
        """
        unfinished = _Unfinished(target.with_suffix(".part"))
        broken = ""
        try:
            async with asyncio.timeout(self._download_limit_s):
                for attempt in range(DOWNLOAD_ATTEMPTS):
                    if attempt:
                        await asyncio.sleep(DOWNLOAD_PAUSE_S * 2 ** (attempt - 1))
                    try:
                        found = await self._continue(dataset_id, split, unfinished)
                    except (httpx.HTTPError, _Refused) as error:
                        broken = f"{type(error).__name__.strip('_')}: {error}"
                        continue
                    if not found:
                        return None
                    unfinished.path.rename(target)
                    return unfinished.digest.hexdigest()
        except TimeoutError:
            broken = f"{unfinished.size:,} bytes in {self._download_limit_s:g} s"
        raise TryAgain(f"download of {split} broke off: {broken}")

    async def _continue(self, dataset_id: UUID, split: SplitName, unfinished: "_Unfinished") -> bool:
        async with self._http.stream(
            "GET",
            f"/dataset/{dataset_id}/download",
            params={"split": split},
            headers={"X-Trace-ID": tracing.current(), **unfinished.resuming()},
            timeout=DOWNLOAD_SILENCE_S,
        ) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                return False
            if answer.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
                raise _Refused(f"the Feature Service answers {answer.status_code}")
            if is_packed(answer):
                raise _Refused("the Feature Service answers packed, though asked for plain")
            if not unfinished.goes_on_with(answer):
                unfinished.begin_anew(answer)
            if answer.status_code == httpx.codes.PARTIAL_CONTENT and not unfinished.size:
                raise httpx.RemoteProtocolError("a part that nobody asked for")
            with unfinished.path.open("ab" if unfinished.size else "wb") as file:
                async for chunk in answer.aiter_bytes():
                    if unfinished.size + len(chunk) > MAX_SPLIT_BYTES:
                        raise Unusable(f"{split} is longer than {MAX_SPLIT_BYTES} bytes")
                    await asyncio.to_thread(file.write, chunk)
                    unfinished.digest.update(chunk)
                    unfinished.size += len(chunk)
        return True

    async def _why_missing(self, dataset_id: UUID, split: SplitName) -> Missing:
        try:
            records = (await self.status(dataset_id)).records(split)
        except (TryAgain, NotFound):
            return "file_not_found"
        return "file_not_found" if records else "empty_split"

    async def aclose(self) -> None:
        """Its connections are closed."""
        await self._http.aclose()

    async def _asked(self, method: str, path: str, json: object = None) -> httpx.Response:
        try:
            return await ask(
                self._http,
                "the Feature Service",
                method,
                path,
                json=json,
                timeout_s=self._timeout_s,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except Unusable as error:  # of the answer, not of what was asked for
            raise TryAgain(str(error)) from error


class _Refused(Exception):
    """An answer to a download that is neither the file nor that there is none."""


# What is on disk of a download, and what proves that the rest belongs to it.
class _Unfinished:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.digest = hashlib.sha256()
        self._etag = ""

    def resuming(self) -> dict[str, str]:
        if not self.size or not self._etag:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._etag}

    def goes_on_with(self, answer: httpx.Response) -> bool:
        return (
            answer.status_code == httpx.codes.PARTIAL_CONTENT
            and answer.headers.get("content-range", "").startswith(f"bytes {self.size}-")
            and answer.headers.get("etag", self._etag) == self._etag
        )

    def begin_anew(self, answer: httpx.Response) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        etag = answer.headers.get("etag", "")
        self._etag = "" if etag.startswith("W/") else etag


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
            "type": wanted.target_type,
            "horizon": wanted.horizon_s,
            "threshold": wanted.threshold if wanted.target_type is TargetType.CLASSIFICATION else None,
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


def _decoded(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise TryAgain(f"the Feature Service answers what cannot be read: {error}") from error
