"""The gate study: its markets are what they claim, and a broken promise is said aloud."""

import msgspec
import numpy as np
import pytest
from docs import gate_study
from docs.study_markets import LEAKS, WITH_EDGE, WITHOUT_EDGE, Lengths, mostly_flat, restless


def judged(kind, *, honest):
    return gate_study.Judged(
        kind=kind,
        honest=honest,
        specification=False,
        accuracy_rule=False,
        meets_champion=False,
        verdict="accepted" if honest else "refused",
        sentence="",
        expectancy=0.0,
        trades=0,
    )


def many(kinds, *, accepted, of=20):
    return [judged(next(iter(kinds)), honest=number < accepted) for number in range(of)]


@pytest.mark.parametrize(
    ("edgeless", "paying", "leaking", "broken"),
    [
        (1, 16, 0, []),
        (2, 16, 0, ["honest accepts 10% (2) without an edge"]),
        (0, 15, 0, ["honest accepts only 75% (15) of what pays"]),
        (0, 20, 1, ["honest accepts 5% (1) of what leaks"]),
    ],
)
def test_a_broken_promise_is_named_with_its_share(edgeless, paying, leaking, broken):
    found = [
        *many(WITHOUT_EDGE, accepted=edgeless),
        *many(WITH_EDGE, accepted=paying),
        *many(LEAKS, accepted=leaking),
    ]

    assert list(gate_study._broken(found)) == broken


def test_a_study_without_verdicts_proves_nothing():
    assert len(list(gate_study._broken([]))) == 3


def test_the_tables_replace_those_on_the_page(tmp_path, monkeypatch):
    page = tmp_path / "promotion.md"
    page.write_text("a\n<!-- gate study: power -->\nold\n<!-- end of power -->\nb\n")
    monkeypatch.setattr(gate_study, "PAGE", page)

    gate_study._show("power", ["| edge |", "|---|"])
    gate_study._show("unknown", ["x"])

    assert page.read_text() == "a\n<!-- gate study: power -->\n| edge |\n|---|\n<!-- end of power -->\nb\n"


def test_the_markets_are_what_they_claim():
    flat, wild = mostly_flat(3, 4000), restless(3, 4000)

    assert 0.85 < (flat["target"] == 0).mean() < 0.96
    moves = np.abs(np.diff(np.log(wild["mid_price"])))
    by_stretch = [part.mean() for part in np.array_split(moves, 40)]
    assert max(by_stretch) > 2.5 * min(by_stretch)


@pytest.mark.parametrize("kind", LEAKS)
def test_a_planted_leak_is_refused_by_the_trainers_own_code(kind, monkeypatch):
    monkeypatch.setattr(gate_study, "MIN_EFFECTIVE_ROWS", 1.0)

    (found,) = gate_study._versions((kind, 7))

    assert found.verdict in {"rejected", "quarantined"}
    assert found.sentence


def test_no_market_is_counted_twice_and_a_hundred_have_no_edge():
    tasks = list(gate_study._tasks(30, gate_study.REPORTED_SEED))

    seeds = [seed for _, seed in tasks]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= gate_study.REPORTED_SEED
    assert sum(kind in WITHOUT_EDGE for kind, _ in tasks) >= 100


def test_the_study_judges_with_the_trainers_defaults():
    rules = gate_study.HONEST

    assert msgspec.structs.asdict(rules) == {
        "policy": "honest",
        "min_effective_rows": 1000.0,
        "min_accuracy": 0.75,
        "require_profit": False,
    }
    assert Lengths().bars() == 14_001
