"""The OpenAPI document: what routes and structs say of themselves, and what holds for all of them.

Docstrings become descriptions, also those under the fields of structs; a field that has none means what its
name means everywhere (api.core.fields). Every struct carries an example. The
document is kept in tests/contract/openapi.json, so that a change of what clients see is seen.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar, Request, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from api import auth, problems
from api.core.examples import example
from api.core.fields import MEANINGS

SECURITY = "ApiKey"
PATH = "/api/v1/schema/openapi.json"
"""Where the document is, for those with a key."""
TAGS = {
    "models": "Trained versions: how good they are, what they came of, how they compare.",
    "activation": "Which version a strategy trades with: activate, roll back, take away, look back.",
    "training": "The queue of trainings and dataset builds: ask for one, watch it, call it off.",
    "trading": "Strategies, signals, decisions, positions and executions as they stand.",
    "performance": "What a strategy's fills were worth, over time.",
    "trading states": "Who may trade: halt, reduce or release the fleet, a strategy, or exits.",
    "console": "Figures of the console, as plotly draws them.",
    "fleet": "The inference replicas and what they decide with.",
    "events": "What happens, as it happens: server-sent events.",
    "monitoring": "Why there was no signal, how long signals take, what is wrong.",
    "audit": "What operators did, with actor and reason.",
    "dead letters": "Messages that could not be used: read, replay, discard.",
    "health": "For probes and Prometheus, without a key.",
}

_TEXT = """\
Everything below /api/v1 needs a key in the header X-API-Key: the key, or the read-only key for what only
reads.

Every error is application/problem+json with a `code` for programs, a sentence, and the trace id under which
the log has the request; send X-Trace-ID to choose it. Unknown query parameters are errors, bodies are at most
256 KiB. Times are ISO 8601; those in answers are UTC. Decimals are strings.
"""
_CHANGING = ("post", "put", "patch", "delete")


class _Render(JsonRenderPlugin):
    _rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._rendered is None:
            self._rendered = self.render_json(request, document(request.app))
        return self._rendered


def config() -> OpenAPIConfig:
    """Litestar's part of the document, and where it is served."""
    folder, _, name = PATH.rpartition("/")
    return OpenAPIConfig(
        title="Flotilla model service",
        version=version("flotilla-api"),
        description=_TEXT,
        openapi_router=Router(
            folder, route_handlers=[], before_request=_only_document, include_in_schema=False
        ),
        render_plugins=[_Render(path=f"/{name}")],
        components=Components(
            security_schemes={
                SECURITY: SecurityScheme(
                    type="apiKey",
                    name=auth.HEADER,
                    security_scheme_in="header",
                    description="The key, or the read-only key for what only reads.",
                )
            }
        ),
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        use_handler_docstrings=True,
    )


def document(app: Litestar) -> dict[str, Any]:
    """The whole document of `app`, as JSON holds it."""
    whole: dict[str, Any] = msgspec.to_builtins(app.openapi_schema.to_schema(), str_keys=True)
    components = whole["components"]["schemas"]
    for name, schema in components.items():
        _describe(name, schema)
    for path in whole["paths"].values():
        for method, operation in path.items():
            _complete(method, operation, components)
    for schema in components.values():
        schema["examples"] = [example(schema, components)]
    return whole


# Litestar answers other paths there with a page of its own.
def _only_document(request: Request[Any, Any, Any]) -> None:
    if request.url.path != PATH:
        raise NotFoundException


def _complete(method: str, operation: dict[str, Any], components: dict[str, Any]) -> None:
    responses = operation["responses"]
    if method in _CHANGING and "security" in operation:
        for status in (403, 413):
            responses[str(status)] = {**responses["400"], "description": problems.MEANINGS[status]}
    operation["responses"] = dict(sorted(responses.items()))
    for status, said in operation["responses"].items():
        for media_type, content in said.get("content", {}).items():
            if media_type == problems.MEDIA_TYPE:
                said["content"] = {media_type: {**content, "example": _problem(int(status))}}
    for parameter in operation.get("parameters", ()):
        if meaning := MEANINGS.get(parameter["name"]):
            parameter.setdefault("description", meaning)
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = example(content["schema"], components)


def _problem(status: int) -> object:
    said = problems.problem(status, problems.MEANINGS[status])
    return msgspec.to_builtins(said) | {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}


# What the struct says of itself and, under its fields, of them.
def _describe(name: str, schema: dict[str, Any]) -> None:
    struct = _struct(name, frozenset(schema.get("properties", ())))
    if struct is None:
        return
    schema.setdefault("description", inspect.cleandoc(struct.__doc__ or ""))
    for parent in struct.__mro__:
        if issubclass(parent, msgspec.Struct) and parent is not msgspec.Struct:
            for field, text in _field_docstrings(parent).items():
                schema["properties"].get(field, {}).setdefault("description", text)
    for field, said in schema.get("properties", {}).items():
        if field in MEANINGS:
            said.setdefault("description", MEANINGS[field])


# Components bear the class's name, behind as much of its module as tells it from others of that name.
def _struct(name: str, fields: frozenset[str]) -> type[msgspec.Struct] | None:
    for struct in _structs(msgspec.Struct):
        full_name = f"_{struct.__module__}.{struct.__name__}".replace(".", "_")
        if full_name.endswith(f"_{name}") and frozenset(struct.__struct_encode_fields__) == fields:
            return struct
    return None


def _structs(parent: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for struct in sorted(parent.__subclasses__(), key=lambda each: (each.__module__, each.__qualname__)):
        yield struct
        yield from _structs(struct)


@cache
def _field_docstrings(struct: type[msgspec.Struct]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
