"""Whose position it is: known from the moment at which its entry was sent."""

from uuid import uuid4

SENT_BY_A_WORKER_THAT_DIED = """
INSERT INTO signal_outbox
    (signal_id, kind, strategy_id, symbol, side, amount_quote, payload, trace_id, valid_until, owner,
     lease_until)
VALUES ($1, 'entry', 'momentum', 'BTCUSDT', 'buy', 100, '{}', 't', now(), 'dead', now())
"""


async def test_a_fill_that_is_quicker_than_its_signals_record_belongs_to_its_strategy_all_the_same(fleet):
    signal_id = uuid4()
    await fleet.platform.execute(SENT_BY_A_WORKER_THAT_DIED, signal_id)
    await fleet.platform.order("BTCUSDT", "Buy", filled="0.05", signal_id=signal_id)

    async with fleet.peer():
        await fleet.updated("BTCUSDT", "0.05")

        assert await fleet.platform.rows("SELECT 1 FROM trading_signals") == []
        assert (await fleet.lifecycle())["strategy_id"] == "momentum"
