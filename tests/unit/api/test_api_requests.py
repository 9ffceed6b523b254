"""What the API makes of requests that cannot be answered. Without a database or a broker."""

import httpx
import pytest
import structlog
from litestar import Litestar, get
from prometheus_client import REGISTRY
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from api import problems
from api.app import MAX_BODY_BYTES, create_app
from api.settings import Settings
from api.traces import traced

KEY = "k3y-of-the-operators-0123456789-ABCDEFGHIJKLMNOPQ"
ENTRY = {"X-API-Key": KEY, "X-Trace-ID": "trace-7"}
NOWHERE = "postgresql://nobody:s3cret@127.0.0.1:1/none"


def client_of(app):
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api", headers=ENTRY
    )


@pytest.fixture(scope="module")
def app():
    return create_app(Settings(model_service_api_key=KEY, database_url=NOWHERE, trading_symbols=("BTCUSDT",)))


@pytest.fixture
async def client(app):
    async with client_of(app) as client:
        yield client


def is_problem(answer, status, code):
    said = answer.json()
    assert answer.status_code == said["status"] == status
    assert said["code"] == code
    assert said["trace_id"] == answer.headers["x-trace-id"] == "trace-7"
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert said["type"] == "about:blank"
    assert said["title"]
    assert said["detail"]
    return said


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("is_active=perhaps", "is_active"),
        ("strategy_id=", "strategy_id"),
        ("strategy_id=a%00b", "strategy_id"),
        ("strategy_id=" + "x" * 101, "strategy_id"),
        ("order_by=version", "order_by"),
        ("engine=x", "engine"),
        ("request=x", "request"),
    ],
)
async def test_a_query_that_is_not_valid_is_400_and_names_the_parameter(client, query, field):
    answer = await client.get(f"/api/v1/models?{query}")

    said = is_problem(answer, 400, "invalid_request")
    assert [fault["field"] for fault in said["errors"]] == [field]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"force=1",
        b'{"force": "yes"}',
        b'{"froce": true}',
        b'{"reason": ""}',
        b'{"reason": " \\n "}',
        b'{"actor": " "}',
        b'{"reason": "a\\u0000b"}',
        b'{"reason": "' + b"x" * 1001 + b'"}',
        b'{"reason": ' + b"[" * 100_000,
        b'{"froce": ' + b"[" * 100_000,
        b"[" * 200_000,
        b'{"expected_epoch": -1}',
        b'{"expected_epoch": 9223372036854775808}',
        b'{"strategy_id": 7}',
    ],
)
async def test_a_body_that_is_not_valid_is_400(client, body):
    is_problem(await client.post("/api/v1/models/v1/activate", content=body), 400, "invalid_request")


@pytest.mark.parametrize("change", ["rollback", "deactivate"])
async def test_a_rollback_and_a_deactivation_need_a_reason(client, change):
    said = is_problem(await client.post(f"/api/v1/strategies/a/{change}", json={}), 400, "invalid_request")

    assert "reason" in said["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/no-such-route"),
        ("GET", "/api/v1/models/V1"),
        ("GET", "/api/v1/models/1"),
        ("GET", "/api/v1/models/v1.2.3"),
        ("GET", "/api/v1/models/v١"),
        ("GET", "/api/v1/models/v1%0a"),
        ("GET", "/api/v1/models/v1%00"),
        ("GET", "/api/v1/models/..%2f..%2fetc%2fpasswd"),
        ("GET", "/api/v1/models/%2e%2e/metrics"),
        ("GET", "/api/v1/models/latest/metrics"),
        ("POST", "/api/v1/models/latest"),
        ("POST", "/api/v1/models/latest/activate"),
        ("GET", "/api/v1/training/runs/7"),
        ("GET", "/api/v1/training/runs/..%2f..%2fetc%2fpasswd"),
    ],
)
async def test_what_names_nothing_is_404_before_anything_is_read(client, method, path):
    answer = await client.request(method, path)

    is_problem(answer, 404, "not_found")


async def test_another_method_is_405_and_says_which_there_are(client):
    answer = await client.delete("/api/v1/models/v1")

    is_problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


async def test_a_body_above_256_kib_is_413_whether_it_says_its_length_or_not(client):
    async def chunks():
        for _ in range(10):
            yield b" " * (MAX_BODY_BYTES // 8)

    for content in (b" " * (MAX_BODY_BYTES + 1), chunks()):
        answer = await client.post("/api/v1/training/trigger", content=content)

        is_problem(answer, 413, "body_too_large")


async def test_a_database_that_is_away_is_503_and_not_named(client):
    for path in ("/api/v1/models", "/api/v1/signals", "/api/v1/strategies", "/api/v1/training/status"):
        said = is_problem(await client.get(path), 503, "unavailable")

        assert "127.0.0.1" not in str(said)


class Said(Exception):
    def __init__(self, sqlstate):
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [
        ("08006", 503),
        ("28P01", 503),
        ("3D000", 503),
        ("40001", 503),
        ("40P01", 503),
        ("53300", 503),
        ("55P03", 503),
        ("57014", 503),
        ("57P03", 503),
        ("25006", 503),
        ("25001", 500),
        ("42P01", 500),
        ("XX000", 500),
    ],
)
async def test_what_may_succeed_when_it_is_asked_again_is_503_and_nothing_else(sqlstate, status):
    async def ask() -> None:
        raise DBAPIError("SELECT 1", {}, Said(sqlstate))

    app = Litestar([get("/ask")(ask)], exception_handlers=problems.handlers())
    async with client_of(app) as client:
        assert (await client.get("/ask")).status_code == status


