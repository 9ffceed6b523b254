"""Every exit rule closes a position of its own on paper, each for its reason, and none of them twice."""

import json
from collections import Counter
from decimal import Decimal

import asyncpg
from tests.scenario.demo_process import Demo

from sandbox.exit_cases import CASES, KEPT_STOP

LIMIT_S = 90
"""The story gives up before the test does."""

EXITS = """
SELECT s.signal_id, s.strategy_id, s.asset, s.side, s.metadata, l.strategy_id AS owner, l.symbol,
       l.side AS position_side, l.entry_price, l.stop_price
FROM trading_signals s
JOIN position_lifecycles l ON l.lifecycle_id = (s.metadata->>'lifecycle_id')::uuid
WHERE s.metadata->>'rule_triggered' IS NOT NULL
ORDER BY s.timestamp
"""
FILLS = """
SELECT o.asset, o.side, o.filled_quantity, s.metadata->>'live_size' AS live_size
FROM orders o JOIN trading_signals s USING (signal_id)
WHERE o.filled_quantity > 0 ORDER BY coalesce(o.executed_at, o.updated_at)
"""


class Ledger:
    """What the story left in its database."""

    def __init__(self, exits, fills, open_positions, orders_of_exits):
        self.exits = [{**row, "metadata": json.loads(row["metadata"])} for row in map(dict, exits)]
        self.fills = fills
        self.open_positions = open_positions
        self.orders_of_exits = orders_of_exits

    def exits_of(self, case):
        return [each for each in self.exits if each["strategy_id"] == case.name]


async def ledger_of(database_url):
    database = await asyncpg.connect(database_url)
    try:
        return Ledger(
            await database.fetch(EXITS),
            await database.fetch(FILLS),
            await database.fetch("SELECT asset FROM positions WHERE size <> 0")
            + await database.fetch("SELECT symbol FROM position_lifecycles WHERE closed_at IS NULL"),
            await database.fetch("SELECT signal_id FROM orders WHERE status <> 'rejected'"),
        )
    finally:
        await database.close()


def assert_reasons_are_recorded(ledger):
    for case in CASES:
        exits = ledger.exits_of(case)
        told = [each["metadata"] for each in exits if each["metadata"]["rule_triggered"] == case.rule]
        assert len({each["stage"] for each in told}) == case.stages, case.name
        # A stop that was reached before anybody loosened it is one more try of the story.
        assert {each["metadata"]["rule_triggered"] for each in exits} <= {case.rule} | (
            {"stop_loss"} if case.name == KEPT_STOP else set()
        )
        for each in exits:
            assert (each["owner"], each["symbol"], each["asset"]) == (case.name, case.symbol, case.symbol)
        for each in told:
            assert each["reason"] == f"{case.rule}_triggered"
            assert each["reasoning"].startswith(case.rule.replace("_", " "))
            assert Decimal(each["price"]) > 0
            assert each["reduce_only"] is True


def assert_exits_are_on_the_right_side_of_the_entry(ledger):
    is_loss = {"stop_loss": True, KEPT_STOP: True, "take_profit": False, "decaying_target": False}
    for each in ledger.exits:
        told, rule = each["metadata"], each["metadata"]["rule_triggered"]
        if rule in is_loss:
            assert (Decimal(told["pnl_pct"]) < 0) == is_loss[rule], told
    # A bar can jump over a stop; where it stood is what the lock-in is about.
    [trailing] = [case for case in CASES if case.rule == "trailing_stop"]
    for each in ledger.exits_of(trailing):
        secured_pct = abs(each["stop_price"] / each["entry_price"] - 1) * 100
        is_profit = (each["stop_price"] > each["entry_price"]) == (each["position_side"] == "long")
        assert is_profit
        assert secured_pct > Decimal("0.2999")


def assert_no_close_was_made_twice(ledger):
    generations = Counter(
        (each["metadata"]["lifecycle_id"], each["metadata"]["generation"]) for each in ledger.exits
    )
    assert set(generations.values()) == {1}
    exits = {each["signal_id"] for each in ledger.exits}
    orders = Counter(row["signal_id"] for row in ledger.orders_of_exits if row["signal_id"] in exits)
    assert set(orders.values()) == {1}


def assert_nothing_more_than_the_live_size_was_closed(ledger):
    held = Counter()
    for fill in ledger.fills:
        size = fill["filled_quantity"] * (1 if fill["side"].lower() == "buy" else -1)
        before = held[fill["asset"]]
        if fill["live_size"] is not None:
            assert before * size < 0, "an exit opened or added"
            assert abs(size) <= abs(before) == Decimal(fill["live_size"])
        held[fill["asset"]] += size
    assert {symbol for symbol, size in held.items() if size} == set()


async def test_every_rule_closes_its_position_once_and_never_more_than_is_held(database_url, amqp_url):
    demo = Demo(
        database_url, amqp_url, module="sandbox.exits_demo", DEMO_TIME_LIMIT_SECONDS=str(LIMIT_S - 20)
    )

    code, out, err = await demo.run(LIMIT_S)

    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert list(result) == [case.name for case in CASES]
    ledger = await ledger_of(database_url)
    for case in CASES:
        assert result[case.name] >= case.stages
        assert f"EXIT {case.rule} at " in out
        assert f"({case.name})" in out
    assert_reasons_are_recorded(ledger)
    assert_exits_are_on_the_right_side_of_the_entry(ledger)
    assert_no_close_was_made_twice(ledger)
    assert_nothing_more_than_the_live_size_was_closed(ledger)
    assert ledger.open_positions == []
    assert demo.remains() == []


async def test_what_did_not_fire_in_time_is_named_and_a_used_account_is_refused(database_url, amqp_url):
    demo = Demo(database_url, amqp_url, module="sandbox.exits_demo", DEMO_TIME_LIMIT_SECONDS="0.1")

    code, _, err = await demo.run(LIMIT_S)
    code_again, _, err_again = await demo.run(LIMIT_S)

    assert code == 1
    assert all(case.name in err for case in CASES)
    assert code_again == 78
    assert "has been traded in this database" in err_again
