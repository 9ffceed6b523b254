"""Each service with a login of its own, which may write what is its own: the fleet works, no more goes."""

import asyncio
import shlex
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import httpx
import pytest
from aiormq.exceptions import ChannelAccessRefused
from tests.scenario.small_fleet import small_fleet

ROOT = Path(__file__).parents[2]
ROLES = {
    "inference": "flotilla_inference",
    "trainer": "flotilla_trainer",
    "exit_strategy": "flotilla_exit_strategy",
    "api": "flotilla_api",
}
STORY = (
    "SELECT 1 FROM trading_signals LIMIT 1",
    "SELECT 1 FROM execution_events LIMIT 1",
    "SELECT 1 FROM position_lifecycles LIMIT 1",
    "SELECT 1 FROM latest_outcomes LIMIT 1",
    "SELECT 1 FROM minute_bars LIMIT 1",
    "SELECT 1 FROM training_runs WHERE finished_at IS NOT NULL LIMIT 1",
)
# What the story does not come to: EXPLAIN asks for the same rights and changes nothing.
RARE = {
    "inference": (
        "UPDATE position_lifecycles SET last_exit_at = now()",
        "SELECT 1 FROM position_lifecycles FOR NO KEY UPDATE",
        "INSERT INTO mode_changes DEFAULT VALUES",
        "INSERT INTO trading_state_changes DEFAULT VALUES",
        "UPDATE trading_states SET state = 'HALTED'",
        "UPDATE alerts SET resolved_at = now()",
        "SELECT 1 FROM alerts FOR UPDATE",
        "DELETE FROM dead_letters",
        "DELETE FROM signal_outbox",
        "DELETE FROM warmup_slots",
        "DELETE FROM served_versions",
    ),
    "trainer": (
        "SELECT nextval('model_version_numbers')",
        "INSERT INTO model_versions DEFAULT VALUES",
        "UPDATE model_versions SET is_active = false",
        "INSERT INTO activations DEFAULT VALUES",
        "INSERT INTO invalid_executions DEFAULT VALUES",
        "UPDATE alerts SET resolved_at = now()",
    ),
    "exit_strategy": (
        "INSERT INTO signal_outbox DEFAULT VALUES",
        "UPDATE signal_outbox SET state = 'published'",
        "INSERT INTO failed_position_updates DEFAULT VALUES",
        "UPDATE alerts SET resolved_at = now()",
    ),
    "api": (
        "UPDATE model_versions SET is_active = false, updated_at = now()",
        "SELECT 1 FROM model_versions FOR UPDATE",
        "INSERT INTO activations DEFAULT VALUES",
        "INSERT INTO dead_letters DEFAULT VALUES",
        "UPDATE dead_letters SET state = 'replayed'",
        "SELECT 1 FROM dead_letters FOR UPDATE",
        "UPDATE training_runs SET state = 'cancelled'",
        "INSERT INTO trading_state_changes DEFAULT VALUES",
    ),
}
OPEN = "SELECT symbol FROM position_lifecycles WHERE closed_at IS NULL LIMIT 1"
READ = (
    "models",
    "training/status",
    "training/schedule",
    "training/runs",
    "trading-states",
    "strategies",
    "strategies/momentum/activations",
    "strategies/momentum/modes",
    "strategies/momentum/performance/summary",
    "signals",
    "decisions",
    "executions",
    "positions",
    "fleet/replicas",
    "monitoring/alerts",
    "monitoring/audit",
    "monitoring/dead-letters",
    "monitoring/health",
    "monitoring/outcomes",
    "monitoring/signals/processing-delay",
    "monitoring/models/performance",
)


