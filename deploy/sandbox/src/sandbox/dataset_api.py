"""The Feature Service's dataset routes, in the real one's words and statuses."""

import json
from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import File
from litestar.types import Guard

from sandbox.core.dataset_request import Crash, Unprocessable, parse
from sandbox.core.datasets import SPLITS
from sandbox.dataset_builds import DatasetBuilds
from sandbox.dataset_store import Dataset, listed

LISTED_AT_MOST = 100

Answer = Response[Any]


def dataset_router(guard: Guard) -> Router:
    """The routes under /dataset, all behind `guard`; they need the dependency `builds`."""
    return Router(
        path="/dataset",
        guards=[guard],
        route_handlers=[build, list_datasets, show, remove, download],
        exception_handlers={Refused: _refusal},
    )


class Refused(Exception):
    """The request is answered with `status` and `detail`."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@post("/build", status_code=202)
async def build(request: Request[Any, Any, Any], builds: NamedDependency[DatasetBuilds]) -> dict[str, object]:
    """Takes the build on; it runs later, and the answer comes first."""
    understood = parse(_decoded(await request.body()))
    if isinstance(understood, Unprocessable):
        raise Refused(422, understood.detail)
    if isinstance(understood, Crash):
        raise Refused(500, "Internal server error")
    dataset = builds.request(understood)
    return {"dataset_id": dataset.id, "status": dataset.status, "estimated_completion": None}


@get("/list")
async def list_datasets(
    builds: NamedDependency[DatasetBuilds], limit: FromQuery[int] = LISTED_AT_MOST
) -> list[dict[str, Any]]:
    """The newest datasets, their target as a string of JSON."""
    return [listed(dataset) for dataset in builds.store.newest(limit)]


@get("/{dataset_id:str}")
async def show(builds: NamedDependency[DatasetBuilds], dataset_id: FromPath[str]) -> Dataset:
    """One dataset's row."""
    return _found(builds, dataset_id)


@delete("/{dataset_id:str}", status_code=204)
async def remove(builds: NamedDependency[DatasetBuilds], dataset_id: FromPath[str]) -> None:
    """Row and files are gone."""
    builds.store.delete(_found(builds, dataset_id).id)


@get("/{dataset_id:str}/download")
async def download(
    builds: NamedDependency[DatasetBuilds], dataset_id: FromPath[str], split: FromQuery[str | None] = None
) -> File:
    """A split's Parquet file."""
    found = _found(builds, dataset_id)
    if split is None:
        raise Refused(422, [_problem("missing", ["query", "split"], "Field required", None)])
    if found.status != "ready":
        raise Refused(400, f"Dataset is not ready (status: {found.status})")
    if split not in SPLITS:
        raise Refused(400, "Invalid split name")
    path = builds.store.split_file(found.id, split)
    if not path.is_file():
        raise Refused(404, f"Split file not found: {split}")
    return File(path, filename=f"{found.id}_{split}.parquet", media_type="application/octet-stream")


def _found(builds: DatasetBuilds, given: str) -> Dataset:
    try:
        dataset = builds.store.find(UUID(given))
    except ValueError:
        reason = f"invalid length: found {len(given)}" if len(given) not in {32, 36} else "invalid character"
        message = f"Input should be a valid UUID, {reason}"
        problem = _problem("uuid_parsing", ["path", "dataset_id"], message, given)
        raise Refused(422, [{**problem, "ctx": {"error": reason}}]) from None
    if dataset is None:
        raise Refused(404, "Dataset not found")
    return dataset


def _problem(type_: str, where: list[str], message: str, given: object) -> dict[str, Any]:
    return {"type": type_, "loc": where, "msg": message, "input": given}


def _refusal(_: Request[Any, Any, Any], refused: Refused) -> Answer:
    return Response({"detail": refused.detail}, status_code=refused.status)


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
