"""Examples for the OpenAPI document: made from a schema, with values of the trade where a name is known."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_INSTANT = "2026-03-01T12:00:00Z"
_ID = "6f99c1e2-6aab-465d-9a58-c9e1e055ed94"
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_KNOWN: Mapping[str, object] = {
    "strategy_id": "momentum",
    "symbol": "BTCUSDT",
    "asset": "BTCUSDT",
    "symbols": ["BTCUSDT", "ETHUSDT"],
    "version": "v7",
    "active_version": "v7",
    "model_version": "v7",
    "left": 0.553,
    "file_path": "/models/v7",
    "model_type": "xgboost",
    "actor": "ada",
    "requested_by": "ada",
    "settled_by": "ada",
    "reason": "spread too wide since the listing",
    "side": "buy",
    "price": "60000.5",
    "amount_quote": "150.25",
    "confidence": 0.71,
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "sha256": _DIGEST,
    "scope": "strategy:momentum",
    "subject": "strategy:momentum",
    "action": "activate",
    "queue": "features.live",
    "service": "model-service",
    "replica": "inference-7c9f",
    "metric_name": "accuracy",
    "dataset_split": "test",
    "expression": "0 3 * * *",
    "sentence": "momentum: v7 beats v6 by 0.021 accuracy on 8,412 rows of test",
    "verdict_sentence": "accepted: it beats the champion by 0.021 accuracy on 8,412 rows of test",
    "detail": "limit: Expected `int` <= 1000",
    "field": "limit",
    "message": "Expected `int` <= 1000",
    "title": "Bad Request",
    "code": "invalid_request",
    "status": 400,
    "type": "about:blank",
}
"""Values by the name of their field, used where they fit its type."""
_OF_FORMAT: Mapping[str, str] = {
    "date-time": _INSTANT,
    "date": _INSTANT[:10],
    "uuid": _ID,
    "decimal": "0.05",
}
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
}


def example(schema: Schema, components: Mapping[str, Schema], name: str = "") -> object:
    """A value that the schema allows; `name` is that of the field that holds it."""
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components, name)
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return example(_first_real(schema[choice]), components, name)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next(each for each in schema["enum"] if each is not None)
    if schema.get("type") == "object" or "properties" in schema:
        fields = schema.get("properties", {})
        return {field: example(of, components, field) for field, of in fields.items()}
    return _plain(schema, components, name)


def _first_real(choices: list[Schema]) -> Schema:
    return next((each for each in choices if each.get("type") != "null"), choices[0])


def _plain(schema: Schema, components: Mapping[str, Schema], name: str) -> object:
    kind = _kind(schema)
    known = _KNOWN.get(name)
    if "format" not in schema and isinstance(known, _PYTHON.get(kind, ())):
        return known
    if kind == "string":
        return _OF_FORMAT.get(schema.get("format", ""), "text")
    if kind == "array":
        return [example(schema["items"], components, name)] if "items" in schema else []
    if kind == "integer":
        return max(int(schema.get("minimum", 1)), 1)
    return {"number": 0.5, "boolean": False}.get(kind)


def _kind(schema: Schema) -> str:
    kinds = schema.get("type", "null")
    return kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
