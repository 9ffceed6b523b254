"""What a dataset must be like: each fault rejects with its reason, what is harmless is only noted."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from tests.unit.trainer import market_files

from trainer.core.dataset import NANOSECONDS, Rejection
from trainer.core.recipe import TargetType
from trainer.fit import Prepared, prepare
from trainer.reading import open_split

ROWS = (600, 200, 200)
EDGE = 0.1
HORIZON_ROWS = market_files.HORIZON_BARS
NUMBERS = {"target_type": TargetType.REGRESSION}
RISKS = {"target_type": TargetType.RISK_ADJUSTED, "volatility_feature": "volatility_48"}


@pytest.fixture
def frames():
    return market_files.frames(ROWS, edge=EDGE)


def prepared(frames, directory, **changes):
    market_files.write(frames, directory)
    return prepare(market_files.job(ROWS, edge=EDGE, **{"min_train_rows": 500, **changes}), directory)


def test_a_good_dataset_loses_only_what_looks_into_the_next_split(frames, tmp_path):
    found = prepared(frames, tmp_path)

    assert isinstance(found, Prepared)
    rows, columns = found.usable, found.columns
    assert {name: len(each) for name, each in found.rows.items()} == {
        "train": 600 - HORIZON_ROWS,
        "validation": 200 - HORIZON_ROWS,
        "test": 200,
    }
    assert rows.horizon_rows == HORIZON_ROWS
    assert rows.labels == (-1, 0, 1)
    assert "mid_price" not in columns.names
    assert set(columns.medians) == set(columns.names)
    assert columns.optional == ()
    horizon_ns = 2 * NANOSECONDS
    assert rows.train.at_ns[-1] + horizon_ns < rows.validation.at_ns[0]
    assert rows.validation.at_ns[-1] + horizon_ns < rows.test.at_ns[0]
    assert "test: 1 rows at its end purged" in rows.notes


def test_the_rows_of_the_fit_are_those_of_the_file(frames, tmp_path):
    found = prepared(frames, tmp_path)

    names = list(found.columns.names)
    as_delivered = frames["validation"][:-HORIZON_ROWS].select(names).to_numpy().astype(np.float32)
    np.testing.assert_array_equal(found.rows["validation"].matrix(), as_delivered)
    in_batches = np.concatenate([batch for _, batch in found.rows["validation"].batches(37)])
    np.testing.assert_array_equal(in_batches, as_delivered)
    assert found.columns.medians[names[0]] == pytest.approx(
        frames["train"][:-HORIZON_ROWS][names[0]].median(), rel=1e-6
    )


def nothing(frame):
    return frame[:0]


def shuffled(frame):
    return frame.sample(fraction=1.0, shuffle=True, seed=1)


def set_target(rows, value):
    def change(frame):
        target = pl.when(pl.int_range(pl.len()) < rows).then(value).otherwise(pl.col("target"))
        return frame.with_columns(target=target.cast(pl.Float64))

    return change


def without_ups(frame):
    return frame.with_columns(target=pl.col("target").clip(upper_bound=0))


def rare_ups(frame):
    rows = pl.int_range(pl.len())
    return without_ups(frame).with_columns(
        target=pl.when(rows.is_in([100, 400])).then(1).otherwise(pl.col("target"))
    )


def two_swapped(frame):
    return pl.concat([frame[:10], frame[11:12], frame[10:11], frame[12:]])


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
        ("train", set_target(7, float("nan")), "train: 7 labels are NaN or infinite"),
        ("train", set_target(3, float("inf")), "train: 3 labels are NaN or infinite"),
        ("train", set_target(3, None), "train: 3 labels are NaN or infinite"),
        ("test", set_target(2, 0.5), "test: 2 labels are neither -1 nor 0 nor 1"),
        ("train", lambda frame: frame.with_columns(target=pl.lit(1)), "train has one class only, 1"),
        ("train", rare_ups, "train has 2 rows of class 1, 0.336% of all and below 0.500%"),
        ("validation", without_ups, "validation has no row of class 1: nothing to calibrate it by"),
        ("train", without_ups, "validation has labels that train lacks: 1"),
        ("train", shuffled, "train: 297 rows are not in time order; the split was shuffled"),
        ("train", two_swapped, "train: 1 rows are not in time order"),
        ("train", lambda frame: pl.concat([frame[:10], frame[9:]]), "train: 1 timestamps are duplicates"),
        ("train", later(timedelta(seconds=10)), "train reaches 19 rows into validation"),
        ("validation", later(timedelta(seconds=5)), "validation reaches 9 rows into test"),
        (
            "validation",
            lambda frame: frame.drop("rsi_14"),
            "train and validation have different columns: only one has rsi_14",
        ),
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


def test_an_always_equal_market_of_numbers_is_rejected(frames, tmp_path):
    flat = {name: frame.with_columns(target=pl.lit(0.001)) for name, frame in frames.items()}

    assert prepared(flat, tmp_path, **NUMBERS).reason == "train: every label is 0.001"


def test_a_market_of_numbers_that_only_rises_is_rejected(frames, tmp_path):
    rising = {name: frame.with_columns(target=pl.int_range(pl.len()) + 1.0) for name, frame in frames.items()}

    assert prepared(rising, tmp_path, **NUMBERS).reason == "train has one side only, up"


def test_two_classes_are_two_labels(frames, tmp_path):
    sides = {name: frame.filter(pl.col("target") != 0) for name, frame in frames.items()}

    found = prepared(sides, tmp_path, min_train_rows=100)

    assert found.usable.labels == (-1, 1)
    assert set(np.unique(found.usable.train.classes)) == {0, 1}


def test_a_row_without_volatility_has_no_risk_adjusted_label_and_is_left_out(frames, tmp_path):
    def quiet(frame):
        still = pl.int_range(pl.len()) % 50 == 7
        volatility = pl.when(still).then(0.0).otherwise(pl.col("volatility_48"))
        adjusted = (
            pl.when(still).then(float("nan")).otherwise(pl.col("target") * 1.0 + 0.1 * pl.col("rsi_14"))
        )
        return frame.with_columns(volatility_48=volatility, target=adjusted - 5)

    found = prepared({name: quiet(frame) for name, frame in frames.items()}, tmp_path, **RISKS)

    assert "train: 12 rows without volatility left out" in found.usable.notes
    assert np.isfinite(found.usable.train.target).all()


def test_a_risk_adjusted_target_needs_its_volatility(frames, tmp_path):
    found = prepared(frames, tmp_path, **{**RISKS, "volatility_feature": "volatility_5m"})

    assert found.reason == (
        "train lacks the volatility of its risk-adjusted target (MODEL_VOLATILITY_FEATURE)"
    )


def as_is(frame):
    return frame["target"] * 1.0


def with_noise(frame):
    return frame["target"] + 0.2 * np.random.default_rng(3).standard_normal(len(frame))


def upside_down_with_holes(frame):
    holes = np.arange(len(frame)) % 3 == 0
    return pl.Series(np.where(holes, np.nan, -1e9 * with_noise(frame).to_numpy()))


@pytest.mark.parametrize("hint", [as_is, with_noise, upside_down_with_holes])
def test_a_feature_that_nearly_is_the_target_is_rejected(frames, tmp_path, hint):
    knowing = {name: frame.with_columns(hint=hint(frame)) for name, frame in frames.items()}

    found = prepared(knowing, tmp_path)

    assert isinstance(found, Rejection)
    assert found.reason.startswith("hint nearly is the target: alone it ranks the outcome at ")
    assert found.figures["ranking"] > 0.98


def test_a_feature_that_nearly_is_a_number_to_foresee_is_rejected(frames, tmp_path):
    rng = np.random.default_rng(1)

    def knowing(frame):
        moved = rng.standard_normal(len(frame)).cumsum()
        moved -= moved.mean()
        return frame.with_columns(target=pl.Series(moved), hint=pl.Series(np.exp(moved)))

    found = prepared({name: knowing(frame) for name, frame in frames.items()}, tmp_path, **NUMBERS)

    assert found.reason.startswith("hint nearly is the target")


def test_a_feature_that_only_helps_is_no_leak(frames, tmp_path):
    def helpful(frame):
        noise = np.random.default_rng(3).standard_normal(len(frame))
        return frame.with_columns(hint=frame["target"] + noise)

    assert "hint" in prepared({k: helpful(v) for k, v in frames.items()}, tmp_path).columns.names


@pytest.mark.parametrize("name", ["target_60s", "Label", "future_return", "fwd_return_5m"])
def test_a_label_column_among_the_features_is_rejected_unless_it_is_excluded(frames, tmp_path, name):
    labelled = {split: frame.with_columns(pl.col("volume_1").alias(name)) for split, frame in frames.items()}

    found = prepared(labelled, tmp_path)
    without = prepared(labelled, tmp_path, excluded_features=("mid_price", name))

    assert found.reason.startswith(f"{name} among the features is named like a label")
    assert name not in without.columns.names
    assert f"{name}: excluded by MODEL_EXCLUDED_FEATURES" in without.columns.notes


def test_too_many_empty_columns_reject_the_dataset(frames, tmp_path):
    names = [name for name in frames["train"].columns if name not in market_files.NO_FEATURES]
    empty = names[: len(names) // 2 + 1]
    hollow = {
        split: frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in empty)
        for split, frame in frames.items()
    }

    found = prepared(hollow, tmp_path)

    assert found.reason == (
        f"{len(empty)} of {len(names)} features are missing or constant in train, more than 50%"
    )


def test_a_file_that_holds_more_than_fits_is_rejected_before_it_is_read(frames, tmp_path, monkeypatch):
    market_files.write(frames, tmp_path)
    monkeypatch.setattr("trainer.reading.MOST_VALUES", 1000)

    found = open_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT")

    assert found.reason.startswith("train holds 600 rows of ")


def test_a_broken_file_is_rejected(frames, tmp_path):
    market_files.write(frames, tmp_path)
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(whole[: len(whole) // 2])

    found = open_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT")

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
    assert name not in found.columns.names
    assert any(said.startswith(note) for said in found.columns.notes)


def test_a_feature_missing_now_and_then_is_optional(frames, tmp_path):
    holes = pl.when(pl.int_range(pl.len()) % 20 == 0).then(None).otherwise(pl.col("volume_1"))
    frames = {split: frame.with_columns(holes.alias("volume_1")) for split, frame in frames.items()}

    found = prepared(frames, tmp_path)

    assert found.columns.optional == ("volume_1",)
    assert "volume_1" in found.columns.medians


def test_without_any_feature_left_there_is_no_model(frames, tmp_path):
    frames = {split: frame.select("timestamp", "mid_price", "target") for split, frame in frames.items()}

    assert prepared(frames, tmp_path).reason == "no feature is left: all are missing, constant or excluded"


def test_timestamps_in_any_unit_are_the_same_instants(frames, tmp_path):
    market_files.write(frames, tmp_path)
    micro = open_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT").split
    for unit in ("ns", "ms"):
        frame = frames["train"].with_columns(pl.col("timestamp").dt.cast_time_unit(unit))
        frame.write_parquet(tmp_path / "train.parquet")
        read = open_split(tmp_path / "train.parquet", name="train", symbol="BTCUSDT").split
        assert (read.at_ns == micro.at_ns).all()


def test_a_test_split_without_rows_leaves_the_rest_usable(frames, tmp_path):
    splits = {"train": "train.parquet", "validation": "validation.parquet", "test": None}

    found = prepared(frames, tmp_path, splits=splits)

    assert (len(found.usable.validation), len(found.usable.test)) == (200, 0)
