"""The OpenAPI document: every route explains itself, its errors and who may call it."""

import pytest

from api.app import create_app
from api.routes.health import PATHS
from api.settings import Settings

OPERATIONS = {
    ("get", "/api/v1/models"),
    ("get", "/api/v1/models/{version}"),
    ("post", "/api/v1/models/{version}"),
    ("post", "/api/v1/models/{version}/activate"),
    ("get", "/api/v1/models/{version}/metrics"),
    ("post", "/api/v1/strategies/{strategy_id}/rollback"),
    ("post", "/api/v1/strategies/{strategy_id}/deactivate"),
    ("get", "/api/v1/strategies/{strategy_id}/activations"),
    ("get", "/api/v1/strategies/{strategy_id}/performance/time-series"),
    ("post", "/api/v1/training/trigger"),
    ("get", "/api/v1/training/runs"),
    ("get", "/api/v1/training/runs/{run_id}"),
    ("post", "/api/v1/training/runs/{run_id}/cancel"),
    ("get", "/api/v1/training/status"),
    ("get", "/api/v1/strategies"),
    ("get", "/api/v1/signals"),
    ("get", "/api/v1/positions"),
    ("post", "/api/v1/positions/{symbol}/close"),
    ("get", "/api/v1/trading-states"),
    ("put", "/api/v1/trading-states/{trading_scope}"),
    ("get", "/api/v1/fleet/replicas"),
    ("get", "/api/v1/strategies/{strategy_id}/modes"),
    ("get", "/api/v1/monitoring/signals/skip-metrics"),
    ("get", "/api/v1/monitoring/signals/processing-delay"),
    ("get", "/api/v1/monitoring/outcomes"),
    ("get", "/api/v1/monitoring/bars"),
    ("get", "/api/v1/monitoring/alerts"),
}


@pytest.fixture(scope="module")
def document():
    return create_app(Settings(model_service_api_key="k")).openapi_schema.to_schema()


def operations(document):
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_is_described_and_nothing_else(document):
    assert operations(document).keys() == OPERATIONS | {("get", path) for path in PATHS}


def test_every_route_says_what_it_does_under_a_name_of_its_own(document):
    described = operations(document)

    assert all(operation["summary"] and operation["description"] for operation in described.values())
    assert len({operation["operationId"] for operation in described.values()}) == len(described)
    assert all(
        parameter["schema"]
        for operation in described.values()
        for parameter in operation.get("parameters", ())
    )


def test_every_route_under_the_key_says_so_and_names_its_errors(document):
    for (_, path), operation in operations(document).items():
        if path in PATHS:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"ApiKey": []}]
        errors = {status: said for status, said in operation["responses"].items() if status >= "400"}
        assert errors.keys() >= {"400", "401", "500", "503"}
        assert ("404" in errors) == ("{" in path or operation["operationId"] == "TriggerTraining")
        for said in errors.values():
            assert said["content"].keys() == {"application/problem+json"}
            assert said["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
