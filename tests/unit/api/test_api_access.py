"""Who may ask the API, and what everybody else is told. Without a database or a broker."""

from uuid import UUID

import httpx
import pytest
from litestar.constants import OPENAPI_JSON_HANDLER_NAME
from litestar.routes import HTTPRoute

from api.app import create_app
from api.routes.health import PATHS
from api.settings import Settings
from common.settings import load

KEY = "k3y-of-the-operators-0123456789"
NOT_ROUTES = (
    "/",
    "/healthz-x",
    "/health/",
    "/health/live/x",
    "/HEALTH",
    "/metrics/",
    "/health/%2e%2e/api/v1/models",
    "/health%2f%2e%2e/api/v1/models",
    "/api/v1",
    "/api/v1/no-such-route",
    "/schema",
    "/schema/openapi.json",
    "/schema/swagger",
    "/docs",
    "/console",
)
WRONG_HEADERS = {
    "none": [],
    "empty": [("X-API-Key", "")],
    "wrong": [("X-API-Key", "wrong")],
    "one character short": [("X-API-Key", KEY[:-1])],
    "one character more": [("X-API-Key", f"{KEY}0")],
    "another case": [("X-API-Key", KEY.upper())],
    "not ASCII": [("X-API-Key", "schlüssel".encode())],
    "as a bearer token": [("Authorization", f"Bearer {KEY}")],
    "the right one beside a wrong one": [("X-API-Key", KEY), ("X-API-Key", "wrong")],
}


@pytest.fixture(scope="module")
def app():
    return create_app(Settings(model_service_api_key=KEY))


@pytest.fixture
async def client(app):
    # Not Litestar's client: nothing here needs the application's life, so nothing connects.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        yield client


def every_route(app):
    return [
        (
            method,
            route.path_format.format(
                version="v1",
                strategy_id="default",
                run_id=UUID(int=7),
                path="x",
                trading_scope="fleet",
                symbol="BTCUSDT",
            ),
        )
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
    ]


async def test_no_route_answers_without_the_key_except_health_and_metrics(app, client):
    routes = every_route(app)

    answers = {
        (method, path): (await client.request(method, path)).status_code
        for method, path in routes
        if path not in PATHS
    }

    assert len(answers) > 25
    assert set(answers.values()) == {401}
    assert {path for _, path in routes if not path.startswith(("/api/v1/", "/schema"))} == PATHS


@pytest.mark.parametrize("path", NOT_ROUTES)
async def test_a_path_that_is_no_open_route_asks_for_the_key(client, path):
    assert (await client.get(path)).status_code == 401


async def test_every_refused_key_gets_the_same_answer_byte_for_byte(client):
    answers = {
        name: await client.get("/api/v1/models", headers=[*headers, ("X-Trace-ID", name.replace(" ", "-"))])
        for name, headers in WRONG_HEADERS.items()
    }

    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({answer.content for answer in answers.values()}) == 1
    seen = {tuple((k, v) for k, v in a.headers.items() if k != "x-trace-id") for a in answers.values()}
    assert len(seen) == 1


async def test_a_refusal_is_a_problem_with_a_challenge_and_a_trace_id(client):
    answer = await client.get("/api/v1/models", headers={"X-Trace-ID": "abc-1"})

    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.headers["x-trace-id"] == "abc-1"
    assert answer.headers["www-authenticate"].startswith("ApiKey ")
    assert answer.json() == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "X-API-Key is missing or wrong",
        "code": "unauthorized",
    }


async def test_the_key_is_checked_before_the_body(client):
    answer = await client.post("/api/v1/training/trigger", content=b"x" * 300_000)

    assert answer.status_code == 401


async def test_liveness_and_metrics_need_no_key(client):
    assert (await client.get("/health/live")).json() == {"status": "alive"}
    assert "python_info" in (await client.get("/metrics")).text


async def test_the_description_is_served_to_those_with_the_key(app, client):
    for path in ("/schema", app.route_reverse(OPENAPI_JSON_HANDLER_NAME)):
        answer = await client.get(path, headers={"X-API-Key": KEY})

        assert answer.status_code == 200
        assert answer.json()["openapi"].startswith("3.")


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "tab\t", "line\n"])
def test_the_api_does_not_start_without_a_key_that_a_header_can_carry(monkeypatch, capsys, key):
    monkeypatch.setenv("MODEL_SERVICE_API_KEY", key)

    with pytest.raises(SystemExit) as exit_info:
        load(Settings)

    said = capsys.readouterr().err
    assert exit_info.value.code == 78
    assert "MODEL_SERVICE_API_KEY: must " in said
    assert not key.strip() or key not in said


def test_no_key_at_all_is_an_error_that_names_the_variable(monkeypatch, capsys):
    monkeypatch.delenv("MODEL_SERVICE_API_KEY", raising=False)

    with pytest.raises(SystemExit):
        load(Settings)

    assert "MODEL_SERVICE_API_KEY: must hold the key" in capsys.readouterr().err
