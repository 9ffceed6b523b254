"""The key: asked for once, kept in the tab, never in an address; and what a key may not do."""

from playwright.async_api import expect
from tests.console.operator_page import READ_ONLY_KEY


async def test_a_wrong_key_opens_nothing_and_is_not_kept(looking):
    async with looking(key="wrong") as operator:
        await expect(operator.page.get_by_role("alert")).to_have_text("This key is not the API’s.")
        await expect(operator.page.locator("#frame")).to_be_hidden()
        assert await operator.page.evaluate("sessionStorage.length + localStorage.length") == 0


async def test_the_key_stays_in_the_tab_and_out_of_every_address(looking, fleet):
    async with looking() as operator:
        asked = []
        operator.page.on("request", lambda request: asked.append(request.url))
        await operator.is_live()
        await operator.page.reload()
        await expect(operator.strategy("momentum")).to_be_visible()

        assert asked
        assert not [url for url in (*asked, operator.page.url) if fleet.key in url]
        assert await operator.page.evaluate("sessionStorage.getItem('flotilla.key')") == fleet.key
        assert await operator.page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"


async def test_signing_out_forgets_the_key_and_the_figures(looking):
    async with looking() as operator:
        await expect(operator.strategy("momentum")).to_be_visible()

        await operator.page.get_by_role("button", name="Sign out").click()

        await expect(operator.page.get_by_label("API key")).to_be_focused()
        assert await operator.page.locator("tr").count() == 0
        assert await operator.page.evaluate("sessionStorage.getItem('flotilla.key')") is None


async def test_a_key_that_only_reads_shows_everything_and_changes_nothing(looking, fleet):
    async with looking(key=READ_ONLY_KEY) as operator:
        await expect(operator.strategy("momentum")).to_be_visible()
        await operator.page.get_by_role("button", name="Pause momentum").click()
        dialog = await operator.confirm("Pause", reason="trying")

        await expect(dialog.get_by_role("alert")).not_to_be_empty()
        await expect(operator.page.locator("#read-only")).to_be_visible()
    assert await fleet.rows("SELECT 1 FROM trading_states WHERE scope = 'strategy:momentum'") == []


async def test_nothing_on_the_page_breaks_its_own_policy(looking):
    async with looking() as operator:
        answer = await operator.page.request.get(f"{operator.url}/console")
        await operator.is_live()
        await operator.charts_drawn()

        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert operator.complaints == []
