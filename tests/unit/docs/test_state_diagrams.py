"""Decides whether the diagrams of docs/architecture.md name exactly the states that the code knows."""

import re
from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint, Table

from common.core.exits.dispatch import Answer
from common.tables import signal_outbox, training_runs
from common.training_runs import State

PAGE = Path(__file__).resolve().parents[3] / "docs" / "architecture.md"
DIAGRAM = re.compile(r"<!-- states: (\w+) -->\n```mermaid\nstateDiagram-v2\n(.*?)```", re.DOTALL)
ARROW = re.compile(r"^ *(\w+|\[\*\]) --> (\w+|\[\*\])(?:: .+)?$", re.MULTILINE)


@pytest.mark.parametrize("table", [training_runs, signal_outbox], ids=lambda table: table.name)
def test_a_diagram_has_the_states_that_its_table_allows(table: Table) -> None:
    assert _drawn()[table.name] == _allowed(table)


def test_the_diagram_of_the_exits_has_the_answers_of_the_code() -> None:
    assert _drawn()["exits"] == set(Answer)


def test_the_table_of_the_runs_allows_the_states_of_the_code() -> None:
    assert _allowed(training_runs) == set(State)


def test_every_line_of_a_diagram_is_an_arrow() -> None:
    lines = [line for _, body in DIAGRAM.findall(PAGE.read_text()) for line in body.splitlines()]
    assert lines
    assert [line for line in lines if not ARROW.match(line)] == []


def _drawn() -> dict[str, set[str]]:
    found = DIAGRAM.findall(PAGE.read_text())
    return {name: {end for arrow in ARROW.findall(body) for end in arrow} - {"[*]"} for name, body in found}


def _allowed(table: Table) -> set[str]:
    [check] = [
        each
        for each in table.constraints
        if isinstance(each, CheckConstraint) and str(each.name).endswith("_state_check")
    ]
    return set(re.findall(r"'(\w+)'", str(check.sqltext)))
