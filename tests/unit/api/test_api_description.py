"""The OpenAPI document: every route explains itself, its errors and who may call it; examples are valid."""

from secrets import token_hex

import jsonschema_rs
import pytest

from api.app import create_app
from api.core.examples import example
from api.description import TAGS, document
from api.routes.health import PATHS
from api.settings import Settings

CHANGING = {"post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def described():
    return document(create_app(Settings(model_service_api_key=token_hex(32))))


def operations(described):
    return {
        (method, path): operation
        for path, item in described["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_says_what_it_does_under_a_name_of_its_own(described):
    found = operations(described)

    assert len(found) > 40
    assert all(operation["summary"] and operation["description"] for operation in found.values())
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    assert all(
        parameter["schema"] for operation in found.values() for parameter in operation.get("parameters", ())
    )


def test_every_route_under_the_key_says_so_and_names_its_errors(described):
    for (method, path), operation in operations(described).items():
        if path in PATHS:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"ApiKey": []}]
        errors = {status: said for status, said in operation["responses"].items() if status >= "400"}
        assert errors.keys() >= {"400", "401", "429", "500", "503"}
        assert (errors.keys() >= {"403", "413"}) == (method in CHANGING)
        assert "404" in errors or "{" not in path
        for status, said in errors.items():
            [(media_type, content)] = said["content"].items()
            assert media_type == "application/problem+json"
            assert content["schema"]["$ref"].endswith("/Problem")
            assert content["example"]["status"] == int(status)
            assert content["example"]["code"] != "error"


def test_the_document_says_which_key_opens_what(described):
    scheme = described["components"]["securitySchemes"]["ApiKey"]

    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    assert "read-only" in scheme["description"]


def test_every_tag_is_explained_and_used(described):
    used = {tag for operation in operations(described).values() for tag in operation["tags"]}

    assert used == {tag["name"] for tag in described["tags"]} == set(TAGS)
    assert all(tag["description"] for tag in described["tags"])


def test_every_struct_says_what_it_is_and_docstrings_under_fields_become_descriptions(described):
    schemas = described["components"]["schemas"]

    assert not [name for name, schema in schemas.items() if not schema.get("description")]
    assert schemas["Problem"]["properties"]["code"]["description"].startswith("For programs")
    inherited = schemas["VersionDetail"]["properties"]["file_path"]
    assert inherited["description"].startswith("Logical")


def test_every_struct_and_body_has_an_example_that_it_allows(described):
    components = {"components": described["components"]}
    bodies = [
        (content["schema"], content["example"])
        for operation in operations(described).values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    structs = [
        ({"$ref": f"#/components/schemas/{name}"}, schema["examples"][0])
        for name, schema in described["components"]["schemas"].items()
    ]

    assert len(bodies) > 8
    assert len(structs) > 60
    for schema, shown in bodies + structs:
        validator = jsonschema_rs.validator_for({**schema, **components}, validate_formats=True)
        faults = [f"{list(fault.instance_path)}: {fault.message}" for fault in validator.iter_errors(shown)]
        assert not faults, (schema, faults)


@pytest.mark.parametrize(
    ("schema", "name", "shown"),
    [
        ({"type": "string"}, "symbol", "BTCUSDT"),
        ({"type": "integer"}, "symbol", 1),
        ({"type": "string", "format": "uuid"}, "version", "6f99c1e2-6aab-465d-9a58-c9e1e055ed94"),
        ({"type": "integer", "minimum": 5}, "limit", 5),
        ({"type": ["null", "number"]}, "figure", 0.5),
        ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, "flag", False),
        ({"oneOf": [{"type": "null"}]}, "nothing", None),
        ({"enum": [None, "a"]}, "choice", "a"),
        ({"const": 7}, "seven", 7),
        ({"type": "array", "items": {"type": "string"}}, "names", ["text"]),
        ({"type": "array"}, "anything", []),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "facts", {}),
        ({"$ref": "#/components/schemas/A"}, "", {"version": "v7"}),
    ],
)
def test_an_example_is_of_the_schemas_type_and_where_it_can_be_of_the_trade(schema, name, shown):
    components = {"A": {"type": "object", "properties": {"version": {"type": "string"}}}}

    assert example(schema, components, name) == shown
