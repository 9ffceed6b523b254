"""The command line without an API behind it: sentences, tables, exit codes, and what is loaded when."""

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli import main
from api.cli.service import ExitCode, Failed, Service, service
from api.cli.tables import Column, write_details, write_page, write_table
from api.cli.text import flattened, plain, printable, span
from api.cli.waiting import step, wait_for
from api.cli.why import SENTENCES, why
from inference.core.reasons import Reason

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SKIP: dict[str, object] = {
    "strategy_id": "momentum",
    "symbol": "BTCUSDT",
    "decided_at": "2026-03-01T11:59:58Z",
    "outcome": "skip",
    "version": None,
    "facts": {},
}


def skipped(reason, **facts):
    return why(SKIP | {"reason": reason, "facts": facts}, NOW).splitlines()


def test_every_reason_of_inference_has_a_sentence_and_there_is_no_other():
    assert set(SENTENCES) == set(map(str, Reason))


@pytest.mark.parametrize(
    ("reason", "facts", "figures"),
    [
        ("vector_stale", {"age_s": 75.25, "limit_s": 60.0}, "They are 75.25 s old, 60 s are allowed."),
        ("not_finite", {"features": ["a", "b"]}, "It concerns a, b."),
        (
            "hold",
            {"probabilities": {"-1": 0.2, "0": 0.38, "1": 0.42}, "threshold": 0.5, "lead": 0.22},
            "The likelier side is up: 0.42, 0.22 more than the other; 0.5 is asked for.",
        ),
        (
            "open_order",
            {"orders": [{"order_id": "EX-81", "side": "buy", "status": "partially_filled"}]},
            "EX-81 buy partially_filled.",
        ),
        (
            "position_limit",
            {"held_quote": "40", "exposure_quote": "40", "position_size_norm": 1.0, "limit": 0.6},
            "It holds 40 of 40, a ratio of 1; 0.6 is the limit.",
        ),
    ],
)
def test_the_figures_of_the_gate_are_told(reason, facts, figures):
    head, meaning, told, *_ = skipped(reason, **facts)

    assert head == f"momentum on BTCUSDT: no signal 2 s ago, {reason} (warm-up)."
    assert meaning == f"  {SENTENCES[reason][0]}"
    assert told == f"  {figures}"


def test_figures_that_no_sentence_tells_are_listed():
    assert skipped("hold", sign_confidence=0.52, expected={"move": 0.001})[2:] == [
        "  sign_confidence 0.52; expected.move 0.001"
    ]


def test_a_reason_of_a_newer_fleet_is_shown_by_its_name():
    assert skipped("moon_phase", angle=12) == [
        "momentum on BTCUSDT: no signal 2 s ago, moon_phase (warm-up).",
        "  angle 12",
    ]


def test_a_signal_is_told_with_its_reasoning():
    facts = {"side": "buy", "amount": 120.5, "price": 57000.0, "confidence": 0.61, "reasoning": "it leads"}
    told = why(SKIP | {"outcome": "signal", "version": "v3", "facts": facts}, NOW)

    assert told.splitlines() == [
        "momentum on BTCUSDT: a signal 2 s ago, by v3.",
        "  buy for 120.5 at 57000, confidence 0.61.",
        "  it leads",
    ]


def test_an_old_decision_says_that_something_stands_still():
    told = why(SKIP | {"reason": "hold"}, NOW + timedelta(minutes=5))

    assert "5 min 2 s ago" in told
    assert "Nothing was decided since" in told


@given(reason=st.sampled_from(sorted(SENTENCES)), facts=st.dictionaries(st.text(), st.text() | st.none()))
def test_no_figures_break_a_sentence_or_steer_a_terminal(reason, facts):
    told = why(SKIP | {"reason": reason, "facts": facts}, NOW)

    assert all(line == printable(line) for line in told.split("\n"))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "-"),
        (True, "yes"),
        (0.1 + 0.2, "0.3"),
        (12_345, "12345"),
        ("2026-03-01T12:00:00.123456+02:00", "2026-03-01 10:00:00Z"),
        ("2026-03-01 is no time", "2026-03-01 is no time"),
        ("two\nlines \x1b[31m", "two lines ?[31m"),
        (["a", 1], "a, 1"),
        ([], "-"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_a_value_is_a_cell(value, cell):
    assert plain(value) == cell


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7200, "2 h 0 min"), (90_000, "1 d 1 h")],
)
def test_a_span_has_two_units(seconds, said):
    assert span(seconds) == said


