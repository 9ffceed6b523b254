"""A whole fit on a synthetic market: proven, reproducible, and honest where there is nothing to learn."""

import msgspec
import numpy as np
import polars as pl
import pytest
import xgboost
from tests.unit.trainer import market_files

from common import artifacts
from common.core.calibration import calibrate
from common.model_directory import ModelDirectory
from trainer import fit
from trainer.core.metrics import classification
from trainer.core.promotion import Policy, Rules, judge
from trainer.export import score
from trainer.job import ONNX, UBJ, ChampionFile

ROWS = (4000, 1200, 1200)
HONEST = Rules(policy=Policy.HONEST, min_effective_rows=200, min_accuracy=0.75)


def fitted(directory, *, edge, change=lambda frames: frames, **changes):
    directory.mkdir(exist_ok=True)
    market_files.write(change(market_files.frames(ROWS, edge=edge)), directory)
    result = fit.run(market_files.job(ROWS, edge=edge, **changes), directory)
    assert result.rejection is None
    return result.fitted


@pytest.fixture(scope="module")
def foreseen(tmp_path_factory):
    """A directory, and what was fitted there on a market that can be foreseen."""
    directory = tmp_path_factory.mktemp("foreseen")
    return directory, fitted(directory, edge=0.2)


def test_a_market_that_can_be_foreseen_gives_a_version_that_is_accepted(foreseen):
    _, found = foreseen

    assert judge(found.evidence, HONEST).verdict == "accepted"
    assert found.evidence.effective_rows == 300
    assert found.parity.decision_flips == 0
    assert found.parity.relative_difference < 1e-4
    assert min(found.parity.rows.values()) > 100


def test_a_market_without_an_edge_is_never_accepted(tmp_path):
    assert judge(fitted(tmp_path, edge=0.0).evidence, HONEST).verdict == "refused"


def test_two_features_that_know_the_label_together_are_quarantined(tmp_path):
    def leak(frames):
        coin = np.random.default_rng(1)

        def halves(frame):
            noise = coin.standard_normal(len(frame))
            return frame.with_columns(one=frame["target"] + noise, other=pl.Series(noise))

        return {name: halves(frame) for name, frame in frames.items()}

    decision = judge(fitted(tmp_path, edge=0.0, change=leak).evidence, HONEST)

    assert decision.verdict == "quarantined"
    assert "a feature knows the label" in decision.sentence


def test_the_same_data_and_seed_give_the_same_bytes(tmp_path):
    one, other = (fitted(tmp_path / name, edge=0.1, threads=2) for name in ("one", "other"))

    assert one.metrics == other.metrics
    forget = {"trained_at": one.manifest.trained_at}
    assert msgspec.structs.replace(other.manifest, **forget) == one.manifest
    for name in (ONNX, "model.ubj"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_the_model_ends_at_its_best_round(foreseen):
    directory, found = foreseen
    booster = xgboost.Booster({"nthread": 1}, model_file=directory / UBJ)
    validation = fit.prepare(market_files.job(ROWS, edge=0.2), directory).rows["validation"]

    losses = [
        classification(
            np.float64(booster[: rounds + 1].inplace_predict(validation.matrix())),
            validation.part.classes,
            majority=0,
        )["log_loss"]
        for rounds in range(found.rounds)
    ]

    assert booster.num_boosted_rounds() == found.rounds
    assert np.argmin(losses) == found.rounds - 1


def test_the_golden_rows_are_what_the_served_file_answers(foreseen):
    directory, found = foreseen
    onnx = (directory / ONNX).read_bytes()

    rows = np.array([[np.nan if v is None else v for v in g.features] for g in found.manifest.golden])
    answers = score(onnx, rows.astype(np.float32))

    assert answers.tolist() == [list(golden.outputs) for golden in found.manifest.golden]
    assert any(None in golden.features for golden in found.manifest.golden)
    assert any(None not in golden.features for golden in found.manifest.golden)
    assert sum(calibrate(answers[0].tolist(), found.manifest.calibration)) == pytest.approx(1)


def test_a_champion_is_scored_from_its_own_bytes_on_the_same_rows(foreseen, tmp_path):
    directory, first = foreseen
    root = tmp_path / "models"
    files = {ONNX: (directory / ONNX).read_bytes()}
    named = msgspec.structs.replace(first.manifest, version="v1")
    sha256 = artifacts.write(ModelDirectory(root), "v1", named, files)
    champion = ChampionFile(version="v1", sha256=sha256, root=str(root))

    found = fitted(tmp_path / "second", edge=0.2, champion=champion)

    assert found.evidence.champion.accuracy == pytest.approx(first.evidence.accuracy)


def test_a_champion_whose_bytes_changed_does_not_hold_its_place(tmp_path):
    champion = ChampionFile(version="v1", sha256="ab" * 32, root=str(tmp_path / "models"))

    found = fitted(tmp_path / "second", edge=0.2, champion=champion)

    assert found.evidence.champion is None
    assert any(note.startswith("champion v1 could not be scored") for note in found.notes)
    assert found.evidence.unscored.startswith("champion v1 could not be scored")
