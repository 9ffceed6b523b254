"""Who may ask the API, and what everybody else is told. Without a database or a broker."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from litestar.routes import HTTPRoute

from api import attempts
from api.app import create_app
from api.attempts import Attempts
from api.auth import SAFE_METHODS, Keys
from api.console import routes as console
from api.description import PATH as DESCRIPTION
from api.routes import health
from api.settings import Settings
from common.settings import load

KEY = "k3y-of-the-operators-0123456789-ABCDEFGHIJKLMNOPQ"
READ_ONLY = "reads-everything-and-changes-nothing-0123456789-ABC"
OPEN = health.PATHS | console.PATHS
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACES = {
    "version": "v1",
    "strategy_id": "default",
    "run_id": str(UUID(int=7)),
    "letter_id": str(UUID(int=7)),
    "signal_id": str(UUID(int=7)),
    "trading_scope": "fleet",
    "symbol": "BTCUSDT",
}
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
    "/console/",
    "/console/no-such.js",
    "/console/main.js/x",
    "/console/%2e%2e/api/v1/models",
    "/api/v1/events/",
    "//api/v1/models",
    "/api/v1/../../health/../api/v1/models",
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


def client_of(app):
    # Not Litestar's client: nothing here needs the application's life, so nothing connects.
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


@pytest.fixture(scope="module")
def app():
    return create_app(
        Settings(
            model_service_api_key=KEY,
            model_service_readonly_api_key=READ_ONLY,
            model_service_wrong_keys_per_minute=10_000,
        )
    )


@pytest.fixture
async def client(app):
    async with client_of(app) as client:
        yield client


def every_route(app):
    return [
        (method, re.sub(r"\{(\w+)[^}]*\}", lambda place: PLACES.get(place[1], "x"), route.path_format))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
    ]


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}], ids=["no key", "a wrong key"])
async def test_no_route_answers_without_the_key_except_health_metrics_and_the_consoles_files(
    app, client, headers
):
    routes = every_route(app)

    answers = {
        (method, path): (await client.request(method, path, headers=headers)).status_code
        for method, path in routes
        if path not in OPEN
    }

    assert len(answers) > 60
    assert set(answers.values()) == {401}
    assert {path for _, path in routes if not path.startswith("/api/v1/")} == OPEN


async def test_the_read_only_key_commands_nothing(app, client):
    commands = [
        (method, path) for method, path in every_route(app) if path not in OPEN and method not in SAFE_METHODS
    ]

    answers = [
        await client.request(method, path, headers={"X-API-Key": READ_ONLY}) for method, path in commands
    ]

    assert len(answers) > 10
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "read_only")}
    assert all(answer.json()["trace_id"] == answer.headers["x-trace-id"] for answer in answers)


async def test_the_read_only_key_reads(client):
    answer = await client.get(DESCRIPTION, headers={"X-API-Key": READ_ONLY})
    unknown = await client.get("/api/v1/no-such-route", headers={"X-API-Key": READ_ONLY})

    assert answer.status_code == 200
    assert unknown.status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND"])
async def test_only_methods_that_are_known_to_change_nothing_are_open_to_the_read_only_key(client, method):
    answer = await client.request(method, "/api/v1/models", headers={"X-API-Key": READ_ONLY})

    assert (answer.status_code, answer.json()["code"]) == (403, "read_only")


def test_a_key_opens_what_it_is_for_and_nothing_else():
    both, one = Keys(KEY, READ_ONLY), Keys(KEY, None)

    assert [both.access(given.encode()) for given in (KEY, READ_ONLY, "", "x")] == [
        "full",
        "read",
        "none",
        "none",
    ]
    assert [one.access(given.encode()) for given in (KEY, READ_ONLY, "")] == ["full", "none", "none"]


def test_the_two_keys_must_differ(monkeypatch, capsys):
    monkeypatch.setenv("MODEL_SERVICE_API_KEY", KEY)
    monkeypatch.setenv("MODEL_SERVICE_READONLY_API_KEY", KEY)

    with pytest.raises(SystemExit) as exit_info:
        load(Settings)

    said = capsys.readouterr().err
    assert exit_info.value.code == 78
    assert "MODEL_SERVICE_READONLY_API_KEY must not be MODEL_SERVICE_API_KEY" in said
    assert KEY not in said


# Too many wrong keys


async def test_who_tries_too_many_keys_waits_and_the_right_key_never_does():
    app = create_app(Settings(model_service_api_key=KEY, model_service_wrong_keys_per_minute=3))
    async with client_of(app) as client:
        tries = [await client.get("/api/v1/models", headers={"X-API-Key": f"try-{n}"}) for n in range(5)]
        right = await client.get("/api/v1/no-such-route", headers={"X-API-Key": KEY})
        none = await client.get("/")
        health = await client.get("/health/live")

    assert [answer.status_code for answer in tries] == [401, 401, 401, 429, 429]
    assert (right.status_code, none.status_code, health.status_code) == (404, 429, 200)
    assert tries[3].content == tries[4].content == none.content
    assert tries[3].json()["code"] == "too_many_attempts"
    assert tries[3].headers["content-type"].startswith("application/problem+json")
    assert 1 <= int(tries[3].headers["retry-after"]) <= 20


async def test_each_address_has_attempts_of_its_own():
    app = create_app(Settings(model_service_api_key=KEY, model_service_wrong_keys_per_minute=1))
    answers = []
    for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            answers.append((await client.get("/api/v1/models")).status_code)

    assert answers == [401, 429, 401]


def test_attempts_come_back_with_time():
    counted = Attempts(per_minute=2)

    waits = [counted.count("10.0.0.1", NOW) for _ in range(3)]
    later = counted.count("10.0.0.1", NOW + timedelta(seconds=31))
    at_once = counted.count("10.0.0.1", NOW + timedelta(seconds=31))

    assert waits == [None, None, 30]
    assert later is None
    assert at_once is not None


def test_a_clock_that_goes_back_forgives_nothing():
    counted = Attempts(per_minute=1)
    counted.count("10.0.0.1", NOW)

    assert counted.count("10.0.0.1", NOW - timedelta(hours=1)) == 60


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("", "", True),
        ("unix:", "10.0.0.1", False),
    ],
)
def test_a_network_that_one_host_may_own_counts_as_one_address(first, second, are_one):
    counted = Attempts(per_minute=1)
    counted.count(first, NOW)

    assert (counted.count(second, NOW) is not None) == are_one


def test_what_is_remembered_of_addresses_is_bounded_and_keeps_the_newest(monkeypatch):
    monkeypatch.setattr(attempts, "MAX_CLIENTS", 3)
    counted = Attempts(per_minute=1)

    for host in range(4):
        counted.count(f"10.0.0.{host}", NOW)

    assert len(counted._buckets) == 3
    assert counted.count("10.0.0.3", NOW) == 60
    assert counted.count("10.0.0.0", NOW) is None


# What everybody else is told


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


async def test_the_description_is_served_to_those_with_the_key(client):
    answer = await client.get(DESCRIPTION, headers={"X-API-Key": KEY})

    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.")


@pytest.mark.parametrize("path", ["", "/", "/x", "/openapi.yaml", "/swagger"])
async def test_nothing_else_lies_beside_the_description(client, path):
    answer = await client.get(f"/api/v1/schema{path}", headers={"X-API-Key": KEY})

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


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
