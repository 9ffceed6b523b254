"""The gate over whole fits: what is too good, too simple or too little is refused, in words."""

import msgspec
import polars as pl
import pytest
from tests.unit.trainer import market_files

from common import artifacts
from common.model_directory import ModelDirectory
from trainer import fit
from trainer.core.promotion import Policy, Rules, judge
from trainer.evidence import pooled
from trainer.job import ONNX, ChampionFile
from trainer.scored_rows import ROWS, read_rows

ROWS_OF = (4000, 1200, 1200)
HONEST = Rules(policy=Policy.HONEST, min_effective_rows=200, min_accuracy=0.75)
LENIENT = msgspec.structs.replace(HONEST, min_effective_rows=1)


def trained(directory, frames, *, rows=ROWS_OF, edge=0.0, **changes):
    directory.mkdir(exist_ok=True)
    market_files.write(frames, directory)
    job = market_files.job(rows, edge=edge, **changes)
    return pooled(job, directory, fit.run(job, directory), fit=fit.run)


def dealt(splits, *, stamped_anew):
    """All rows dealt to the splits at random."""
    whole = pl.concat(list(splits.values()))
    mixed = whole.sample(fraction=1.0, shuffle=True, seed=3)
    if stamped_anew:
        mixed = mixed.with_columns(timestamp=whole["timestamp"])
    lengths, found, start = [len(split) for split in splits.values()], {}, 0
    for name, length in zip(splits, lengths, strict=True):
        found[name] = mixed[start : start + length].sort("timestamp")
        start += length
    return found


def always_flat(splits):
    """Nine rows in ten are flat, and which ones are not cannot be foreseen."""
    return {
        name: split.with_columns(
            target=pl.when(pl.int_range(pl.len()) % 37 < 33).then(0).otherwise(pl.col("target"))
        )
        for name, split in splits.items()
    }


def test_a_model_that_always_names_the_majority_is_refused_however_accurate_it_is(tmp_path):
    found = trained(tmp_path, always_flat(market_files.frames(ROWS_OF, edge=0.0))).fitted

    specification = msgspec.structs.replace(HONEST, policy=Policy.SPECIFICATION)

    assert found.evidence.accuracy > 0.75
    for rules in (HONEST, specification):
        decision = judge(found.evidence, rules)
        assert (decision.verdict, decision.activate) == ("refused", False)
        assert "no proven lift over the majority class" in decision.sentence


@pytest.mark.parametrize(
    ("stamped_anew", "said"),
    [(False, "rows into validation"), (True, "the rows were shuffled, their timestamps are not their own")],
)
def test_a_shuffled_split_is_rejected(tmp_path, stamped_anew, said):
    splits = dealt(market_files.frames(ROWS_OF, edge=0.0), stamped_anew=stamped_anew)

    found = trained(tmp_path, splits)

    assert found.fitted is None
    assert said in found.rejection.reason


@pytest.mark.parametrize("name", ["target_copy", "harmless"])
def test_a_label_left_among_the_features_never_trades(tmp_path, name):
    splits = market_files.frames(ROWS_OF, edge=0.0)
    leaking = {
        part: split.with_columns((pl.col("target") * 1.0).alias(name)) for part, split in splits.items()
    }

    found = trained(tmp_path, leaking)

    if found.rejection:
        assert name in found.rejection.reason
    else:
        decision = judge(found.fitted.evidence, HONEST)
        assert decision.verdict == "quarantined"
        assert "a feature knows the label" in decision.sentence


def test_without_an_edge_nothing_is_accepted_whatever_the_rows_are_pooled_with(tmp_path):
    found = trained(tmp_path, market_files.frames(ROWS_OF, edge=0.0), evidence_effective_rows=700.0).fitted

    assert found.evidence.folds == 4
    assert found.evidence.effective_rows == pytest.approx(700, abs=10)
    assert judge(found.evidence, LENIENT).verdict == "refused"


def test_folds_are_fitted_only_while_test_is_too_short(tmp_path):
    splits = market_files.frames(ROWS_OF, edge=0.0)

    enough = trained(tmp_path / "enough", splits, evidence_effective_rows=300.0).fitted
    short = trained(tmp_path / "short", splits, evidence_effective_rows=301.0).fitted

    assert (enough.evidence.folds, enough.evidence.effective_rows) == (0, 300)
    assert short.evidence.folds == 4 or any("fold" in note for note in short.notes)


def test_earlier_runs_of_the_recipe_speak_for_a_version_whose_own_test_is_short(tmp_path):
    rows, edge = (4000, 1200, 240), 0.2
    long = market_files.frames((4000, 1200, 1200), edge=edge)
    whole = pl.concat(list(long.values()))
    files = []
    for run in range(4):
        start = run * 240
        splits = {
            "train": whole[start : start + 4000],
            "validation": whole[start + 4000 : start + 5200],
            "test": whole[start + 5200 : start + 5440],
        }
        end = whole["timestamp"][start + 5440]
        directory = tmp_path / f"run_{run}"
        found = trained(
            directory, splits, rows=rows, edge=edge, test_end=end, earlier=tuple(reversed(files))
        ).fitted
        files.append(kept(tmp_path / "models", f"v{run + 1}", directory, found.manifest))

    proof = found.evidence

    assert proof.earlier == ("v3", "v2", "v1")
    assert (proof.own_rows, proof.rows) == (240, 960)
    assert judge(proof, LENIENT).verdict == "accepted"
    assert "pooled with 3 earlier runs" in judge(proof, LENIENT).sentence


def kept(root, version, directory, manifest):
    named = msgspec.structs.replace(manifest, version=version)
    files = {name: (directory / name).read_bytes() for name in (ONNX, ROWS)}
    return ChampionFile(
        version=version, sha256=artifacts.write(ModelDirectory(root), version, named, files), root=str(root)
    )


def test_rows_of_an_earlier_version_that_changed_on_disk_are_not_pooled(tmp_path):
    splits = market_files.frames(ROWS_OF, edge=0.0)
    first = trained(tmp_path / "first", splits).fitted
    file = kept(tmp_path / "models", "v1", tmp_path / "first", first.manifest)
    (tmp_path / "models" / "v1" / ROWS).write_bytes(b"other rows")

    found = trained(tmp_path / "second", splits, earlier=(file,)).fitted

    assert found.evidence.earlier == ()
    assert any(note.startswith("test rows of v1 are not pooled") for note in found.notes)


def test_without_a_test_validation_stands_in_and_the_verdict_says_so(tmp_path):
    frames = market_files.frames(ROWS_OF, edge=0.2)
    files = {"train": "train.parquet", "validation": "validation.parquet", "test": None}

    found = trained(tmp_path, frames, edge=0.2, splits=files).fitted
    decision = judge(found.evidence, HONEST)

    assert found.evidence.source == "validation"
    assert len(read_rows((tmp_path / ROWS).read_bytes())) == found.rows["validation"]
    assert decision.activate
    assert decision.sentence.endswith("; validation stands in for the missing test")
    assert "validation accuracy 0." in decision.sentence