async def test_a_client_that_leaves_within_its_request_is_no_bug_of_ours(app):
    answered = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        answered.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/training/trigger",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"x-api-key", KEY.encode()), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 7),
        "app": app,
    }
    with capture_logs() as logged:
        await app(scope, receive, send)

    assert answered[0]["status"] == 499
    assert [(line["event"], line["status"]) for line in logged] == [("request answered", 499)]


async def test_health_says_what_is_away(client):
    answer = await client.get("/health")

    said = answer.json()
    assert answer.status_code == 503
    assert (said["status"], said["service"]) == ("unhealthy", "model-service")
    assert (said["database_connected"], said["queue_connected"]) == (False, False)


async def test_each_request_is_one_log_line_with_its_template_and_nothing_that_was_sent(client):
    with capture_logs() as logged:
        await client.get("/api/v1/models/v7/metrics?metric_name=s3cret!")

    [line] = [line for line in logged if line["event"] == "request answered"]
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request answered",
        "log_level": "info",
        "method": "GET",
        "route": "/api/v1/models/{version}/metrics",
        "status": 400,
        "client": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("method", "path", "headers", "level", "seen"),
    [
        ("GET", "/health/live", {}, "debug", ("GET", "/health/live", 200)),
        ("GET", "/console/main.js", {}, "debug", ("GET", "/console/main.js", 200)),
        ("GET", f"/api/v1/{KEY}", {}, "info", ("GET", "none", 404)),
        ("DELETE", "/api/v1/models/v7", {}, "info", ("DELETE", "none", 405)),
        ("BREW", "/api/v1/models/v7", {}, "info", ("other", "none", 405)),
        ("GET", "/api/v1/models/v7", {"X-API-Key": "wrong"}, "info", ("GET", "none", 401)),
        ("POST", "/api/v1/models/v7", {"X-API-Key": "wrong"}, "info", ("POST", "none", 401)),
    ],
)
async def test_what_no_route_answers_has_no_name_of_its_own_in_log_and_metrics(
    client, method, path, headers, level, seen
):
    labels = dict(zip(("method", "route", "status"), map(str, seen), strict=True))
    before = REGISTRY.get_sample_value("flotilla_api_requests_total", labels) or 0
    with capture_logs() as logged:
        await client.request(method, path, headers=headers)

    [line] = [line for line in logged if line["event"] == "request answered"]
    assert (line["method"], line["route"], line["status"]) == seen
    assert line["log_level"] == level
    assert REGISTRY.get_sample_value("flotilla_api_requests_total", labels) == before + 1
    timed = {"method": labels["method"], "route": labels["route"]}
    assert REGISTRY.get_sample_value("flotilla_api_request_duration_seconds_count", timed) > 0
    assert KEY not in str(logged)


async def test_the_log_has_the_trace_id_that_the_client_sent(client):
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        await client.get("/api/v1/no-such-route")

    assert [(line["event"], line["trace_id"]) for line in logged] == [("request answered", "trace-7")]


async def test_a_bug_outside_of_the_routes_is_500_too():
    async def bug(scope, receive, send):
        raise RuntimeError(f"cannot reach {NOWHERE}")

    async with client_of(traced(problems.guarded(bug))) as client:
        with capture_logs() as logged:
            answer = await client.get("/bug")

    said = is_problem(answer, 500, "internal_error")
    assert "s3cret" not in str(said)
    assert [line["event"] for line in logged] == ["request failed"]


async def test_a_bug_is_500_without_internals_and_in_the_log_with_them():
    async def bug() -> None:
        raise RuntimeError(f"cannot reach {NOWHERE}")

    app = Litestar(
        [get("/bug")(bug)],
        exception_handlers=problems.handlers(),
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = traced(app.asgi_handler)
    async with client_of(app) as client:
        with capture_logs() as logged:
            answer = await client.get("/bug")

    said = is_problem(answer, 500, "internal_error")
    assert "s3cret" not in str(said)
    assert "RuntimeError" not in str(said)
    assert [(line["event"], repr(line["exc_info"])) for line in logged] == [
        ("request failed", repr(RuntimeError(f"cannot reach {NOWHERE}")))
    ]


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "two words", "a;b", "ü".encode()])
async def test_a_trace_id_that_could_harm_is_replaced(client, sent):
    headers = {} if sent is None else {"X-Trace-ID": sent}
    del client.headers["X-Trace-ID"]

    answer = await client.get("/api/v1/no-such-route", headers=headers)

    assert len(answer.headers["x-trace-id"]) == 32
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]
