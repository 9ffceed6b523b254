"""The console's files: all are served, nothing else is, and none leads anywhere but to this server."""

import re
from importlib.resources import files

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from api.console import routes
from inference.core.reasons import Reason

CONSOLE = files("api.console")
SERVED = ("html", "css", "js", "svg")


def names():
    return {each.name for each in CONSOLE.iterdir() if each.name.rpartition(".")[2] in SERVED}


@pytest.fixture
def client():
    with TestClient(Litestar(routes.routes(), openapi_config=None)) as running:
        yield running


def test_every_file_has_a_path_and_every_path_a_file():
    written = {f"/console/{name}" for name in names()} - {"/console/page.html"}

    assert written | {"/console", "/console/plotly.js"} == routes.PATHS


@pytest.mark.parametrize("path", sorted(routes.PATHS))
def test_a_file_is_sent_whole_and_with_the_policy(client, path):
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})

    assert plain.status_code == 200
    assert plain.content == packed.content
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Content-Security-Policy"] == routes.POLICY
    assert plain.headers["X-Content-Type-Options"] == "nosniff"


def test_a_file_that_did_not_change_is_not_sent_again(client):
    first = client.get("/console")

    again = client.get("/console", headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert again.content == b""
    assert first.headers["Cache-Control"] == "no-cache"


def test_plotly_is_kept_for_a_year_under_an_address_of_its_version(client):
    script = client.get("/console/plotly.js")
    charts = client.get("/console/charts.js")

    assert "max-age=31536000" in script.headers["Cache-Control"]
    assert re.search(r"/console/plotly\.js\?v=\d+\.\d+", charts.text)


@pytest.mark.parametrize("name", ["page.html", "figures.py", "__init__.py", "../app.py", "..%2fapp.py"])
def test_nothing_else_of_the_package_is_sent(client, name):
    assert client.get(f"/console/{name}").status_code == 404


@pytest.mark.parametrize("name", sorted(names()))
def test_no_file_knows_another_server_or_reads_data_as_markup(name):
    text = (CONSOLE / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?://", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
    assert not re.search(r"\son\w+=|\sstyle=", text)


def test_every_reason_of_inference_has_its_sentence():
    text = (CONSOLE / "reasons.js").read_text(encoding="utf-8")
    body = text[text.index("const SENTENCES = {") : text.index("\n};")]
    told = set(re.findall(r"^  (\w+): ", body, re.MULTILINE))

    assert told == {str(reason) for reason in Reason}
