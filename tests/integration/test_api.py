"""The API on a real broker and a real database, over HTTP."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import aio_pika
import httpx
import msgspec
import pytest
from sqlalchemy import insert, select

from api.app import create_app
from api.settings import Settings
from common import artifacts, model_registry, tables, topology
from common.artifacts import Golden, Manifest
from common.database import create_engine
from common.model_directory import ModelDirectory
from common.model_registry import NewMetric, NewVersion

KEY = "k3y-of-the-operators-0123456789-ABCDEFGHIJKLMNOPQ"
ENTRY = {"X-API-Key": KEY}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE_S = 30
TRADED = {"trading_strategies": ("momentum", "reversal"), "trading_symbols": ("BTCUSDT", "ETHUSDT")}
ITEM = {
    "id",
    "version",
    "file_path",
    "model_type",
    "strategy_id",
    "trained_at",
    "training_duration_seconds",
    "training_dataset_size",
    "training_config",
    "is_active",
    "is_warmup_mode",
    "created_at",
    "updated_at",
}
"""What every client of the older service reads."""


def manifest(version, strategy_id):
    return Manifest(
        version=version,
        strategy_id=strategy_id,
        symbol="BTCUSDT",
        model_type="xgboost",
        task="classification",
        target="classification",
        features=("a", "b"),
        optional_features=(),
        medians={"a": 0.0, "b": 0.0},
        labels=(-1, 0, 1),
        output_name="probabilities",
        horizon_s=60.0,
        threshold=0.5,
        calibration=(),
        class_rates=(0.2, 0.6, 0.2),
        baselines={"majority": 0.6},
        dataset_id="d",
        dataset_sha256={},
        feature_registry_version="1.0.0",
        libraries={},
        golden=(Golden((0.0, 0.0), (0.2, 0.6, 0.2)),),
        trained_at=NOON,
    )


class Bench:
    """A running API with a hand on its database, its model storage and what it announces."""

    def __init__(self, client, engine, storage):
        self.client = client
        self.engine = engine
        self.storage = storage

    async def version(self, *, strategy_id="momentum", verdict="accepted", trained_at=NOON, metrics=()):
        async with self.engine.begin() as connection:
            name = await model_registry.next_version(connection)
            sha256 = artifacts.write(
                ModelDirectory(self.storage),
                name,
                manifest(name, strategy_id),
                {"model.onnx": b"onnx", "model.ubj": b"ubj"},
            )
            new = NewVersion(
                version=name,
                strategy_id=strategy_id,
                model_type="xgboost",
                sha256=sha256,
                trained_at=trained_at,
                training_duration_seconds=7,
                training_dataset_size=36_000,
                training_config={"max_depth": 4},
                verdict=verdict,
                verdict_sentence=f"{verdict} because of the figures",
                evidence={"lift": 0.06},
                run_id=uuid4(),
            )
            await model_registry.add(connection, new, metrics)
        return name

    async def history(self, strategy_id="momentum"):
        async with self.engine.connect() as connection:
            return await model_registry.activations(connection, strategy_id)

    async def insert(self, table, *rows):
        async with self.engine.begin() as connection:
            await connection.execute(insert(table), list(rows))

    async def get(self, path, **query):
        answer = await self.client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path, body=None):
        return await self.client.post(f"/api/v1{path}", json=body)

    async def refused(self, path, body, status):
        answer = await self.post(path, body)
        said = answer.json()
        assert answer.status_code == said["status"] == status, answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        return said["code"], said["detail"]


@asynccontextmanager
async def running_api(database_url, amqp_url, storage, **changes):
    settings = Settings(
        database_url=database_url,
        rabbitmq_url=amqp_url,
        model_service_api_key=KEY,
        model_storage_path=storage,
        **TRADED | changes,
    )
    engine = create_engine(settings, application="test")
    app = create_app(settings)
    # Not Litestar's client: that runs the application's life in a loop of its own, broker and all.
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=ENTRY)
    async with living(app), client:
        yield Bench(client, engine, storage)
    await engine.dispose()


@asynccontextmanager
async def living(app):
    """The application lives, from start to end in one task: a fixture begins and ends in two."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def live():
        async with app.lifespan():
            begun.set()
            await over.wait()

    life = asyncio.create_task(live())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    yield
    over.set()
    await life


