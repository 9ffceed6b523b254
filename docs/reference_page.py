"""docs/api-reference.md: every route of the API with what it takes and gives, from its OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_METHODS = ("get", "post", "put", "delete")
_INTRODUCTION = [
    "Every route but those of health asks for `X-API-Key`. What holds for all of them (keys, errors, pages,",
    "sizes) is in [api.md](api.md); the OpenAPI document itself, with examples, is what",
    "`GET /api/v1/schema/openapi.json` answers. What a route gives stands under [Structures](#structures).",
]


def reference_page(document: Schema) -> str:
    """Every route under its tag, as Markdown."""
    lines = ["# API reference", "", "Written from the code by `make docs`.", "", *_INTRODUCTION]
    for tag in document["tags"]:
        lines += ["", f"## {tag['name'].capitalize()}", "", tag["description"]]
        for path, operations in document["paths"].items():
            for method in _METHODS:
                operation = operations.get(method)
                if operation and tag["name"] in operation["tags"]:
                    lines += ["", *_route(document, path, method, operation)]
    lines += ["", "## Structures"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += ["", *_structure(name, schema)]
    return "\n".join(lines) + "\n"


def _route(document: Schema, path: str, method: str, operation: Schema) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`"
    yield ""
    yield operation.get("description") or operation["summary"]
    if taken := [*_parameters(operation), *_body(document, operation)]:
        yield ""
        yield "| takes | in | type | meaning |"
        yield "|---|---|---|---|"
        yield from taken
    yield ""
    yield f"Answers: {', '.join(_answers(operation))}."


def _structure(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    yield _line(schema.get("description", "")) or _type(schema)
    if fields := schema.get("properties"):
        yield ""
        yield "| field | type | meaning |"
        yield "|---|---|---|"
        for field, of in fields.items():
            yield f"| `{field}` | {_type(of)} | {_line(of.get('description', ''))} |"


def _parameters(operation: Schema) -> Iterator[str]:
    for each in operation.get("parameters", ()):
        needed = "" if each["required"] else " (optional)"
        meaning = _line(each.get("description") or each["schema"].get("description", ""))
        yield f"| `{each['name']}`{needed} | {each['in']} | {_type(each['schema'])} | {meaning} |"


def _body(document: Schema, operation: Schema) -> Iterator[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    schema = _resolved(document, content["schema"])
    for name, field in schema.get("properties", {}).items():
        needed = "" if name in schema.get("required", ()) else " (optional)"
        yield f"| `{name}`{needed} | body | {_type(field)} | {_line(field.get('description', ''))} |"


def _answers(operation: Schema) -> Iterator[str]:
    for status, answer in sorted(operation["responses"].items()):
        schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
        given = _type(schemas[0]) if schemas and status < "400" else ""
        yield f"{status} {given}".strip()


def _type(schema: Schema) -> str:
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("oneOf", "anyOf"):
        if choices := schema.get(several):
            return " or ".join(dict.fromkeys(_type(each) for each in choices))
    if "enum" in schema:
        return " or ".join("null" if each is None else f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return _bounded(schema)


def _bounded(schema: Schema) -> str:
    kind = str(schema.get("format") or schema.get("type") or "any")
    bounds = " to ".join(f"{schema[bound]:g}" for bound in ("minimum", "maximum") if bound in schema)
    default = "" if schema.get("default") is None else f"= {schema['default']}"
    return " ".join(filter(None, (kind, bounds, default)))


def _resolved(document: Schema, schema: Schema) -> Schema:
    found = schema
    while reference := found.get("$ref"):
        found = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
