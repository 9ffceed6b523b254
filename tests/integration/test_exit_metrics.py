"""What an exit worker counts: every figure moves with what it names."""

from datetime import timedelta

from prometheus_client import REGISTRY
from tests.integration.exit_fleet import announced

COUNTED = {
    "triggers": ("flotilla_exit_triggers_total", {"rule": "take_profit"}),
    "signals": ("flotilla_exits_total", {"rule": "take_profit", "fate": "published"}),
    "limited": ("flotilla_exits_rate_limited_total", {"reason": "rate_limited"}),
    "debounced": ("flotilla_exits_debounced_total", {}),
    "reissued": ("flotilla_exit_reissues_total", {"rule": "take_profit"}),
    "evaluations": ("flotilla_exit_evaluation_seconds_count", {}),
    "confirms": ("flotilla_exit_confirm_seconds_count", {}),
    "prices": ("flotilla_exit_prices_total", {"source": "price_seen"}),
}


def figures():
    return {name: REGISTRY.get_sample_value(*sample) or 0 for name, sample in COUNTED.items()}


async def test_an_exit_is_counted_by_rule_with_its_pace_its_repetition_and_its_times(fleet):
    paced = {"exit_debounce_ms": 50, "exit_cooldown_seconds": 0, "exit_strategy_rate_limit": 1}
    before = figures()
    async with fleet.peer(take_profit_partial_exit=True, **paced) as peer:
        await fleet.updated("BTCUSDT", "2")
        for value in ("103.1", "103.2", "103.3"):
            await peer.worker.on_price("BTCUSDT", announced(value))
        _, first = await fleet.signal()
        await fleet.answered(first, "rejected")
        await fleet.time_passes(61)
        await peer.sweep.follow_exits()
        _, again = await fleet.signal()
        await fleet.answered(again, "filled", "1")
        await fleet.updated("BTCUSDT", "1")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE latched_rule IS NULL AND stage = 1")
        await peer.worker.on_price("BTCUSDT", announced("105.1"))
        await fleet.until(
            "SELECT 1 FROM position_lifecycles WHERE latched_rule = 'take_profit' AND stage = 2"
        )
        await peer.sweep.follow_exits()
        assert await fleet.signals() == []

    moved = {name: after - before[name] for name, after in figures().items()}
    assert {name: moved[name] for name in ("triggers", "signals", "limited", "debounced", "reissued")} == {
        "triggers": 2,
        "signals": 2,
        "limited": 1,
        "debounced": 2,
        "reissued": 1,
    }
    assert moved["evaluations"] >= 4
    assert moved["prices"] >= 4
    assert moved["confirms"] >= 0


async def test_coverage_is_the_age_of_the_newest_evaluation_and_ends_with_the_position(fleet):
    sample = ("flotilla_exit_coverage_seconds", {"symbol": "BTCUSDT"})
    async with fleet.peer() as peer:
        await fleet.updated("BTCUSDT", "0.05")
        await fleet.platform.execute(
            "UPDATE position_lifecycles SET opened_at = opened_at - $1::interval", timedelta(seconds=20)
        )
        await peer.sweep.watch_silence()
        blind_s = REGISTRY.get_sample_value(*sample)
        await peer.worker.on_price("BTCUSDT", announced("100"))
        await peer.sweep.watch_silence()
        seen_s = REGISTRY.get_sample_value(*sample)
        await fleet.closed("BTCUSDT")
        await fleet.until("SELECT 1 FROM position_lifecycles WHERE closed_at IS NOT NULL")
        await peer.sweep.watch_silence()

    assert 20 <= blind_s < 30
    assert seen_s < 10
    assert REGISTRY.get_sample_value(*sample) is None
