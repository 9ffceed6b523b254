"""What an operator does with the console, in a browser."""

import asyncio

from playwright.async_api import expect

READ_ONLY_KEY = "5a69788796a5b4c3d2e1f00f1e2d3c4b00112233445566778899aabbccddee11"
PATIENCE_MS = 20_000

expect.set_options(timeout=PATIENCE_MS)


class Operator:
    """One window with the console; remembers what the browser complained of."""

    def __init__(self, page, url, screenshots):
        self.page = page
        self.url = url
        self.complaints = []
        self._screenshots = screenshots
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def open(self):
        await self.page.goto(f"{self.url}/console")

    async def sign_in(self, key):
        await self.page.get_by_label("API key").fill(key)
        await self.page.get_by_role("button", name="Open the console").click()

    async def is_live(self):
        await expect(self.page.locator("#link")).to_have_attribute("data-state", "live")

    def section(self, name):
        return self.page.locator(f"section#{name}")

    async def see(self, name):
        """The section, scrolled to: what is out of sight is not read again."""
        await self.section(name).scroll_into_view_if_needed()
        return self.section(name)

    def strategy(self, strategy_id):
        return self.page.locator(f'tr[data-strategy="{strategy_id}"]')

    async def confirm(self, verb, *, reason=None, actor="anna"):
        """Answers the question that is open."""
        dialog = self.page.get_by_role("dialog")
        if reason is not None:
            await dialog.get_by_role("textbox", name="Reason").fill(reason)
        await dialog.get_by_label("Your name").fill(actor)
        await dialog.get_by_role("button", name=verb, exact=True).click()
        return dialog

    async def overflow_px(self):
        """How much wider than the window the page is."""
        return await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    async def picture(self, name):
        """The whole page, kept as <name>.png."""
        await asyncio.to_thread(self._screenshots.mkdir, parents=True, exist_ok=True)
        await self.page.screenshot(path=self._screenshots / f"{name}.png", full_page=True)

    def note(self, name, value):
        """What was measured, kept as <name>.txt beside the pictures."""
        self._screenshots.mkdir(parents=True, exist_ok=True)
        (self._screenshots / f"{name}.txt").write_text(f"{value}\n")

    async def charts_drawn(self):
        await expect(self.section("market").locator(".main-svg").first).to_be_visible()
        await expect(self.section("skips").locator(".main-svg").first).to_be_visible()

    def _heard(self, message):
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")
