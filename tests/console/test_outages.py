"""What the page says when something does not answer, and that it comes back by itself."""

from playwright.async_api import expect


async def test_a_section_that_fails_does_so_alone(looking, fleet):
    async with looking(signed_in=False) as operator:
        await operator.page.route("**/api/v1/positions", _fails)
        await operator.sign_in(fleet.key)

        failed = operator.section("positions").locator(".failure")
        await expect(failed).to_contain_text("the database did not answer in time")
        await expect(operator.strategy("momentum")).to_be_visible()
        await expect(operator.section("market").locator(".failure")).to_be_hidden()

        await operator.page.unroute("**/api/v1/positions")
        await failed.get_by_role("button", name="Try again").click()
        await expect(failed).to_be_hidden()


async def test_the_page_outlives_the_api(looking, fleet):
    async with looking() as operator:
        await operator.is_live()

        await fleet.stop("api")
        try:
            await expect(operator.page.locator("#link")).to_have_attribute("data-state", "waiting")
            await expect(operator.page.locator("#link-text")).to_contain_text("again in")
            await operator.page.keyboard.press("r")
            await expect(operator.section("overview").locator(".failure")).to_contain_text("does not answer")
            await expect(operator.strategy("momentum")).to_be_visible()
        finally:
            await fleet.start("api")

        await expect(operator.page.locator("#link")).to_have_attribute("data-state", "live", timeout=60_000)
        await expect(operator.section("overview").locator(".failure")).to_be_hidden()


async def test_the_page_outlives_the_database(looking, fleet):
    async with looking() as operator:
        await expect(operator.strategy("momentum")).to_be_visible()

        async with fleet.database_away():
            await operator.page.keyboard.press("r")
            await expect(operator.section("overview").locator(".failure")).to_contain_text("database")
            await expect(operator.strategy("momentum")).to_be_visible()

        await expect(operator.section("overview").locator(".failure")).to_be_hidden(timeout=60_000)


async def test_a_key_that_was_changed_meanwhile_asks_for_the_new_one(looking):
    async with looking() as operator:
        await expect(operator.strategy("momentum")).to_be_visible()
        await operator.page.route("**/api/v1/**", _refuses)

        await operator.page.keyboard.press("r")

        await expect(operator.page.get_by_role("alert")).to_contain_text("refused the key")
        await expect(operator.page.get_by_label("API key")).to_be_focused()


async def _fails(route):
    detail = "the database did not answer in time; try again"
    await route.fulfill(status=503, json={"code": "unavailable", "detail": detail})


async def _refuses(route):
    await route.fulfill(status=401, json={"code": "unauthorized", "detail": "X-API-Key is missing or wrong"})