def test_nested_objects_become_one():
    assert flattened({"a": {"b": {"c": 1}, "d": {}}, "e": 2}) == {"a.b.c": 1, "a.d": {}, "e": 2}


def test_a_table_away_from_a_terminal_is_plain_and_never_cut(capsys):
    write_table(
        [{"n": 1, "why": "long " * 100}, {"n": 20, "why": "HALTED"}],
        [Column("n", "n", True), Column("why", "why")],
    )

    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading == " n  why"
    assert first == f" 1  {('long ' * 100).strip()}"
    assert second == "20  HALTED"


def test_what_looks_like_markup_is_shown_as_it_is(capsys):
    write_table([{"reason": "[red]x[/red] [/]"}], [Column("reason", "reason")])

    assert "[red]x[/red] [/]" in capsys.readouterr().out


def test_a_page_says_how_much_of_the_whole_it_is(capsys):
    write_page({"items": [{"v": "v1"}], "total": 12}, [Column("version", "v")])
    write_page({"items": [], "total": 0}, [Column("version", "v")], "no version")

    assert capsys.readouterr().out.splitlines() == ["version", "v1", "1 of 12", "no version"]


def test_details_show_lists_of_objects_as_tables(capsys):
    write_details({"id": "x", "lineage": {"symbol": "BTCUSDT"}, "files": [{"name": "a", "state": "ok"}]})

    assert capsys.readouterr().out.splitlines() == [
        "id              x",
        "lineage.symbol  BTCUSDT",
        "",
        "files",
        "name  state",
        "a     ok",
    ]


def answering(status, body, headers=None):
    def answer(request):
        return httpx.Response(status, content=body, headers=headers)

    return Service("http://api", "key", httpx.MockTransport(answer))


def problem(code, detail="it is so"):
    return json.dumps({"status": 409, "detail": detail, "code": code}).encode()


@pytest.mark.parametrize(
    ("status", "body", "headers", "exit_code", "sentence"),
    [
        (409, problem("stale"), {}, ExitCode.REFUSED, "it is so (stale)"),
        (
            429,
            problem("queue_full"),
            {"Retry-After": "60"},
            ExitCode.REFUSED,
            "ask again in 60 s (queue_full)",
        ),
        (401, problem("unauthorized"), {}, ExitCode.KEY_REFUSED, "(unauthorized)"),
        (403, problem("read_only"), {}, ExitCode.KEY_REFUSED, "(read_only)"),
        (429, problem("too_many_attempts"), {"Retry-After": "9"}, ExitCode.KEY_REFUSED, "in 9 s"),
        (503, problem("unavailable"), {"X-Trace-ID": "t-1"}, ExitCode.NOT_REACHABLE, "trace id t-1"),
        (500, problem("internal_error"), {"X-Trace-ID": "t-1"}, ExitCode.REFUSED, "trace id t-1"),
        (200, b"<html>", {}, ExitCode.NOT_REACHABLE, "not as the API does"),
        (302, b"", {"Location": "http://elsewhere"}, ExitCode.NOT_REACHABLE, "not as the API does"),
        (404, b'"gone"', {}, ExitCode.REFUSED, '"gone"'),
    ],
)
def test_what_the_api_refuses_is_one_sentence_and_an_exit_code(status, body, headers, exit_code, sentence):
    with pytest.raises(Failed) as caught:
        answering(status, body, headers).get("models")

    assert caught.value.exit_code is exit_code
    assert sentence in str(caught.value)


def test_an_error_of_a_stranger_steers_no_terminal():
    with pytest.raises(Failed, match=r"\?\[2J owned") as caught:
        answering(409, problem("x", "\x1b[2J\nowned")).get("models")

    assert "\n" not in str(caught.value)


def test_requests_carry_the_key_and_leave_out_what_is_not_said():
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, json={})

    asked = Service("http://api", "key", httpx.MockTransport(answer))
    asked.get("models", strategy_id=None, is_active=True)
    asked.post("strategies", "a/b ?", "rollback", body={"reason": "r", "to": None})

    assert [request.headers["X-API-Key"] for request in seen] == ["key", "key"]
    assert str(seen[0].url) == "http://api/api/v1/models?is_active=true"
    assert seen[1].url.raw_path == b"/api/v1/strategies/a%2Fb%20%3F/rollback"
    assert json.loads(seen[1].content) == {"reason": "r"}


