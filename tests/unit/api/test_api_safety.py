"""What browsers are told, and how a key is changed without a moment in which nobody has one."""

import httpx
import pytest
from pydantic import ValidationError

from api.app import create_app
from api.safe_headers import HEADERS
from api.settings import Settings

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0"
PREVIOUS = "a0b1c2d3e4f5678998765f4e3d2c1b0a0246813579bdface0123456789abcdef"
READ_ONLY = "f00ddeadbeef0123456789abcdef9876543210fedcba1357924680aceb02468a"


@pytest.fixture
async def client():
    settings = Settings(
        model_service_api_key=KEY,
        model_service_api_key_previous=PREVIOUS,
        model_service_readonly_api_key=READ_ONLY,
    )
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/health/live", None, 200),
        ("/metrics", None, 200),
        ("/api/v1/models", None, 401),
        ("/api/v1/no-such-route", KEY, 404),
        ("/api/v1/models?limit=x", KEY, 400),
        ("/console", None, 200),
    ],
)
async def test_every_answer_tells_the_browser_to_keep_to_itself(client, path, key, status):
    answer = await client.get(
        path, headers={"Origin": "https://elsewhere", **({"X-API-Key": key} if key else {})}
    )

    assert answer.status_code == status
    assert set(HEADERS) - {name for name in HEADERS if name in answer.headers} == set()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert [name for name in answer.headers if name.startswith("access-control-")] == []
    assert "server" not in answer.headers


async def test_a_page_from_elsewhere_gets_no_leave_to_ask(client):
    wish = {"Origin": "https://elsewhere", "Access-Control-Request-Method": "POST", "X-API-Key": KEY}

    answer = await client.options("/api/v1/training/trigger", headers=wish)

    assert [name for name in answer.headers if name.startswith("access-control-")] == []


@pytest.mark.parametrize(("key", "status"), [(KEY, 404), (PREVIOUS, 404), (READ_ONLY, 403), (KEY[:-1], 401)])
async def test_the_key_before_is_as_good_as_the_key_while_it_is_set(client, key, status):
    answer = await client.post("/api/v1/no-such-route", headers={"X-API-Key": key})

    assert answer.status_code == status


@pytest.mark.parametrize("previous", [KEY, READ_ONLY])
def test_the_key_before_is_another_one(previous):
    with pytest.raises(ValidationError, match="MODEL_SERVICE_API_KEY_PREVIOUS must not be"):
        Settings(
            model_service_api_key=KEY,
            model_service_readonly_api_key=READ_ONLY,
            model_service_api_key_previous=previous,
        )


@pytest.mark.parametrize("name", ["model_service_api_key", "model_service_readonly_api_key"])
@pytest.mark.parametrize("weak", ["k" * 64, KEY[:63], "changeme", "a-passphrase-that-is-not-long-enough"])
def test_a_key_that_is_not_32_random_bytes_is_refused_without_saying_it(name, weak):
    with pytest.raises(ValidationError) as caught:
        Settings(**{"model_service_api_key": KEY, name: weak})

    [wrong] = caught.value.errors(include_input=False)
    assert wrong["loc"] == (name,)
    assert weak not in wrong["msg"]
