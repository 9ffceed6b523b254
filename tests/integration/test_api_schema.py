"""What the OpenAPI document promises, the API does: generated requests against a real one with real rows.

The document is asked twice: as it is, where most names lead nowhere, and with the names of things that exist.
"""

import asyncio
import copy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.integration import seeded
from tests.integration.api_process import KEY, READ_ONLY, api_process

from api.description import PATH
from common import tables

SEED = 20_260_301
EXAMPLES = 5
NOW = datetime.now(UTC)
ID = UUID(int=7)
STREAM = "/api/v1/events"
"""It does not end, so it has tests of its own."""
EXISTING = {
    "version": [seeded.NEWEST, "v2"],
    "other": ["v2", "v3"],
    "strategy_id": ["momentum", "reversal"],
    "symbol": ["BTCUSDT", "ETHUSDT"],
    "asset": ["BTCUSDT"],
    "run_id": [str(ID)],
    "letter_id": [str(ID)],
    "signal_id": [str(ID)],
    "trading_scope": ["fleet", "strategy:momentum"],
}
SAFE = {"get", "head", "options"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
    unsupported_method,
    ignored_auth,
]


async def furnish(api):
    """A row of each kind that the routes of one thing ask for."""
    await api.insert(
        tables.training_runs,
        run_id=ID,
        strategy_id="momentum",
        symbol="BTCUSDT",
        trigger="manual",
        priority="HIGH",
        state="succeeded",
        requested_at=NOW - timedelta(minutes=9),
        started_at=NOW - timedelta(minutes=8),
        finished_at=NOW,
        version=seeded.NEWEST,
        trace_id="t",
    )
    await api.insert(
        tables.dead_letters,
        letter_id=ID,
        queue="features.live",
        service="inference",
        reason="no JSON",
        body=b"\xff{",
        headers={"trace_id": "t"},
        trace_id="t",
        failed_at=NOW,
    )
    await api.insert(
        tables.trading_signals,
        signal_id=ID,
        strategy_id="momentum",
        asset="BTCUSDT",
        side="buy",
        price=Decimal("60000.5"),
        timestamp=NOW.replace(tzinfo=None),
        metadata={"gates": {}, "reasoning": "up"},
        market_data_snapshot={"price": 60000.5},
        trace_id="t",
    )
    await api.insert(
        tables.latest_outcomes,
        strategy_id="momentum",
        symbol="BTCUSDT",
        feature_timestamp=NOW,
        decided_at=NOW,
        outcome="skip",
        reason="hold",
        facts={"figure": 0.4},
        replica="r",
    )
    await api.insert(
        tables.position_lifecycles,
        lifecycle_id=uuid4(),
        symbol="BTCUSDT",
        side="long",
        opened_at=NOW,
        strategy_id="momentum",
        entry_price=Decimal(60_000),
        size=Decimal("0.05"),
        peak_price=Decimal(61_000),
        stop_price=Decimal(59_000),
        newest_event_at=NOW,
        last_price=Decimal(60_500),
        last_evaluated_at=NOW,
    )
    await api.insert(
        tables.minute_bars,
        symbol="BTCUSDT",
        minute=NOW.replace(second=0, microsecond=0),
        open=1,
        high=2,
        low=1,
        close=2,
        first_at=NOW,
        last_at=NOW,
        vectors=3,
    )
    await api.insert(
        tables.skip_counts,
        minute=NOW.replace(second=0, microsecond=0),
        strategy_id="momentum",
        symbol="BTCUSDT",
        reason="hold",
        skips=3,
    )
    await api.insert(
        tables.alerts,
        alert_id=ID,
        kind="dead_letters",
        scope="fleet",
        severity="warning",
        sentence="one lies there",
    )
    await api.insert(
        tables.served_versions,
        replica="r",
        strategy_id="momentum",
        state="serving",
        version=seeded.NEWEST,
        sha256="0" * 64,
        epoch=1,
        since=NOW,
    )
    await api.insert(
        tables.mode_changes, strategy_id="momentum", epoch=0, mode="warm_up", reason="none yet", figures={}
    )


def with_existing(document):
    """The document where whatever names a thing names one that exists."""
    narrowed = copy.deepcopy(document)
    for path in narrowed["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in EXISTING and parameter["in"] in ("path", "query"):
                    parameter["schema"] = {"type": "string", "enum": EXISTING[parameter["name"]]}
    return narrowed


def without_key(document):
    """The document without its key: what is generated leaves the one that is sent alone."""
    open_to_all = copy.deepcopy(document)
    del open_to_all["components"]["securitySchemes"]
    for path in open_to_all["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return open_to_all


def faults_of(document, url, modes, checks, *, key=KEY, only=lambda operation: True):
    """What the checks object to, by operation; every operation of the document was asked."""
    schema = schemathesis.openapi.from_dict(document)
    found, asked = {}, 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == STREAM or not only(operation):
            continue
        asked += 1
        for mode in modes:
            try:
                _ask(operation, mode, url, checks, key)
            except Unsatisfiable:
                # Without a parameter and a body nothing can be wrong with a request.
                assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label
            except FailureGroup as group:
                found[operation.label] = [f"{each.title}: {each.message}"[:1500] for each in group.exceptions]
    return found, asked


def _ask(operation, mode, url, checks, key):
    cases = operation.as_strategy(generation_mode=mode)
    headers = {"X-API-Key": key}

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case):
        case.call_and_validate(base_url=url, headers=headers, checks=checks, timeout=20)

    ask()


@pytest.fixture
async def api(database_url, amqp_url, tmp_path):
    await seeded.seed(database_url, factor=0.001)
    variables = {"MODEL_SERVICE_WRONG_KEYS_PER_MINUTE": "10000", "TRAINING_QUEUE_MAX_SIZE": "2"}
    async with api_process(database_url, amqp_url, tmp_path, **variables) as running:
        await furnish(running)
        yield running


@pytest.fixture
async def document(api):
    async with api.client() as client:
        return (await client.get(PATH)).json()


async def test_the_api_does_what_its_document_says(api, document):
    positive, both = [schemathesis.GenerationMode.POSITIVE], list(schemathesis.GenerationMode)

    faults, asked = await asyncio.to_thread(faults_of, document, api.url, both, CHECKS)
    faults_where_it_exists, _ = await asyncio.to_thread(
        faults_of, with_existing(document), api.url, positive, CHECKS
    )

    assert asked > 40
    assert faults == {}
    assert faults_where_it_exists == {}


async def test_what_the_document_does_not_allow_is_refused(api, document):
    negative = [schemathesis.GenerationMode.NEGATIVE]

    faults, _ = await asyncio.to_thread(
        faults_of, without_key(document), api.url, negative, [negative_data_rejection]
    )

    assert faults == {}


async def test_the_read_only_key_reads_everything_and_commands_nothing(api, document):
    positive = [schemathesis.GenerationMode.POSITIVE]

    def is_forbidden(context, response, case):
        assert (response.status_code == 403) == (case.operation.method.lower() not in SAFE)

    checks = [not_a_server_error, status_code_conformance, response_schema_conformance, is_forbidden]
    faults, asked = await asyncio.to_thread(
        faults_of, with_existing(document), api.url, positive, checks, key=READ_ONLY
    )

    assert asked > 40
    assert faults == {}
