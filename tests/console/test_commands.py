"""What an operator sets right from the console: letters, positions, trainings, versions."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from playwright.async_api import expect


@pytest.mark.parametrize(("verb", "state"), [("Replay", "replayed"), ("Discard", "discarded")])
async def test_a_letter_is_read_and_settled(looking, fleet, verb, state):
    body = json.dumps({"timestamp": datetime.now(UTC).isoformat(), "unusable": verb}).encode()
    await fleet.publish("features.live", body)
    [letter] = await fleet.until("SELECT letter_id FROM dead_letters WHERE body = $1", body)

    async with looking() as operator:
        await operator.see("letters")
        row = operator.page.locator(f'tr[data-letter="{letter["letter_id"]}"]')
        await row.get_by_role("button", name="Read").click()
        await expect(operator.page.get_by_role("dialog").locator("pre").first).to_contain_text("unusable")
        await operator.page.get_by_role("button", name="Close", exact=True).click()
        await row.get_by_role("button", name=verb).click()
        await operator.confirm(verb, reason="looked at")
        await expect(row).to_have_count(0)

    [settled] = await fleet.rows(
        "SELECT state, settled_by FROM dead_letters WHERE letter_id = $1", letter["letter_id"]
    )
    assert settled == {"state": state, "settled_by": "anna"}


async def test_a_letter_whose_age_nobody_knows_is_not_sent_again(looking, fleet):
    body = b'{"unusable": "without a time"}'
    await fleet.publish("features.live", body)
    [letter] = await fleet.until("SELECT letter_id FROM dead_letters WHERE body = $1", body)

    async with looking() as operator:
        await operator.see("letters")
        row = operator.page.locator(f'tr[data-letter="{letter["letter_id"]}"]')
        await row.get_by_role("button", name="Replay").click()
        dialog = await operator.confirm("Replay", reason="looked at")

        await expect(dialog).to_contain_text("its age is not known")


async def test_a_position_is_closed_at_once(looking, fleet):
    async with looking() as operator:
        await operator.see("positions")
        for _ in range(5):
            symbol = await _asked_to_close_a_position(operator)
            with suppress(TimeoutError):
                exits = await fleet.until(
                    "SELECT asset FROM trading_signals WHERE metadata->>'rule_triggered' = 'operator'",
                    patience_s=10,
                )
                break
            # A rule was quicker, and the question says that there is nothing to close any more.
            await operator.page.keyboard.press("Escape")
        else:
            pytest.fail("no position stood for long enough to be closed")
    assert {each["asset"] for each in exits} == {symbol}
    assert await fleet.rows("SELECT 1 FROM operator_actions WHERE reason = 'news at noon' AND actor = 'anna'")


async def _asked_to_close_a_position(operator):
    offered = operator.section("positions").get_by_role("button", name="Close", exact=False)
    await expect(offered.first).to_be_visible(timeout=60_000)
    rows = operator.section("positions").locator("tr[data-symbol]")
    symbol = await rows.first.get_attribute("data-symbol")
    await operator.page.get_by_role("button", name=f"Close {symbol} now").click()
    await operator.confirm("Close the position", reason="news at noon")
    return symbol


async def test_a_training_that_waits_is_called_off(looking, fleet):
    for strategy_id in ("momentum", "reversal"):
        await _asked_to_train(fleet, strategy_id)

    async with looking() as operator:
        await operator.see("training")
        offered = operator.section("training").get_by_role("button", name="Cancel the training of")
        await expect(offered.first).to_be_visible()
        await offered.last.click()
        await operator.confirm("Cancel the training", reason="asked for the wrong one")

        [run] = await fleet.until(
            "SELECT run_id FROM training_runs WHERE cancel_reason LIKE '%asked for the wrong one%'"
        )
        await fleet.until(
            "SELECT 1 FROM training_runs WHERE run_id = $1 AND state = 'cancelled'", run["run_id"]
        )
        await expect(
            operator.section("training").get_by_role("table", name="Runs that ended")
        ).to_contain_text("cancelled")


async def test_a_strategy_goes_back_to_the_version_before(looking, fleet):
    before, after = await _two_versions(fleet, "reversal")
    for version in (before, after):
        await fleet.ask(
            "POST", f"/models/{version}/activate", reason="to go back from", actor="ben", force=True
        )

    async with looking() as operator:
        await expect(operator.strategy("reversal").locator(".badge.model")).to_have_text(after)
        await operator.see("versions")
        await operator.page.get_by_role("button", name="Roll reversal back").click()
        await operator.page.get_by_role("dialog").get_by_label("Also to a version").check()
        await operator.confirm("Roll back", reason="it was better")

        await expect(operator.strategy("reversal").locator(".badge.model")).to_have_text(before)
    [active] = await fleet.rows(
        "SELECT version FROM model_versions WHERE strategy_id = 'reversal' AND is_active"
    )
    assert active == {"version": before}


async def _two_versions(fleet, strategy_id):
    trained = "SELECT version FROM model_versions WHERE strategy_id = $1 ORDER BY trained_at"
    await fleet.until(trained, strategy_id)
    if len(await fleet.rows(trained, strategy_id)) < 2:
        await _asked_to_train(fleet, strategy_id)
        await fleet.until(f"{trained} OFFSET 1", strategy_id)
    return [row["version"] for row in (await fleet.rows(trained, strategy_id))[-2:]]


async def _asked_to_train(fleet, strategy_id):
    await fleet.until(
        "SELECT 1 WHERE NOT EXISTS"
        " (SELECT 1 FROM training_runs WHERE strategy_id = $1 AND finished_at IS NULL)",
        strategy_id,
    )
    await fleet.ask("POST", "/training/trigger", strategy_id=strategy_id)
