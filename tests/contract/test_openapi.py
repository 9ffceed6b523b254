"""What clients see of the API does not change by accident."""

import json

import pytest
from docs.generate import OPENAPI_PATH, openapi

from api.core.fields import MEANINGS


def test_the_openapi_is_the_one_that_is_kept():
    kept = json.loads(OPENAPI_PATH.read_text())

    described = openapi()

    said = "the API is not what tests/contract/openapi.json says: if that is meant, `make docs` renews it"
    assert described["paths"].keys() == kept["paths"].keys(), said
    assert described["components"] == kept["components"], said
    assert described == kept, said


@pytest.fixture(scope="module")
def document():
    return openapi()


def test_every_field_and_every_parameter_says_what_it_means(document):
    silent = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, said in schema.get("properties", {}).items()
        if not said.get("description")
    ]
    silent += [
        f"{method} {path} {parameter['name']}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]

    assert silent == []


def test_every_meaning_that_fields_share_is_used(document):
    said = {
        each.get("description")
        for schema in document["components"]["schemas"].values()
        for each in schema.get("properties", {}).values()
    }
    said |= {
        parameter["description"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
    }

    assert set(MEANINGS.values()) <= said
