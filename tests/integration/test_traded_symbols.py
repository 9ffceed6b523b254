"""Which symbols balances allow, and what is counted where no vector of them comes, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from tests.integration.platform_rows import Platform

from common.database import create_engine
from common.messages import FeatureVector
from common.settings import DatabaseSettings
from inference.assets import SelectedAssets
from inference.core.snapshot import SnapshotFeatures
from inference.core.warmup import slot_of
from inference.empty_slots import PATIENCE, EmptySlots
from inference.feature_settings import AssetSettings
from inference.live_vectors import LiveVectors, LiveVectorsLimits

SETTINGS = AssetSettings(
    auto_select_fallback_assets=("SOLUSDT", "ETHUSDT"), auto_select_cache_ttl_seconds=100
)


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(clock):
    return LiveVectors(LiveVectorsLimits(ttl_s=30, silence_s=5, max_age_s=60), clock=clock)


@pytest.fixture
async def platform(database_url):
    rows = Platform(database_url)
    await rows.open(available="0")
    return rows


@pytest.fixture
async def engine(database_url):
    made = create_engine(
        DatabaseSettings(database_url=SecretStr(database_url), database_statement_timeout_ms=2000),
        application="test",
    )
    yield made
    await made.dispose()


async def holds(platform, coin, wallet, free=None, age_s=0.0):
    await platform.execute(
        "INSERT INTO account_balances (coin, wallet_balance, available_balance, frozen, event_timestamp,"
        " received_at) VALUES ($1, $2, $3, 0, $4, $4)",
        coin,
        Decimal(wallet),
        Decimal(free or wallet),
        (datetime.now(UTC) - timedelta(seconds=age_s)).replace(tzinfo=None),
    )


def priced(symbol, price):
    return FeatureVector(
        timestamp=datetime.now(UTC),
        symbol=symbol,
        features={"mid_price": price},
        feature_registry_version="1.0.0",
    )


@pytest.fixture
def assets(engine, live, clock):
    return SelectedAssets(SETTINGS, None, engine, live, SnapshotFeatures(), clock=clock)


def counted(result):
    return REGISTRY.get_sample_value("flotilla_assets_total", {"result": result}) or 0


async def test_before_the_first_choice_nothing_is_traded(assets):
    assert assets.symbols() == frozenset()
    assert await assets.problem() == "no choice of symbols has been made yet"


async def test_a_choice_follows_the_newest_balances_once_its_ttl_is_over(assets, platform, clock, capsys):
    hits, misses = counted("hit"), counted("miss")
    await holds(platform, "USDT", "1", age_s=5)
    await holds(platform, "USDT", "100")
    await assets.refresh()
    assert assets.symbols() == {"BTCUSDT", "ETHUSDT"}
    assert await assets.problem() is None

    await holds(platform, "USDT", "1")
    clock.now += 99
    await assets.refresh()
    assert assets.symbols() == {"BTCUSDT", "ETHUSDT"}
    assert counted("hit") - hits == 2
    assert counted("miss") - misses == 1

    clock.now += 1
    await assets.refresh()
    assert assets.symbols() == {"SOLUSDT", "ETHUSDT"}
    assert "no pair of USDT, USDC, BUSD has a balance worth 10 USDT" in await assets.problem()
    out = capsys.readouterr().out
    assert out.count("assets selected") == out.count("assets fallback") == 1
    assert "'balance': '100.00000000'" in out


async def test_a_held_coin_is_priced_by_a_live_vector_or_the_last_bar_and_otherwise_named(
    assets, platform, live
):
    await holds(platform, "BTC", "0.01")
    await holds(platform, "ETH", "1")
    await assets.refresh()
    assert "not counted for want of a price: BTC, ETH" in await assets.problem()

    live.note(priced("BTCUSDT", 60_000.0))
    await assets.refresh()
    assert assets.symbols() == {"BTCUSDT"}

    for minute, close in (("12:00", 5), ("12:01", 3_000)):
        await platform.execute(
            "INSERT INTO minute_bars VALUES ('ETHUSDT', $1, $2, $2, $2, $2, $1, $1, 1)",
            datetime.fromisoformat(f"2026-03-01T{minute}:00+00:00"),
            Decimal(close),
        )
    assets._holds_until = 0.0
    await assets.refresh()
    assert assets.symbols() == {"BTCUSDT", "ETHUSDT"}


async def test_a_choice_narrows_the_operators_list_and_never_widens_it(engine, live, platform):
    await holds(platform, "USDT", "100")
    listed = SelectedAssets(SETTINGS, frozenset({"ETHUSDT", "XRPUSDT"}), engine, live, SnapshotFeatures())
    await listed.refresh()
    assert listed.symbols() == {"ETHUSDT"}

    await holds(platform, "USDT", "0")
    emptied = SelectedAssets(SETTINGS, frozenset({"ETHUSDT", "XRPUSDT"}), engine, live, SnapshotFeatures())
    await emptied.refresh()
    assert emptied.symbols() == {"ETHUSDT"}


async def test_balances_that_cannot_be_read_are_the_fallback_with_the_reason_until_they_can(
    assets, platform, capsys
):
    await holds(platform, "USDT", "100")
    await platform.execute("ALTER TABLE account_balances RENAME TO hidden")
    for _ in range(3):
        await assets.refresh()
    assert assets.symbols() == {"SOLUSDT", "ETHUSDT"}
    assert "balances could not be read" in await assets.problem()

    await platform.execute("ALTER TABLE hidden RENAME TO account_balances")
    await assets.refresh()
    assert assets.symbols() == {"BTCUSDT", "ETHUSDT"}
    assert capsys.readouterr().out.count("assets fallback") == 1


NO_VECTOR = "SELECT symbol, sum(skips)::int AS n FROM skip_counts WHERE reason = 'no_vector' GROUP BY symbol"


def slots(engine, live, replica="replica-1", named=("BTCUSDT", "ETHUSDT"), per_minute=20.0):
    made = EmptySlots(engine, replica, live, lambda: {"momentum": named}, signals_per_minute=per_minute)
    made._judged_until = BEGIN
    return made


BEGIN = slot_of(datetime.now(UTC), 1.0)
LENGTH = timedelta(seconds=3)


async def test_slots_without_a_vector_are_counted_once_whatever_the_number_of_replicas(
    engine, live, platform, clock, capsys
):
    replicas = [slots(engine, live, name) for name in ("replica-1", "replica-2")]
    clock.now += 600

    for n in (2, 3, 4):
        now = BEGIN + n * LENGTH + PATIENCE
        await asyncio.gather(*(each.look(now) for each in replicas))

    rows = await platform.rows(NO_VECTOR)
    assert {row["symbol"]: row["n"] for row in rows} == {"BTCUSDT": 4, "ETHUSDT": 4}
    [latest] = await platform.rows("SELECT * FROM latest_outcomes WHERE symbol = 'BTCUSDT'")
    assert (latest["outcome"], latest["reason"]) == ("skip", "no_vector")
    assert latest["feature_timestamp"] == BEGIN + 3 * LENGTH
    assert capsys.readouterr().out.count("no_vector") == len(replicas)


async def test_a_vector_of_one_of_the_strategys_symbols_fills_the_slot(engine, live, platform, clock):
    judging = slots(engine, live)
    live.note_heard(["ETHUSDT"])
    clock.now += 2

    # The vector came in the second slot; slots are judged up to it.
    await judging.look(BEGIN + 2 * LENGTH + PATIENCE - timedelta(seconds=1))
    assert await platform.rows(NO_VECTOR) == []

    clock.now += 10
    await judging.look(BEGIN + 5 * LENGTH + PATIENCE)
    assert {row["n"] for row in await platform.rows(NO_VECTOR)} == {3}


async def test_a_strategy_that_trades_the_whole_stream_is_counted_before_there_is_one(
    engine, live, platform, clock
):
    judging = slots(engine, live, named=())
    clock.now += 600

    await judging.look(BEGIN + LENGTH + PATIENCE)

    assert await platform.rows(NO_VECTOR) == [{"symbol": "*", "n": 1}]


async def test_slots_that_could_not_be_stored_are_stored_with_the_next(engine, live, platform, clock, capsys):
    judging = slots(engine, live)
    clock.now += 600
    await platform.execute("ALTER TABLE skip_counts RENAME TO hidden")
    await judging.look(BEGIN + 2 * LENGTH + PATIENCE)
    await platform.execute("ALTER TABLE hidden RENAME TO skip_counts")

    await judging.look(BEGIN + 3 * LENGTH + PATIENCE)

    assert {row["n"] for row in await platform.rows(NO_VECTOR)} == {3}
    assert "slots not counted" in capsys.readouterr().out
