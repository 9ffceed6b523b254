"""What clients see of the API does not change by accident."""

import json

from docs.generate import OPENAPI_PATH, openapi_document


def test_the_openapi_document_is_the_one_that_is_kept():
    kept = json.loads(OPENAPI_PATH.read_text())

    described = json.loads(openapi_document())

    said = "the API is not what tests/contract/openapi.json says: if that is meant, `make docs` renews it"
    assert described["paths"].keys() == kept["paths"].keys(), said
    assert described["components"] == kept["components"], said
    assert described == kept, said