@pytest.fixture
async def bench(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path) as bench:
        await until_ready(bench.client)
        yield bench


async def until_ready(client):
    async with asyncio.timeout(PATIENCE_S):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def hearing(amqp_url):
    """What is announced about activations, as inference hears it."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            topology.MODEL_ACTIVATED.name, aio_pika.ExchangeType.FANOUT, durable=True
        )
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange)
        heard = asyncio.Queue()
        await queue.consume(heard.put, no_ack=True)
        yield heard


# Health


async def test_health_is_flat_as_grafana_reads_it(bench):
    del bench.client.headers["X-API-Key"]

    for path in ("/health", "/health/ready"):
        answer = await bench.client.get(path)

        said = answer.json()
        assert answer.status_code == 200
        assert (said["status"], said["service"]) == ("healthy", "model-service")
        assert (said["database_connected"], said["queue_connected"]) == (True, True)


# Versions


async def test_an_empty_registry_is_an_empty_page(bench):
    assert await bench.get("/models") == {"items": [], "total": 0, "limit": 100, "offset": 0}


async def test_versions_are_listed_by_page_newest_first_with_the_fields_of_the_contract(bench):
    versions = [await bench.version(trained_at=NOON + timedelta(minutes=n)) for n in range(3)]

    page = await bench.get("/models", limit=2, offset=1)

    assert [item["version"] for item in page["items"]] == [versions[1], versions[0]]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    first = page["items"][0]
    assert first.keys() >= ITEM
    assert first["trained_at"] == "2026-03-01T12:01:00Z"
    assert first["file_path"] == f"/models/{versions[1]}"
    assert first["training_config"] == {"max_depth": 4}
    assert (first["is_active"], first["is_warmup_mode"], first["verdict"]) == (False, False, "accepted")


async def test_versions_are_filtered_by_strategy_and_by_whether_they_are_active(bench):
    mine = await bench.version()
    other = await bench.version(strategy_id="reversal")
    assert (await bench.post(f"/models/{mine}/activate")).status_code == 200

    async def listed(**query):
        return {item["version"] for item in (await bench.get("/models", **query))["items"]}

    assert await listed(strategy_id="reversal") == {other}
    assert await listed(is_active=True) == {mine}
    assert await listed(is_active=False) == {other}
    assert await listed(is_active=True, strategy_id="reversal") == set()
    assert await listed(strategy_id="unknown") == set()


def metric(name, value, split="test", metric_type="classification"):
    return NewMetric(
        metric_name=name,
        metric_value=value,
        metric_type=metric_type,
        dataset_split=split,
        evaluation_dataset_size=1000,
    )


async def test_a_version_shows_its_metrics_its_verdict_and_the_evidence(bench):
    version = await bench.version(verdict="refused", metrics=[metric("accuracy", 0.53)])

    shown = await bench.get(f"/models/{version}")

    assert shown.keys() >= ITEM
    assert (shown["verdict"], shown["verdict_sentence"]) == ("refused", "refused because of the figures")
    assert shown["evidence"] == {"lift": 0.06}
    assert len(shown["sha256"]) == 64
    assert [(m["metric_name"], m["metric_value"]) for m in shown["quality_metrics"]] == [("accuracy", 0.53)]
    assert shown["quality_metrics"][0]["metadata"] == {"dataset_split": "test"}


async def test_metrics_are_filtered_by_type_name_and_split(bench):
    version = await bench.version(
        metrics=[
            metric("accuracy", 0.53),
            metric("accuracy", 0.61, split="validation"),
            metric("log_loss", 1.02),
            metric("expectancy", -0.001, metric_type="trading_performance"),
        ]
    )

    async def values(**query):
        return sorted(m["metric_value"] for m in await bench.get(f"/models/{version}/metrics", **query))

    assert await values() == [-0.001, 0.53, 0.61, 1.02]
    assert await values(metric_name="accuracy") == [0.53, 0.61]
    assert await values(dataset_split="test", metric_type="classification") == [0.53, 1.02]
    assert await values(metric_type="trading_performance") == [-0.001]
    assert await values(metric_type="regression") == []


@pytest.mark.parametrize("query", ["metric_type=magic", "dataset_split=train", "metric_name=a%20b"])
async def test_a_filter_that_cannot_match_is_400(bench, query):
    version = await bench.version()

    assert (await bench.client.get(f"/api/v1/models/{version}/metrics?{query}")).status_code == 400


@pytest.mark.parametrize("path", ["/models/v999", "/models/v999/metrics", "/models/v999.1"])
async def test_a_version_that_is_not_registered_is_404(bench, path):
    answer = await bench.client.get(f"/api/v1{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# Activation


async def test_an_activation_is_recorded_answered_with_the_item_and_announced(bench, amqp_url):
    version = await bench.version()

    async with hearing(amqp_url) as heard:
        answer = await bench.client.post(
            f"/api/v1/models/{version}/activate",
            json={"reason": "it is better"},
            headers={"X-Trace-ID": "operator-1"},
        )
        message = await asyncio.wait_for(heard.get(), PATIENCE_S)

    assert answer.status_code == 200
    assert (answer.json()["version"], answer.json()["is_active"]) == (version, True)
    [entry] = await bench.history()
    assert (entry.version, entry.epoch, entry.actor, entry.reason) == (version, 1, "api", "it is better")
    announced = json.loads(message.body)
    assert announced == {
        "strategy_id": "momentum",
        "version": version,
        "epoch": 1,
        "sha256": entry.sha256,
        "activated_at": msgspec.to_builtins(entry.activated_at),
        "trace_id": "operator-1",
    }
    assert message.headers["trace_id"] == "operator-1"


async def test_both_spellings_activate_with_or_without_a_body(bench):
    first, second = await bench.version(), await bench.version()

    answers = [
        await bench.client.post(f"/api/v1/models/{first}"),
        await bench.post(f"/models/{second}", {"strategy_id": "momentum"}),
        await bench.client.post(f"/api/v1/models/{first}/activate"),
        await bench.post(f"/models/{second}/activate", {}),
    ]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert [entry.version for entry in await bench.history()] == [second, first, second, first]
    active = (await bench.get("/models", is_active=True))["items"]
    assert [item["version"] for item in active] == [second]


@pytest.mark.parametrize("verdict", ["refused", "insufficient_evidence", "quarantined"])
async def test_a_verdict_that_does_not_speak_for_a_version_is_overridden_with_force_and_a_reason_only(
    bench, verdict
):
    version = await bench.version(verdict=verdict)
    path = f"/models/{version}/activate"

    code, detail = await bench.refused(path, {"reason": "I want to"}, 409)
    assert code == "force_needed"
    assert f"{verdict} because of the figures" in detail
    assert (await bench.refused(path, {"force": True}, 409))[0] == "reason_needed"
    assert await bench.history() == []

    assert (await bench.post(path, {"force": True, "reason": "measured by hand"})).status_code == 200
    [entry] = await bench.history()
    assert entry.reason == "forced: measured by hand"


async def test_an_unknown_version_is_404_and_leaves_no_trace(bench):
    assert (await bench.refused("/models/v999/activate", {}, 404))[0] == "not_found"

    assert await bench.history() == []


async def test_a_version_of_another_strategy_is_409(bench):
    version = await bench.version(strategy_id="reversal")

    code, detail = await bench.refused(f"/models/{version}/activate", {"strategy_id": "momentum"}, 409)

    assert code == "conflict"
    assert "reversal" in detail


async def test_an_expected_epoch_that_has_passed_is_409(bench):
    first, second = await bench.version(), await bench.version()
    assert (await bench.post(f"/models/{first}/activate", {"expected_epoch": 0})).status_code == 200

    assert (await bench.refused(f"/models/{second}/activate", {"expected_epoch": 0}, 409))[0] == "conflict"

    assert (await bench.post(f"/models/{second}/activate", {"expected_epoch": 1})).status_code == 200


async def test_of_several_at_once_one_wins_and_the_others_are_told(bench):
    versions = [await bench.version() for _ in range(5)]

    answers = await asyncio.gather(
        *(bench.post(f"/models/{version}/activate", {"expected_epoch": 0}) for version in versions)
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    [entry] = await bench.history()
    [active] = (await bench.get("/models", is_active=True))["items"]
    assert active["version"] == entry.version


def flip_a_byte(directory):
    model = directory / "model.onnx"
    model.write_bytes(bytes([model.read_bytes()[0] ^ 1]) + model.read_bytes()[1:])


def swap_the_manifest(directory):
    (directory / "manifest.json").write_bytes((directory / "manifest.json").read_bytes() + b" ")


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        swap_the_manifest,
        lambda directory: (directory / "model.onnx").unlink(),
        lambda directory: directory.rename(directory.with_name("elsewhere")),
    ],
    ids=["a byte flipped", "another manifest", "a file missing", "the directory missing"],
)
async def test_files_that_are_not_those_registered_are_409_even_with_force(bench, amqp_url, damage):
    good, bad = await bench.version(), await bench.version()
    assert (await bench.post(f"/models/{good}/activate")).status_code == 200
    damage(bench.storage / bad)

    async with hearing(amqp_url) as heard:
        code, detail = await bench.refused(f"/models/{bad}/activate", {"force": True, "reason": "now"}, 409)
        assert heard.empty()

    assert code == "artifact_unusable"
    assert str(bench.storage) not in detail
    assert [entry.version for entry in await bench.history()] == [good]
    assert [item["version"] for item in (await bench.get("/models", is_active=True))["items"]] == [good]


async def test_a_version_of_the_older_service_without_a_hash_is_409(bench):
    await bench.insert(
        tables.model_versions,
        {"version": "v900", "file_path": "/models/v900", "model_type": "random_forest", "strategy_id": None},
    )

    assert (await bench.get("/models/v900"))["strategy_id"] == "default"
    assert "hash" in (await bench.refused("/models/v900/activate", {}, 409))[1]


async def test_an_activation_stands_though_nobody_can_be_told(database_url, tmp_path):
    async with running_api(database_url, "amqp://guest:guest@127.0.0.1:1/", tmp_path) as bench:
        version = await bench.version()

        answer = await bench.post(f"/models/{version}/activate")

        assert answer.status_code == 200
        assert [entry.version for entry in await bench.history()] == [version]


# Rollback


async def test_a_rollback_goes_to_the_version_before_and_is_announced(bench, amqp_url):
    first, second = await bench.version(), await bench.version()
    for version in (first, second):
        assert (await bench.post(f"/models/{version}/activate")).status_code == 200

    async with hearing(amqp_url) as heard:
        answer = await bench.post("/strategies/momentum/rollback", {"reason": "it loses"})
        announced = json.loads((await asyncio.wait_for(heard.get(), PATIENCE_S)).body)

    assert answer.status_code == 200
    assert (answer.json()["version"], answer.json()["is_active"]) == (first, True)
    assert (announced["version"], announced["epoch"]) == (first, 3)
    assert (await bench.history())[0].reason == "it loses"


async def test_a_rollback_goes_to_the_version_that_is_named(bench):
    first, second, third = [await bench.version() for _ in range(3)]
    for version in (first, second, third):
        assert (await bench.post(f"/models/{version}/activate")).status_code == 200

    answer = await bench.post("/strategies/momentum/rollback", {"reason": "back to the roots", "to": first})

    assert (answer.status_code, answer.json()["version"]) == (200, first)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"reason": "r"}, 409),
        ({"reason": "r", "to": "v999"}, 404),
        ({"reason": "r", "to": "../etc"}, 404),
        ({"to": "v1"}, 400),
        ({"reason": ""}, 400),
        ({"reason": "r", "hard": True}, 400),
    ],
)
async def test_a_rollback_to_nowhere_is_refused(bench, body, status):
    only = await bench.version()
    assert (await bench.post(f"/models/{only}/activate")).status_code == 200

    await bench.refused("/strategies/momentum/rollback", body, status)

    assert [entry.version for entry in await bench.history()] == [only]


async def test_a_rollback_to_files_that_were_changed_is_409(bench):
    first, second = await bench.version(), await bench.version()
    for version in (first, second):
        assert (await bench.post(f"/models/{version}/activate")).status_code == 200
    flip_a_byte(bench.storage / first)

    code, _ = await bench.refused("/strategies/momentum/rollback", {"reason": "it loses"}, 409)

    assert code == "artifact_unusable"
    assert (await bench.history())[0].version == second


async def test_a_rollback_to_a_version_that_lacks_evidence_takes_force(bench):
    unproven, proven = await bench.version(verdict="insufficient_evidence"), await bench.version()
    assert (
        await bench.post(f"/models/{unproven}/activate", {"force": True, "reason": "a try"})
    ).status_code == 200
    assert (await bench.post(f"/models/{proven}/activate")).status_code == 200
    path, body = "/strategies/momentum/rollback", {"reason": "it loses"}

    assert (await bench.refused(path, body, 409))[0] == "force_needed"
    assert (await bench.history())[0].version == proven

    assert (await bench.post(path, body | {"force": True})).json()["version"] == unproven


# Deactivation and history


async def test_a_deactivation_leads_back_to_warm_up_and_is_announced_without_a_version(bench, amqp_url):
    version = await bench.version()
    assert (await bench.post(f"/models/{version}/activate")).status_code == 200

    async with hearing(amqp_url) as heard:
        answer = await bench.client.post(
            "/api/v1/strategies/momentum/deactivate",
            json={"reason": "it loses"},
            headers={"X-Trace-ID": "operator-2"},
        )
        announced = json.loads((await asyncio.wait_for(heard.get(), PATIENCE_S)).body)

    assert answer.status_code == 200
    [momentum, _] = (await bench.get("/strategies"))["items"]
    assert answer.json().items() <= momentum.items()
    assert (momentum["mode"], momentum["active_version"], momentum["epoch"]) == ("warm-up", None, 2)
    assert announced == {
        "strategy_id": "momentum",
        "version": None,
        "epoch": 2,
        "sha256": None,
        "activated_at": momentum["activated_at"],
        "trace_id": "operator-2",
    }
    assert (await bench.get("/models", is_active=True))["items"] == []


async def test_what_was_taken_away_comes_back_with_a_rollback(bench):
    version = await bench.version()
    assert (await bench.post(f"/models/{version}/activate")).status_code == 200
    assert (await bench.post("/strategies/momentum/deactivate", {"reason": "a pause"})).status_code == 200

    answer = await bench.post("/strategies/momentum/rollback", {"reason": "it goes on"})

    assert (answer.status_code, answer.json()["version"]) == (200, version)


async def test_where_nothing_is_active_there_is_nothing_to_take_away(bench, amqp_url):
    version = await bench.version()
    path, body = "/strategies/momentum/deactivate", {"reason": "r"}

    async with hearing(amqp_url) as heard:
        assert (await bench.refused("/strategies/unknown/deactivate", body, 404))[0] == "not_found"
        assert (await bench.refused(path, body, 409))[0] == "conflict"
        assert (await bench.refused(path, body | {"hard": True}, 400))[0] == "invalid_request"
        assert heard.empty()
    assert await bench.history() == []

    assert (await bench.post(f"/models/{version}/activate")).status_code == 200
    answers = await asyncio.gather(*(bench.post(path, body) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]


async def test_a_strategy_that_is_not_traded_here_any_more_can_still_lose_its_version(bench):
    version = await bench.version(strategy_id="retired")
    assert (await bench.post(f"/models/{version}/activate")).status_code == 200

    answer = await bench.post("/strategies/retired/deactivate", {"reason": "retired"})

    assert (answer.status_code, answer.json()["mode"]) == (200, "warm-up")
    assert len((await bench.get("/strategies/retired/activations"))["items"]) == 2


async def test_the_history_says_who_changed_what_and_why_newest_first(bench):
    first, second = await bench.version(), await bench.version(verdict="refused")
    assert (await bench.post(f"/models/{first}/activate")).status_code == 200
    assert (
        await bench.post(f"/models/{second}/activate", {"force": True, "reason": "a try"})
    ).status_code == 200
    assert (await bench.post("/strategies/momentum/deactivate", {"reason": "it loses"})).status_code == 200

    history = await bench.get("/strategies/momentum/activations")
    newest = await bench.get("/strategies/momentum/activations", limit=1)

    assert [(e["epoch"], e["version"], e["actor"], e["reason"]) for e in history["items"]] == [
        (3, None, "api", "it loses"),
        (2, second, "api", "forced: a try"),
        (1, first, "api", "no reason given"),
    ]
    assert history["items"][0].keys() == {"epoch", "version", "actor", "reason", "activated_at"}
    assert newest == {"items": history["items"][:1], "limit": 1}


async def test_a_strategy_without_a_history_has_an_empty_one_and_an_unknown_one_is_404(bench):
    assert (await bench.get("/strategies/momentum/activations"))["items"] == []

    answer = await bench.client.get("/api/v1/strategies/unknown/activations")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# Strategies, signals, positions, skips


async def test_a_strategy_without_a_version_warms_up_and_one_with_a_version_does_not(bench):
    version = await bench.version()
    assert (await bench.post(f"/models/{version}/activate")).status_code == 200

    strategies = await bench.get("/strategies")

    assert strategies["total"] == 2
    momentum, reversal = strategies["items"]
    assert momentum["strategy_id"] == "momentum"
    assert (momentum["mode"], momentum["active_version"]) == ("model", version)
    assert momentum["epoch"] == 1
    assert momentum["activated_at"] is not None
    assert reversal == {
        "strategy_id": "reversal",
        "mode": "warm-up",
        "active_version": None,
        "epoch": 0,
        "activated_at": None,
        "trading_state": "ACTIVE",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "state_scope": None,
        "state_actor": None,
        "state_reason": None,
        "last_outcome": None,
        "served_by": {"serving": 0, "alive": 0},
    }


async def test_a_strategy_whose_version_was_taken_away_warms_up_at_a_new_epoch(bench):
    version = await bench.version()
    assert (await bench.post(f"/models/{version}/activate")).status_code == 200
    assert (await bench.post("/strategies/momentum/deactivate", {"reason": "r"})).status_code == 200

    momentum = (await bench.get("/strategies"))["items"][0]

    assert (momentum["mode"], momentum["active_version"], momentum["epoch"]) == ("warm-up", None, 2)


async def test_the_strictest_trading_state_is_shown(bench):
    def state(scope, value):
        return {"scope": scope, "state": value, "actor": "test", "reason": "r", "changed_at": NOON}

    await bench.insert(
        tables.trading_states, state("fleet", "REDUCING"), state("strategy:reversal", "HALTED")
    )

    assert [item["trading_state"] for item in (await bench.get("/strategies"))["items"]] == [
        "REDUCING",
        "HALTED",
    ]


def a_signal(minute, *, strategy_id="momentum", asset="BTCUSDT", **values):
    return {
        "signal_id": uuid4(),
        "strategy_id": strategy_id,
        "asset": asset,
        "side": "buy",
        "price": Decimal("60000.5"),
        "confidence": Decimal("0.625"),
        "timestamp": datetime(2026, 3, 1, 12, minute),
        "metadata": {"gates": {"price": 60000.5}},
        "market_data_snapshot": {"price": 60000.5},
        "amount_quote": Decimal("150.25"),
        "trace_id": "t",
    } | values


async def test_the_newest_signals_are_listed_with_their_metadata(bench):
    await bench.insert(
        tables.trading_signals,
        *(a_signal(minute) for minute in range(3)),
        a_signal(30, strategy_id="reversal", asset="ETHUSDT"),
    )

    newest = await bench.get("/signals", strategy_id="momentum", limit=2)

    assert newest["limit"] == 2
    assert [item["timestamp"] for item in newest["items"]] == ["2026-03-01T12:02:00Z", "2026-03-01T12:01:00Z"]
    first = newest["items"][0]
    assert (first["symbol"], first["side"], first["confidence"]) == ("BTCUSDT", "buy", 0.625)
    assert (first["price"], first["amount_quote"]) == ("60000.5", "150.25")
    assert first["metadata"] == {"gates": {"price": 60000.5}}
    assert len((await bench.get("/signals", symbol="ETHUSDT"))["items"]) == 1
    assert len((await bench.get("/signals"))["items"]) == 4


async def test_a_signal_of_the_older_service_lacks_what_it_did_not_have(bench):
    row = a_signal(0) | dict.fromkeys(("confidence", "metadata", "amount_quote", "trace_id"))
    await bench.insert(tables.trading_signals, row)

    [item] = (await bench.get("/signals"))["items"]

    assert item["confidence"] is item["metadata"] is item["amount_quote"] is item["trace_id"] is None


def a_lifecycle(symbol, **values):
    return {
        "lifecycle_id": uuid4(),
        "symbol": symbol,
        "side": "long",
        "opened_at": NOON,
        "strategy_id": "momentum",
        "entry_price": Decimal("60000.123456789012"),
        "size": Decimal("0.05"),
        "peak_price": Decimal(61000),
        "newest_event_at": NOON,
        "closed_at": None,
    } | values


async def test_open_positions_are_listed_and_closed_ones_when_asked_for(bench):
    await bench.insert(
        tables.position_lifecycles,
        a_lifecycle("BTCUSDT"),
        a_lifecycle("BTCUSDT", closed_at=NOON + timedelta(hours=1)),
        a_lifecycle("ETHUSDT", strategy_id="reversal", side="short"),
    )

    watched = (await bench.get("/positions"))["items"]
    [bitcoin] = (await bench.get("/positions", symbol="BTCUSDT"))["items"]
    [closed] = (await bench.get("/positions", is_open=False))["items"]

    assert {item["symbol"] for item in watched} == {"BTCUSDT", "ETHUSDT"}
    assert (bitcoin["entry_price"], bitcoin["size"], bitcoin["peak_price"]) == (
        "60000.123456789012",
        "0.05",
        "61000",
    )
    assert (bitcoin["armed"], bitcoin["stage"], bitcoin["generation"]) == (False, 0, 0)
    assert bitcoin["latched_rule"] is bitcoin["exit_signal_id"] is bitcoin["last_price"] is None
    assert closed["closed_at"] == "2026-03-01T13:00:00Z"
    assert [i["side"] for i in (await bench.get("/positions", strategy_id="reversal"))["items"]] == ["short"]


async def test_skips_of_every_minute_and_worker_add_up(bench):
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=12)

    def skip(minute, strategy_id, symbol, reason, skips):
        return {
            "minute": hour + timedelta(minutes=minute),
            "strategy_id": strategy_id,
            "symbol": symbol,
            "reason": reason,
            "skips": skips,
        }

    await bench.insert(
        tables.skip_counts,
        skip(0, "momentum", "BTCUSDT", "hold", 10),
        skip(1, "momentum", "BTCUSDT", "hold", 5),
        skip(2, "momentum", "BTCUSDT", "open order", 1),
        skip(3, "reversal", "ETHUSDT", "hold", 4),
    )

    everything = await bench.get("/monitoring/signals/skip-metrics")
    reversal = await bench.get("/monitoring/signals/skip-metrics", strategy_id="reversal", asset="ETHUSDT")

    assert everything == {
        "total_skips": 20,
        "by_asset_strategy": {
            "momentum:BTCUSDT": {
                "strategy_id": "momentum",
                "asset": "BTCUSDT",
                "total_skips": 16,
                "by_reason": {"hold": 15, "open order": 1},
            },
            "reversal:ETHUSDT": {
                "strategy_id": "reversal",
                "asset": "ETHUSDT",
                "total_skips": 4,
                "by_reason": {"hold": 4},
            },
        },
        "by_reason": {"hold": 19, "open order": 1},
        "last_reset": f"{hour:%Y-%m-%dT%H}:00:00Z",
    }
    assert (reversal["total_skips"], reversal["last_reset"]) == (4, f"{hour:%Y-%m-%dT%H}:03:00Z")
    assert (await bench.get("/monitoring/signals/skip-metrics", hours=11))["total_skips"] == 0
    nothing = await bench.get("/monitoring/signals/skip-metrics", strategy_id="unknown")
    assert (nothing["total_skips"], nothing["by_reason"], nothing["last_reset"]) == (0, {}, None)


# The database's limits


async def test_a_statement_that_takes_too_long_is_503(database_url, amqp_url, tmp_path):
    async with running_api(database_url, amqp_url, tmp_path, database_statement_timeout_ms=100) as bench:
        async with bench.engine.begin() as connection:
            await connection.execute(select(tables.model_versions).with_for_update())
            await connection.exec_driver_sql("LOCK TABLE model_versions IN ACCESS EXCLUSIVE MODE")

            answer = await bench.client.get("/api/v1/models")

        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await bench.client.get("/api/v1/models")).status_code == 200
