"""An operator sees what the fleet does as it does it, and steers it: signals, skips, versions, states."""

import re

import pytest
from playwright.async_api import expect

from inference.core.reasons import Reason

HOSTILE = '<img src=x onerror="window.hostile=1"><script>window.hostile=1</script>&amp;'


async def test_a_signal_arrives_while_the_page_is_open(looking, fleet):
    async with looking() as operator:
        await operator.is_live()
        feed = operator.section("decisions").locator("li[data-signal]")
        await expect(feed.first).to_be_visible()
        [newest] = await fleet.rows("SELECT max(timestamp) AS at FROM trading_signals")

        [later] = await fleet.until(
            "SELECT signal_id, asset, side FROM trading_signals WHERE timestamp > $1"
            " AND metadata->>'rule_triggered' IS NULL ORDER BY timestamp LIMIT 1",
            newest["at"],
        )

        entry = operator.page.locator(f'li[data-signal="{later["signal_id"]}"]')
        await expect(entry).to_contain_text(later["asset"])
        await expect(entry).to_contain_text(later["side"])


async def test_the_page_says_why_there_was_no_signal(looking, fleet):
    await fleet.until("SELECT 1 FROM skip_counts LIMIT 1")

    async with looking() as operator:
        reasons = (await operator.see("skips")).locator(".reasons li")
        await expect(reasons.first).to_be_visible()
        codes = await reasons.locator("code").all_text_contents()
        said = await reasons.first.inner_text()

        assert set(codes) <= {str(reason) for reason in Reason}
        assert re.search(r"[A-Z].*\.", said)


async def test_a_version_is_activated_once_the_operator_has_said_why(looking, fleet):
    await fleet.until("SELECT 1 FROM model_versions WHERE strategy_id = 'momentum'")
    [trained] = await fleet.rows("SELECT version FROM model_versions WHERE strategy_id = 'momentum' LIMIT 1")
    version = trained["version"]

    async with looking() as operator:
        await expect(operator.strategy("momentum")).to_contain_text("warm-up")
        await operator.page.get_by_role("button", name=f"Activate {version}").click()
        assert await fleet.rows("SELECT 1 FROM activations WHERE strategy_id = 'momentum'") == []

        await operator.confirm("Activate", reason="its lift is proven")

        await expect(operator.strategy("momentum").locator(".badge.model")).to_have_text(version)
        await expect(operator.page.locator(f'tr[data-version="{version}"]')).to_contain_text("active")
        replicas = (await operator.see("fleet")).get_by_role("table", name="Replicas")
        await expect(replicas).to_contain_text("serving")
    [entry] = await fleet.rows(
        "SELECT version, actor, reason FROM activations WHERE strategy_id = 'momentum'"
    )
    assert entry == {"version": version, "actor": "anna", "reason": "its lift is proven"}


async def test_a_question_that_is_cancelled_changes_nothing(looking, fleet):
    before = await fleet.rows("SELECT * FROM trading_state_changes")

    async with looking() as operator:
        await operator.page.get_by_role("button", name="Pause reversal").click()
        await operator.page.get_by_role("button", name="Cancel", exact=True).click()

        await expect(operator.page.get_by_role("dialog")).to_have_count(0)
        await expect(operator.page.get_by_role("button", name="Pause reversal")).to_be_focused()
    assert await fleet.rows("SELECT * FROM trading_state_changes") == before


async def test_a_pause_needs_a_reason_and_everybody_sees_it(looking, fleet):
    async with looking() as operator, looking() as colleague:
        await colleague.is_live()
        await operator.page.get_by_role("button", name="Pause reversal").click()
        dialog = operator.page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Pause", exact=True).click()
        await expect(dialog).to_be_visible()

        await operator.confirm("Pause", reason="news at noon")

        for page in (operator, colleague):
            row = page.strategy("reversal")
            await expect(row.get_by_role("button", name="Pause reversal")).to_have_attribute(
                "aria-pressed", "true"
            )
            await expect(row).to_contain_text("anna: news at noon")
        await operator.page.get_by_role("button", name="Resume reversal").click()
        await operator.confirm("Resume", reason="it is over")
        await expect(colleague.strategy("reversal")).to_contain_text("it is over")
    [newest] = await fleet.rows("SELECT state, actor FROM trading_states WHERE scope = 'strategy:reversal'")
    assert newest == {"state": "ACTIVE", "actor": "anna"}


async def test_markup_in_a_reason_is_shown_as_text(looking, fleet):
    async with looking() as operator:
        await operator.page.get_by_role("button", name="Reduce reversal").click()
        await operator.confirm("Reduce", reason=HOSTILE, actor="<b>eve</b>")

        await expect(operator.strategy("reversal")).to_contain_text(HOSTILE)
        await expect(operator.strategy("reversal")).to_contain_text("<b>eve</b>")
        assert await operator.page.locator("img, section b").count() == 0
        assert await operator.page.evaluate("window.hostile") is None
        await operator.page.get_by_role("button", name="Resume reversal").click()
        await operator.confirm("Resume", reason="tried")
        await expect(operator.strategy("reversal")).to_contain_text("tried")
        assert operator.complaints == []


async def test_a_training_is_asked_for_and_watched(looking, fleet):
    await fleet.until(
        "SELECT 1 FROM model_versions WHERE strategy_id = 'reversal'"
        " AND NOT EXISTS (SELECT 1 FROM training_runs WHERE state IN"
        " ('requested', 'building', 'ready', 'running') AND strategy_id = 'reversal')"
    )

    async with looking() as operator:
        await operator.page.get_by_role("button", name="Train …").click()
        await operator.page.get_by_role("dialog").get_by_label("Strategy").select_option("reversal")
        await operator.confirm("Train")

        section = await operator.see("training")
        await expect(section.locator("progress").first).to_be_visible()
        [run] = await fleet.until(
            "SELECT run_id FROM training_runs WHERE trigger = 'manual' ORDER BY requested_at DESC LIMIT 1"
        )
        await fleet.until(
            "SELECT 1 FROM training_runs WHERE run_id = $1 AND finished_at IS NOT NULL", run["run_id"]
        )
        await expect(section.get_by_role("table", name="Runs that ended")).to_contain_text("manual")
        await expect(section.locator("progress")).to_have_count(0)


@pytest.mark.parametrize(
    "section", ["market", "skips", "positions", "fleet", "performance", "letters", "alerts"]
)
async def test_every_section_shows_something(looking, section):
    async with looking() as operator:
        body = operator.section(section).locator(".body")

        await expect(body).not_to_have_attribute("aria-busy", "true")
        await expect(operator.section(section).locator(".failure")).to_be_hidden()
        assert (await body.inner_text()).strip() or await body.locator("svg").count()