@pytest.fixture
async def logins(empty_database_url, servers):
    """The database's URL by service, each with a login made for it."""
    made = {service: (f"{service}_{token_hex(4)}", token_hex(16)) for service in ROLES}
    place = urlsplit(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    try:
        for name, password in made.values():
            await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        yield {
            service: place._replace(netloc=f"{name}:{password}@{place.hostname}:{place.port}").geturl()
            for service, (name, password) in made.items()
        }
    finally:
        for name, _ in made.values():
            await connection.execute(f"DROP ROLE {name}")
        await connection.close()


@pytest.fixture
def users(amqp_url, servers):
    """The broker's URL by service, each with the permissions that docs/security.md gives it."""
    place = urlsplit(amqp_url)
    made = {}
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        if line.startswith("rabbitmqctl set_permissions "):
            _, _, service, *permissions = shlex.split(line)
            name, password = f"{service}_{token_hex(4)}", token_hex(16)
            servers.rabbitmq.add_user(name, password, place.path[1:], tuple(permissions))
            made[service] = place._replace(netloc=f"{name}:{password}@{place.hostname}:{place.port}").geturl()
    return made


async def test_the_fleet_works_with_a_login_of_its_own_for_each_service(
    empty_database_url, amqp_url, tmp_path, logins, users
):
    joining = asyncio.create_task(_join(empty_database_url, logins))
    both = {each: {"DATABASE_URL": logins[each], "RABBITMQ_URL": users[each]} for each in ROLES}
    async with small_fleet(empty_database_url, amqp_url, tmp_path, logins=both) as fleet:
        await joining
        for told in STORY:
            await fleet.until(told)
        headers = {"X-API-Key": fleet.api_key}
        async with httpx.AsyncClient(base_url=f"{fleet.addresses['api']}/api/v1", headers=headers) as api:
            read = {path: (await api.get(f"/{path}")).status_code for path in READ}
            why = {"actor": "ann", "reason": "the rights of the API"}
            (open_now,) = await fleet.until(OPEN)
            commanded = {
                "close": await api.post(f"/positions/{open_now['symbol']}/close", json=why),
                "train": await api.post("/training/trigger", json={"strategy_id": "momentum"}),
                "pause": await api.post("/strategies/momentum/pause", json=why),
            }

        assert {path: status for path, status in read.items() if status != 200} == {}
        assert {name: answer.status_code for name, answer in commanded.items() if answer.is_error} == {}
        assert fleet.lines_with("permission denied") == []
        assert fleet.lines_with("ACCESS_REFUSED") == []
        for service, url in users.items():
            await _reads_and_keeps_no_others_queue(service, url)
        assert fleet.restarts() == 0

    for service, url in logins.items():
        await _may_do_no_more(service, url)


async def _reads_and_keeps_no_others_queue(service, url):
    forbidden = {
        "inference": "features.dataset.ready",
        "exit_strategy": "features.live",
        "trainer": "model-service.trading_signals",
        "api": "position-manager.position_updated",
    }[service]
    for wish in ("get", "purge", "delete", "declare"):
        connection = await aio_pika.connect(url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(forbidden, ensure=False)
            attempt = (
                channel.declare_queue(f"order-manager.{service}")
                if wish == "declare"
                else getattr(queue, wish)()
            )
            with pytest.raises(ChannelAccessRefused):
                await attempt


# A login joins its role once the migration has made it.
async def _join(database_url, logins):
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(60):
            while await connection.fetchval("SELECT to_regclass('flotilla_alembic_version')") is None:
                await asyncio.sleep(0.05)
        for service, url in logins.items():
            await connection.execute(f"GRANT {ROLES[service]} TO {urlsplit(url).username}")
    finally:
        await connection.close()


async def _may_do_no_more(service, url):
    refused = [
        "CREATE TABLE mine (id int)",
        "DROP TABLE trading_signals",
        "ALTER TABLE trading_signals ADD COLUMN x int",
        "TRUNCATE operator_actions",
        "UPDATE operator_actions SET actor = 'nobody'",
        "DELETE FROM operator_actions",
        "UPDATE trading_state_changes SET actor = 'nobody'",
        "DELETE FROM trading_state_changes",
        "DELETE FROM activations",
        "UPDATE activations SET actor = 'nobody'",
        "DELETE FROM trading_signals",
        "UPDATE trading_signals SET side = 'buy'",
        "INSERT INTO orders DEFAULT VALUES",
        "UPDATE positions SET size = 0",
        "UPDATE flotilla_alembic_version SET version_num = '0001'",
    ]
    if service in {"api", "trainer"}:
        refused += ["INSERT INTO trading_signals DEFAULT VALUES", "INSERT INTO signal_outbox DEFAULT VALUES"]
        refused += ["UPDATE position_lifecycles SET symbol = 'X'"]
    if service != "trainer":
        refused += ["UPDATE model_versions SET sha256 = 'x'", "INSERT INTO model_versions DEFAULT VALUES"]
    connection = await asyncpg.connect(url)
    try:
        for statement in RARE[service]:
            await connection.execute(f"EXPLAIN {statement}")
        for statement in refused:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
