import io
import json
import logging

import pytest
import structlog

from common import tracing
from common.telemetry import configure_logging, without_credentials


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("inference", "INFO", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_line_is_one_json_object_whatever_the_input(lines):
    log = structlog.get_logger("inference.test")

    log.info("something happened", value='a"b\r\n\x1b[31mc', number=1)
    logging.getLogger("other.library").warning("plain %s", "text")

    structured, plain = lines()
    assert structured["event"] == "something happened"
    assert structured["value"] == 'a"b\r\n\x1b[31mc'
    assert (structured["service"], structured["level"]) == ("inference", "info")
    assert plain["event"] == "plain text"


def test_a_line_carries_the_bound_trace_id(lines):
    with tracing.bound("trace-1", strategy_id="momentum"):
        structlog.get_logger("inference.test").info("inside")

    assert lines()[0]["trace_id"] == "trace-1"
    assert lines()[0]["strategy_id"] == "momentum"


def test_passwords_in_urls_and_endless_values_are_cut(lines):
    log = structlog.get_logger("inference.test")

    log.error("failed", reason="amqp://u:s3cret@h/", body="x" * 5000, facts={"url": ["http://a:s3cret@b"]})

    assert lines()[0]["reason"] == "amqp://u:***@h/"
    assert lines()[0]["facts"] == {"url": ["http://a:***@b"]}
    assert len(lines()[0]["body"]) == 2000


def test_the_end_of_a_long_traceback_is_kept(lines):
    def deep(left):
        if left:
            deep(left - 1)
        raise ValueError("what it was about")

    try:
        deep(60)
    except ValueError:
        structlog.get_logger("inference.test").exception("failed")

    assert lines()[0]["exception"].endswith("ValueError: what it was about")
    assert len(lines()[0]["exception"]) < 2100


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("postgresql+asyncpg://me:pw@db:5432/x failed", "postgresql+asyncpg://me:***@db:5432/x failed"),
        ("no url here: a:b@c", "no url here: a:b@c"),
    ],
)
def test_credentials_are_hidden(text, harmless):
    assert without_credentials(text) == harmless


@pytest.mark.parametrize("hostile", [None, 7, "", "a b", "x" * 65, "a\nb", "\x1b[0m", b"bytes"])
def test_a_trace_id_that_could_do_harm_is_replaced(hostile):
    replaced = tracing.accepted(hostile)

    assert replaced != hostile
    assert tracing.accepted(replaced) == replaced


def test_a_harmless_trace_id_is_kept():
    assert tracing.accepted("hdr-10eb57ce") == "hdr-10eb57ce"


@pytest.mark.parametrize(
    "said",
    [
        "postgresql://flotilla:c4nary@db:5432/fleet",
        "postgresql+asyncpg://flotilla:c4nary@db/fleet?ssl=require",
        "cannot connect to amqps://flotilla:c4nary@broker:5671/%2F\r\n\x1b[31mand went on",
        "two: amqp://a:c4nary@h/, https://b:c4nary@h/",
    ],
)
def test_no_password_of_a_url_and_no_second_line_reaches_the_log(lines, said):
    log = structlog.get_logger("inference.test")

    log.error("failed", reason=said, nested={"deep": [said]})
    log.error(said)

    assert len(lines()) == 2
    assert "c4nary" not in str(lines())
