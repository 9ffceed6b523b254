"""Every hostile body on every command of the API, and hostile values in every parameter of what it reads.

Each is answered with a problem that says why, or did what it says; none is the server's fault, and the next
good request is answered.
"""

import asyncio
import itertools
import json
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest
from tests.integration.api_process import api_process
from tests.integration.corpus import hostile
from tests.integration.test_api_schema import EXISTING, furnish
from tests.integration.test_service_processes import answer

from api.description import PATH as DESCRIPTION

AT_ONCE = 8
GROWTH_BYTES = 192 * 2**20
STREAM = "/api/v1/events"
SAID = {"actor": "ada", "reason": "a test"}
GOOD = {
    "actor": "ada",
    "reason": "a test",
    "strategy_id": "momentum",
    "symbol": "BTCUSDT",
    "state": "ACTIVE",
    "expected_epoch": 1,
    "priority": "HIGH",
}
VALUES = [
    "",
    " ",
    "\x00",
    "a\r\nSet-Cookie: a=b",
    "'; DROP TABLE dead_letters; --",
    "1' OR '1'='1",
    "../../../../etc/passwd",
    "..\\..\\system32",
    "%00",
    "NaN",
    "-1",
    "99999999999999999999999999",
    "1e400",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "\u202e\U0001f4a3",
    "x" * 4000,
    "{{7*7}}",
]

WITHOUT_BODY = ("/activate", "/training/trigger", "/training/datasets")
"""How the paths end whose commands need no body."""


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    async with api_process(database_url, amqp_url, tmp_path) as one:
        await answer(f"{one.url}/health/ready", 200)
        await furnish(one)
        before = _resident(one.process)
        yield one
        await answer(f"{one.url}/health/ready", 200)
        assert _resident(one.process) - before < GROWTH_BYTES
        assert "Traceback" not in (tmp_path / "log").read_text()


async def test_every_command_answers_every_body(api):
    async with api.client() as client:
        document = (await client.get(DESCRIPTION)).json()
        asked = [
            (method, _filled(path), body, not path.endswith(WITHOUT_BODY))
            for path, operations in document["paths"].items()
            for method in operations.keys() & {"post", "put", "patch", "delete"}
            for _, body in hostile(_good_of(document, operations[method]))
        ]
        assert len(asked) >= 200 * len(_commands(document))

        async def send(method, path, body, needs_body):
            headers = {"content-type": "application/json"}
            response = await client.request(method, path, content=body, headers=headers)
            _check(response, f"{method} {path} {body[:80]!r}")
            # Neither nothing nor null is a body.
            if needs_body if body in (b"", b"null") else not _is_object(body):
                assert response.status_code >= 400, (path, body[:80])

        await _all(send, asked)
        assert (await client.get("/api/v1/strategies")).status_code == 200
        reduced = await client.put("/api/v1/trading-states/fleet", json={"state": "REDUCING", **SAID})
        assert reduced.status_code == 200, reduced.text


async def test_every_read_answers_every_value_of_every_parameter(api):
    async with api.client() as client:
        document = (await client.get(DESCRIPTION)).json()
        asked = []
        for path, operations in document["paths"].items():
            if path == STREAM or "get" not in operations:
                continue
            for parameter in operations["get"].get("parameters", []):
                name, place = parameter["name"], parameter["in"]
                for value in VALUES:
                    if place == "query":
                        asked.append((_filled(path), {name: value}))
                    elif place == "path" and value:
                        asked.append((_filled(path, **{name: quote(value, safe="")}), {}))

        async def read(path, query):
            response = await client.get(path, params=query)
            _check(response, f"{path} {query}")

        assert len(asked) >= 200
        await _all(read, asked)
        assert (await client.get("/api/v1/strategies")).status_code == 200


def _check(response, what):
    assert response.status_code < 500, f"{what}: {response.text}"
    if response.status_code >= 400:
        assert response.headers["content-type"].startswith("application/problem+json"), what
        problem = response.json()
        assert problem["code"], what
        assert problem["detail"], what
        assert len(response.content) < 20_000, what


async def _all(send, asked):
    queue = iter(asked)

    async def worker():
        for each in queue:
            await send(*each)

    async with asyncio.TaskGroup() as tasks:
        for _ in itertools.repeat(None, AT_ONCE):
            tasks.create_task(worker())


def _commands(document):
    return [
        (path, method)
        for path, operations in document["paths"].items()
        for method in operations.keys() & {"post", "put", "patch", "delete"}
    ]


def _good_of(document, operation):
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    for part in (schema, *schema.get("oneOf", []), *schema.get("anyOf", [])):
        if "$ref" in part:
            schema = document["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    return {name: GOOD.get(name, 1) for name in schema.get("properties", {})} or SAID


def _filled(path, **given):
    known = {name: values[0] for name, values in EXISTING.items()}
    known |= {"scope": "fleet", "run_id": str(UUID(int=7)), **given}
    for name, value in known.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, path
    return path


def _is_object(body):
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _resident(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096