@pytest.mark.parametrize(
    ("environment", "exit_code"),
    [
        ({}, ExitCode.KEY_REFUSED),
        ({"MODEL_SERVICE_API_KEY": "two words"}, ExitCode.KEY_REFUSED),
        ({"MODEL_SERVICE_API_KEY_FILE": "/nowhere/key"}, ExitCode.KEY_REFUSED),
        ({"MODEL_SERVICE_API_KEY": "k", "FLOTILLA_URL": "api:4500"}, ExitCode.USAGE),
        ({"MODEL_SERVICE_API_KEY": "k", "FLOTILLA_URL": "http://me:key@api"}, ExitCode.USAGE),
    ],
)
def test_an_environment_that_names_no_api_or_no_key_is_said(environment, exit_code):
    with pytest.raises(Failed) as caught:
        service(environment)

    assert caught.value.exit_code is exit_code


def run(state, **progress):
    return {"state": state, "progress": progress or None}


@pytest.mark.parametrize(
    ("now", "behind", "doing"),
    [
        (run("requested"), 0, "requested"),
        (run("building"), 1, "building"),
        (run("running"), 3, "fetch"),
        (run("running", stage="fit", round=7), 5, "fit, round 7"),
        (run("running", stage="polish"), 3, "polish"),
        (run("rejected"), 8, "rejected"),
    ],
)
def test_a_run_has_so_many_steps_behind_it(now, behind, doing):
    assert step(now) == (behind, doing)


def test_waiting_outlasts_an_api_that_is_restarted(capsys):
    answers = iter(
        [httpx.Response(503, json={"detail": "not now"}), httpx.Response(200, json=run("succeeded"))]
    )
    restarting = Service("http://api", "key", httpx.MockTransport(lambda _: next(answers)))

    assert wait_for(restarting, "r", poll_s=0).value["state"] == "succeeded"
    assert capsys.readouterr().err == "succeeded\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_waiting_on_a_terminal_shows_a_bar_with_the_step(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    answers = iter(
        httpx.Response(200, json=each) for each in (run("running", stage="fit", round=7), run("succeeded"))
    )
    heard = Terminal()
    with redirect_stderr(heard):
        ended = wait_for(
            Service("http://api", "key", httpx.MockTransport(lambda _: next(answers))), "r", poll_s=0.3
        )

    assert ended.value["state"] == "succeeded"
    assert "fit, round 7" in heard.getvalue()
    assert "\x1b[" in heard.getvalue()


def test_a_narrow_terminal_folds_and_cuts_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    seen = Terminal()
    with redirect_stdout(seen):
        write_table(
            [{"id": "0123456789" * 4, "state": "HALTED"}], [Column("id", "id"), Column("state", "state")]
        )

    shown = re.sub(r"\x1b\[[0-9;]*m", "", seen.getvalue())
    assert "".join(re.findall(r"\d+", shown)) == "0123456789" * 4
    assert "\x1b[31mHALTED" in seen.getvalue()


def test_whoever_interrupts_a_wait_learns_that_the_run_goes_on(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    said = io.StringIO()
    monkeypatch.setenv("MODEL_SERVICE_API_KEY", "k")
    with redirect_stderr(said), pytest.raises(BaseException) as caught:  # noqa: PT011 - typer's Exit is none of ours
        wait_for(Service("http://api", "key", httpx.MockTransport(interrupted)), "r-1")

    assert getattr(caught.value, "exit_code", None) == 130
    assert "run r-1 goes on" in said.getvalue()


def test_an_api_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("FLOTILLA_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MODEL_SERVICE_API_KEY", "k")
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()) as out:
        code = main(["alerts"])

    assert (code, out.getvalue()) == (3, "")
    assert said.getvalue().startswith("flotilla: http://127.0.0.1:1 does not answer")
    assert said.getvalue().count("\n") == 1


def test_the_command_line_loads_no_service_and_no_model_library():
    heavy = ["litestar", "faststream", "sqlalchemy", "plotly", "pydantic", "structlog", "common", "httpx"]
    asked = f"import sys, api.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
