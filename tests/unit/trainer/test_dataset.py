"""What a dataset must be like: each fault rejects with its reason, what is harmless is only noted."""

from datetime import timedelta

import polars as pl
import pytest
from tests.unit.trainer import market_files

from trainer.core.dataset import NANOSECONDS, Prepared, Rejection, Rules, prepare
from trainer.reading import read_split

ROWS = (600, 200, 200)
EDGE = 0.1
HORIZON_ROWS = market_files.HORIZON_BARS


def rules(**changes):
    values = {
        "horizon_s": 2.0,
        "min_train_rows": 500,
        "excluded": frozenset({"mid_price"}),
        "test_end_ns": round(market_files.test_end(ROWS).timestamp() * NANOSECONDS),
    }
    return Rules(**{**values, **changes})


@pytest.fixture
def frames():
    return market_files.frames(ROWS, edge=EDGE)


def prepared(frames, directory, **changes):
    market_files.write(frames, directory)
    splits = [
        read_split(directory / f"{name}.parquet", name=name, symbol="BTCUSDT")
        for name in ("train", "validation", "test")
    ]
    faults = [split for split in splits if isinstance(split, Rejection)]
    return faults[0] if faults else prepare(*splits, rules(**changes))


def test_a_good_dataset_loses_only_what_looks_into_the_next_split(frames, tmp_path):
    found = prepared(frames, tmp_path)

    assert isinstance(found, Prepared)
    assert (len(found.train), len(found.validation), len(found.test)) == (
        600 - HORIZON_ROWS,
        200 - HORIZON_ROWS,
        200,
    )
    assert found.horizon_rows == HORIZON_ROWS
    assert "mid_price" not in found.names
    assert set(found.medians) == set(found.names)
    assert found.optional == ()
    horizon_ns = 2 * NANOSECONDS
    assert found.train.at_ns[-1] + horizon_ns < found.validation.at_ns[0]
    assert found.validation.at_ns[-1] + horizon_ns < found.test.at_ns[0]
    assert "test: 1 rows at its end purged" in found.notes


def nothing(frame):
    return frame[:0]


def shuffled(frame):
    return frame.sample(fraction=1.0, shuffle=True, seed=1)


def set_target(rows, value):
    def change(frame):
        target = pl.when(pl.int_range(pl.len()) < rows).then(value).otherwise(pl.col("target"))
        return frame.with_columns(target=target.cast(pl.Float64))

    return change


def later(shift):
    return lambda frame: frame.with_columns(pl.col("timestamp") + shift)


@pytest.mark.parametrize(
    ("split", "change", "reason"),
    [
        ("train", lambda frame: frame.drop("target"), "train has no column target"),
        ("test", lambda frame: frame.drop("target"), "test has no column target"),
        ("train", nothing, "train has no rows"),
        ("validation", nothing, "validation has no rows"),
        ("validation", lambda frame: frame[-HORIZON_ROWS:], "validation has no rows left after the purge"),
        ("train", lambda frame: frame[:400], "train has 400 rows, 500 are needed"),
        ("train", set_target(7, float("nan")), "train: 7 labels are NaN"),
        ("train", set_target(3, float("inf")), "train: 3 labels are NaN"),
        ("train", set_target(3, None), "train: 3 labels are NaN"),
        ("test", set_target(2, 0.5), "test: 2 labels are neither -1 nor 0 nor 1"),
        ("train", lambda frame: frame.with_columns(target=pl.lit(1)), "train has one class only, 1"),
        ("train", shuffled, "train: 297 rows are not in time order"),
        ("train", lambda frame: pl.concat([frame[:10], frame[9:]]), "train: 1 timestamps are duplicates"),
        ("train", later(timedelta(seconds=10)), "train reaches 19 rows into validation"),
        ("validation", later(timedelta(seconds=5)), "validation reaches 9 rows into test"),
        ("validation", lambda frame: frame.drop("rsi_14"), "train and validation have different columns"),
        ("test", lambda frame: frame.drop("rsi_14"), "validation and test have different columns"),
        ("train", lambda frame: frame.drop("timestamp"), "train has no column timestamp"),
        ("train", lambda frame: frame.with_columns(symbol=pl.lit("ETHUSDT")), "train holds rows of ETHUSDT"),
    ],
)
def test_a_fault_rejects_the_dataset_with_its_reason(frames, tmp_path, split, change, reason):
    frames[split] = change(frames[split])

    found = prepared(frames, tmp_path)

    assert isinstance(found, Rejection)
    assert found.reason.startswith(reason)


def test_a_broken_file_is_rejected(frames, tmp_path):
    market_files.write(frames, tmp_path)
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(whole[: len(whole) // 2])

    found = read_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT")

    assert isinstance(found, Rejection)
    assert found.reason.startswith("train is no readable Parquet file")


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("volume_1", pl.lit(3.0), "volume_1: dropped, constant in train"),
        ("volume_1", pl.lit(None, pl.Float64), "volume_1: dropped, missing in 100% of train"),
        (
            "volume_1",
            pl.when(pl.int_range(pl.len()) > 200).then(None).otherwise(pl.col("volume_1")),
            "volume_1",
        ),
        ("volume_1", pl.lit(float("inf")), "volume_1: dropped, missing in 100% of train"),
    ],
)
def test_a_column_that_says_nothing_is_dropped_with_a_note(frames, tmp_path, name, values, note):
    frames = {split: frame.with_columns(values.alias(name)) for split, frame in frames.items()}

    found = prepared(frames, tmp_path)

    assert isinstance(found, Prepared)
    assert name not in found.names
    assert any(said.startswith(note) for said in found.notes)


def test_a_feature_missing_now_and_then_is_optional(frames, tmp_path):
    holes = pl.when(pl.int_range(pl.len()) % 20 == 0).then(None).otherwise(pl.col("volume_1"))
    frames = {split: frame.with_columns(holes.alias("volume_1")) for split, frame in frames.items()}

    found = prepared(frames, tmp_path)

    assert found.optional == ("volume_1",)
    assert "volume_1" in found.medians


def test_without_any_feature_left_there_is_no_model(frames, tmp_path):
    frames = {split: frame.select("timestamp", "mid_price", "target") for split, frame in frames.items()}

    assert prepared(frames, tmp_path).reason == "no feature is left: all are missing, constant or excluded"


def test_timestamps_in_any_unit_are_the_same_instants(frames, tmp_path):
    market_files.write(frames, tmp_path)
    micro = read_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT")
    for unit in ("ns", "ms"):
        frame = frames["train"].with_columns(pl.col("timestamp").dt.cast_time_unit(unit))
        frame.write_parquet(tmp_path / "train.parquet")
        read = read_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT")
        assert (read.at_ns == micro.at_ns).all()


def test_a_test_split_without_rows_leaves_the_rest_usable(frames, tmp_path):
    market_files.write(frames, tmp_path)
    train, validation = (
        read_split(tmp_path / f"{name}.parquet", name=name, symbol="BTCUSDT")
        for name in ("train", "validation")
    )

    found = prepare(train, validation, read_split(None, name="test", symbol="BTCUSDT"), rules())

    assert (len(found.validation), len(found.test)) == (200, 0)
