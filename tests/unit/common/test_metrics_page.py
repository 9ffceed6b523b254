"""The page that Prometheus reads: what it says, and that the process goes on meanwhile."""

import asyncio
import threading

import httpx
import prometheus_client
import pytest

from common.probes import Probes


async def well():
    return None


async def page(query="", **headers):
    routes = dict(Probes("test", database=well, queue=well).routes())
    transport = httpx.ASGITransport(routes["/metrics"])
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.get(f"/metrics{query}", headers=headers)


async def test_the_tasks_of_the_loop_that_answers_are_counted():
    waiting = [asyncio.create_task(asyncio.sleep(60)) for _ in range(7)]

    found = await page()

    for task in waiting:
        task.cancel()
    tasks = next(line for line in found.text.splitlines() if line.startswith("flotilla_asyncio_tasks "))
    assert float(tasks.split()[1]) >= 8
    assert "python_info" in found.text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/plain", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
async def test_the_page_is_written_as_it_is_asked_for(accept, content_type):
    found = await page(accept=accept)

    assert found.status_code == 200
    assert found.headers["content-type"].startswith(content_type)


async def test_the_page_is_packed_for_who_unpacks_it_and_tells_what_is_named():
    packed = await page("?name[]=flotilla_asyncio_tasks", **{"Accept-Encoding": "gzip"})
    plain = await page("?name[]=flotilla_asyncio_tasks", **{"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    for found in (packed, plain):
        assert "flotilla_asyncio_tasks" in found.text
        assert "python_info" not in found.text


class Slow:
    """A figure that is told only once the event loop has turned."""

    def __init__(self):
        self.turned = threading.Event()
        self._loop = asyncio.get_running_loop()
        self.has_turned = None

    def describe(self):
        return []

    def collect(self):
        self._loop.call_soon_threadsafe(self.turned.set)
        self.has_turned = self.turned.wait(5)
        return []


async def test_the_event_loop_turns_while_the_page_is_written():
    slow = Slow()
    prometheus_client.REGISTRY.register(slow)
    try:
        await page()
    finally:
        prometheus_client.REGISTRY.unregister(slow)

    assert slow.has_turned
