"""The API as the command line reaches it: where it is, with which key, and what its answers mean."""

import json
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from api.cli.text import printable

if TYPE_CHECKING:
    import httpx

URL = "FLOTILLA_URL"
KEY = "MODEL_SERVICE_API_KEY"
KEY_FILE = "MODEL_SERVICE_API_KEY_FILE"
DEFAULT_URL = "http://127.0.0.1:4500"

_ROOT = "/api/v1"
_TIMEOUT_S = 30.0
_KEY_CODES = {"too_many_attempts", "read_only"}


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NOT_REACHABLE = 3
    KEY_REFUSED = 4
    NOT_WELL = 5


class Failed(Exception):
    """A command that did not do what was asked for; its words are for the operator."""

    def __init__(self, sentence: str, exit_code: ExitCode) -> None:
        super().__init__(printable(sentence))
        self.exit_code = exit_code


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the API said."""

    body: str
    """As it came."""
    value: Any
    """The same, read."""


class Service:
    """The API under one address, asked with one key."""

    def __init__(self, url: str, key: str, transport: "httpx.BaseTransport | None" = None) -> None:
        self._url, self._key, self._transport = url, key, transport

    def get(self, *path: str, **query: object) -> Answer:
        """The answer to GET below /api/v1; parameters that are None are left out. Raises Failed."""
        return self._answer("GET", path, params=_given(query))

    def post(
        self, *path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to POST of what is not None of `body`. Raises Failed."""
        return self._answer("POST", path, json=_given(body), headers=headers)

    def put(self, *path: str, body: Mapping[str, object]) -> Answer:
        """The answer to PUT of what is not None of `body`. Raises Failed."""
        return self._answer("PUT", path, json=_given(body))

    def _answer(self, method: str, path: tuple[str, ...], **request: Any) -> Answer:
        import httpx  # noqa: PLC0415 - half of what a command that asks nothing would load

        target = "/".join((_ROOT, *(quote(part, safe=":") for part in path)))
        # No proxy from the environment: the key is for the API alone.
        client = httpx.Client(
            base_url=self._url,
            headers={"X-API-Key": self._key, "Accept": "application/json"},
            timeout=_TIMEOUT_S,
            trust_env=False,
            transport=self._transport,
        )
        try:
            with client:
                response = client.request(method, target, **request)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise Failed(f"{self._url} does not answer: {reason}", ExitCode.NOT_REACHABLE) from error
        try:
            value = response.json()
        except ValueError as error:
            raise Failed(
                f"{self._url} answers {response.status_code}, but not as the API does: is {URL} right?",
                ExitCode.NOT_REACHABLE,
            ) from error
        if not response.is_success:
            raise _refusal(response.status_code, value, response.headers)
        return Answer(body=response.text, value=value)


def service(environment: Mapping[str, str]) -> Service:
    """The API that the environment names. Raises Failed where it names none, or no key."""
    url = environment.get(URL) or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise Failed(f"{URL} must look like http://host:4500, without a user or key in it", ExitCode.USAGE)
    return Service(url.rstrip("/"), _key(environment))


def _key(environment: Mapping[str, str]) -> str:
    named, file = environment.get(KEY), environment.get(KEY_FILE)
    if not named and not file:
        raise Failed(f"set {KEY}, or {KEY_FILE} to a file that holds it", ExitCode.KEY_REFUSED)
    try:
        key = named or Path(file or "").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{KEY_FILE} cannot be read: {error}", ExitCode.KEY_REFUSED) from error
    if not key or not all("!" <= character <= "~" for character in key):
        raise Failed("the key must be printable ASCII without spaces", ExitCode.KEY_REFUSED)
    return key


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _refusal(status: int, problem: object, headers: Mapping[str, str]) -> Failed:
    said = problem if isinstance(problem, dict) else {"detail": json.dumps(problem)}
    detail, code = said.get("detail") or f"the API answered {status}", said.get("code")
    if wait_s := headers.get("Retry-After"):
        detail = f"{detail}; ask again in {wait_s} s"
    if code:
        detail = f"{detail} ({code})"
    if status >= 500 and (trace := headers.get("X-Trace-ID")):
        detail = f"{detail}, trace id {trace}"
    if status == 401 or code in _KEY_CODES:
        return Failed(detail, ExitCode.KEY_REFUSED)
    if status in (502, 503, 504):
        return Failed(detail, ExitCode.NOT_REACHABLE)
    return Failed(detail, ExitCode.REFUSED)
