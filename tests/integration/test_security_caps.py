"""A model that always wants everything: what stands between it and the account does not ask a model."""

from decimal import Decimal

from tests.integration.platform_rows import Platform
from tests.integration.test_explained import trips_of
from tests.integration.test_inference_worker import feed, limits, policy, replica, signals_on_the_wire, skips
from tests.unit.inference.cases import proposal

from common.core.rate_limit import Rate
from inference.proposals import Proposed

SYMBOLS = [f"COIN{n}USDT" for n in range(12)]
ORDER_CAP, HOUR_CAP = Decimal(400), Decimal(1500)


class BuysEverything:
    """A model that answers every vector with the same wish."""

    def of(self, strategy_id, vector, snapshot, **_):
        return Proposed(proposal=proposal("buy", requested="1e12"))

    def note_used(self, slot):
        """It keeps no slots."""


async def test_who_always_buys_everything_is_capped_and_then_halted(database_url, amqp_url):
    platform = Platform(database_url)
    await platform.open()
    configured = policy(
        limits=limits(
            max_order_notional=ORDER_CAP,
            max_notional_per_hour=HOUR_CAP,
            rate=Rate(per_minute=1000, burst=1000),
        )
    )
    async with replica(database_url, amqp_url, configured, proposals=BuysEverything()) as one:
        for symbol in SYMBOLS:
            await feed(one, symbol=symbol)
        sent = [signal.amount for _, signal in await signals_on_the_wire(amqp_url)]
        skipped = await skips(one, platform)

        assert max(sent) <= ORDER_CAP
        assert HOUR_CAP - Decimal(10) < sum(sent) <= HOUR_CAP
        assert skipped["hourly_notional_used"] > 0

        await trips_of(one._admission._engine, signals_per_minute=len(sent) - 1).look()
        [state] = await platform.rows("SELECT scope, state, actor FROM trading_states")
        await feed(one, symbol="LATERUSDT")

        assert (state["scope"], state["state"], state["actor"]) == ("fleet", "HALTED", "automatic trip")
        assert await signals_on_the_wire(amqp_url) == []
        assert set(await skips(one, platform)) - set(skipped) == {"trading_halted"}
