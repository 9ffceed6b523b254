"""Measures the promotion gate on markets whose truth is known: `make gate-study`.

Every version is fitted, pooled and judged by the trainer's own code, in this process. The tables go to
standard output and into docs/promotion.md; the exit status is 1 where the gate breaks its promise. Policies
were tuned on seeds below REPORTED_SEED; the seeds from there on are the reported ones. CANDLES adds a table
of real bars.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from docs.study_markets import (
    BAR,
    HISTORY_BARS,
    HORIZON_BARS,
    LEAKS,
    START,
    SUCCESSORS,
    SYMBOL,
    WITH_EDGE,
    WITHOUT_EDGE,
    WITHOUT_TEST,
    Lengths,
    balanced,
    rows_of,
)

from common import artifacts
from common.model_directory import ModelDirectory
from sandbox.candles import read_candles
from sandbox.core.market import edge_report
from trainer import fit
from trainer.core.pooling import Scored, evidence
from trainer.core.promotion import Evidence, Policy, Rules, judge
from trainer.core.threshold import Costs
from trainer.evidence import pooled
from trainer.job import ONNX, ChampionFile, Job, SplitName
from trainer.scored_rows import ROWS, read_rows

PAGE = Path(__file__).parent / "promotion.md"
REPORTED_SEED = 10_000
SEEDS_A_KIND = 1_000
COSTS = Costs(fee_rate=0.0002, slippage_rate=0.0001)
"""Of a market with low fees: the planted edges must be able to pay."""
MIN_EFFECTIVE_ROWS = 1000.0
MIN_ACCURACY = 0.75


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What each rule makes of one version; True puts it to work."""

    kind: str
    honest: bool
    specification: bool
    accuracy_rule: bool
    """The plain rule: test accuracy of at least MODEL_QUALITY_THRESHOLD_ACCURACY."""
    meets_champion: bool
    verdict: str
    sentence: str
    expectancy: float
    """Mean result of a trade on the version's own test after costs."""
    trades: int


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one cell of the power table would accept."""

    table: str
    edge: float
    at: int
    accepted: bool


def main(markets: int = 30, *, seed: int = REPORTED_SEED, candles: Path | None = None) -> int:
    """The exit status; `markets` of every kind with or without an edge, half as many of the others."""
    since = time.perf_counter()
    seeds = range(seed, seed + markets)
    tasks = list(_tasks(markets, seed))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        if candles:
            _show("candles", _candle_table(list(processes.map(_window, _windows(candles)))))
        judged = [each for found in processes.map(_versions, tasks) for each in found]
        _show("verdicts", _verdict_table(judged))
        powered = processes.map(_power, [(edge, each) for edge in POWER_EDGES for each in seeds])
        points = [each for found in powered for each in found]
        _show("power", _power_table(points, "length"))
        _show("pooling", _power_table(points, "runs"))
    broken = list(_broken(judged))
    minutes = (time.perf_counter() - since) / 60
    sys.stdout.write(f"\n{len(judged)} versions in {minutes:.1f} minutes\n")
    sys.stdout.writelines(f"broken promise: {line}\n" for line in broken)
    return 1 if broken else 0


POWER_EDGES = (0.0, 0.06, 0.1)
POWER_ROWS = (250, 500, 1000, 2000, 4000)
POWER_RUNS = (1, 2, 4, 8)
POWER_RUN_ROWS = 500
HONEST = Rules(policy=Policy.HONEST, min_effective_rows=MIN_EFFECTIVE_ROWS, min_accuracy=MIN_ACCURACY)


def _versions(task: tuple[str, int]) -> list[Judged]:
    kind, seed = task
    market = {**WITHOUT_EDGE, **WITH_EDGE, **SUCCESSORS, **LEAKS}[kind]
    lengths = Lengths(runs=1) if kind in (*WITH_EDGE, *LEAKS) else Lengths()
    rows = market(seed, lengths.bars())
    with tempfile.TemporaryDirectory() as root:
        found = list(_successive(kind, rows, lengths, Path(root), seed))
    return [each for each in found if each.meets_champion] if kind in SUCCESSORS else found


# As a trainer does it: each run pools what earlier ones left, and meets the version that was accepted last.
def _successive(kind: str, rows: pl.DataFrame, lengths: Lengths, root: Path, seed: int) -> Iterator[Judged]:
    earlier: list[ChampionFile] = []
    champion: ChampionFile | None = None
    for run in range(lengths.runs):
        directory = root / f"run_{run}"
        job = _job(rows, directory, lengths, run * lengths.test, seed=seed, without_test=kind == WITHOUT_TEST)
        job = msgspec.structs.replace(
            job, champion=champion, earlier=tuple(earlier), evidence_effective_rows=MIN_EFFECTIVE_ROWS
        )
        with contextlib.redirect_stdout(io.StringIO()):
            result = pooled(job, directory, fit.run(job, directory), fit=fit.run)
        if result.fitted is None:
            reason = result.rejection.reason if result.rejection else ""
            yield _rejected(kind, reason)
            continue
        found = _judged(kind, result.fitted.evidence)
        yield found
        file = _kept(root, f"v{run + 1}", directory, result.fitted.manifest)
        if found.verdict != "quarantined" and result.fitted.evidence.source == "test":
            earlier.insert(0, file)
        champion = file if found.honest else champion


def _judged(kind: str, found: Evidence) -> Judged:
    decision = judge(found, HONEST)
    return Judged(
        kind=kind,
        honest=decision.activate,
        specification=judge(found, msgspec.structs.replace(HONEST, policy=Policy.SPECIFICATION)).activate,
        accuracy_rule=found.accuracy >= MIN_ACCURACY,
        meets_champion=found.champion is not None,
        verdict=decision.verdict,
        sentence=decision.sentence,
        expectancy=found.expectancy.mean,
        trades=found.trades,
    )


def _rejected(kind: str, reason: str) -> Judged:
    return Judged(
        kind=kind,
        honest=False,
        specification=False,
        accuracy_rule=False,
        meets_champion=False,
        verdict="rejected",
        sentence=reason,
        expectancy=0.0,
        trades=0,
    )


def _power(task: tuple[float, int]) -> list[Point]:
    edge, seed = task
    long = Lengths(test=max(POWER_ROWS), runs=1)
    short = Lengths(test=POWER_RUN_ROWS, runs=max(POWER_RUNS))
    with tempfile.TemporaryDirectory() as root:
        (one,) = _scored(edge, seed, long, Path(root) / "long")
        several = list(_scored(edge, seed, short, Path(root) / "short"))
    found = [
        Point(table="length", edge=edge, at=rows, accepted=_proves([_first(one, rows)]))
        for rows in POWER_ROWS
    ]
    newest_first = several[::-1]
    found += [
        Point(table="runs", edge=edge, at=runs, accepted=_proves(newest_first[:runs])) for runs in POWER_RUNS
    ]
    return found


def _scored(edge: float, seed: int, lengths: Lengths, root: Path) -> Iterator[Scored]:
    rows = balanced(edge)(seed, lengths.bars())
    for run in range(lengths.runs):
        directory = root / f"run_{run}"
        job = _job(rows, directory, lengths, run * lengths.test, seed=seed)
        with contextlib.redirect_stdout(io.StringIO()):
            fit.run(job, directory)
        yield read_rows((directory / ROWS).read_bytes())


def _first(scored: Scored, rows: int) -> Scored:
    return Scored(**{name: getattr(scored, name)[:rows] for name in Scored.__struct_fields__})


# Only whether lift and direction are proven: how many rows are asked for at least is left out.
def _proves(parts: Sequence[Scored]) -> bool:
    found = evidence(
        parts[0],
        parts[1:],
        source="test",
        horizon_rows=HORIZON_BARS,
        majority_label=0,
        roc_auc=None,
        validation_lift=1.0,
        validation_effective_rows=1.0,
        champion=None,
        draws=np.random.default_rng(1),
    )
    return judge(found, msgspec.structs.replace(HONEST, min_effective_rows=0.0)).activate


# No two kinds share a seed: the same noise labelled anew would be counted as another market.
def _tasks(markets: int, seed: int) -> Iterator[tuple[str, int]]:
    kinds = (*WITHOUT_EDGE, *WITH_EDGE, *SUCCESSORS, *LEAKS)
    for number, kind in enumerate(kinds):
        many = markets if kind in (*WITHOUT_EDGE, *WITH_EDGE) else max(1, markets // 2)
        first = seed + number * SEEDS_A_KIND
        yield from ((kind, each) for each in range(first, first + many))


class Days(msgspec.Struct, frozen=True, kw_only=True):
    """Lengths of the splits, and how far one window is from the next, in days."""

    train: int
    validation: int
    test: int
    step: int

    def lengths(self) -> Lengths:
        """The same in bars, of one run."""
        return Lengths(
            train=BARS_A_DAY * self.train,
            validation=BARS_A_DAY * self.validation,
            test=BARS_A_DAY * self.test,
            runs=1,
        )


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A training on real bars: which part of them."""

    candles: Path
    days: Days
    start: int


REAL_DAYS = (
    Days(train=30, validation=7, test=1, step=7),
    Days(train=120, validation=30, test=45, step=9),
)
REAL_HORIZON_BARS = 12
REAL_THRESHOLD = 0.0015
REAL_COSTS = Costs(fee_rate=0.001, slippage_rate=0.0005)
BARS_A_DAY = 288


def _windows(candles: Path) -> list[Window]:
    bars = len(read_candles(candles))
    return [
        Window(candles=candles, days=days, start=start)
        for days in REAL_DAYS
        for start in range(0, bars - _needed(days) + 1, BARS_A_DAY * days.step)
    ]


def _needed(days: Days) -> int:
    return days.lengths().bars() + HISTORY_BARS + REAL_HORIZON_BARS


def _window(window: Window) -> tuple[Days, Evidence | str]:
    lengths = window.days.lengths()
    candles = read_candles(window.candles).part(window.start, window.start + _needed(window.days))
    rows = rows_of(candles, lengths.bars(), REAL_THRESHOLD, horizon_bars=REAL_HORIZON_BARS)
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        directory = Path(root) / "run"
        job = msgspec.structs.replace(
            _job(rows, directory, lengths, 0, seed=1),
            horizon_s=BAR.total_seconds() * REAL_HORIZON_BARS,
            label_threshold=REAL_THRESHOLD,
            costs=REAL_COSTS,
            evidence_effective_rows=MIN_EFFECTIVE_ROWS,
        )
        result = pooled(job, directory, fit.run(job, directory), fit=fit.run)
    if result.fitted is None:
        return window.days, result.rejection.reason if result.rejection else ""
    return window.days, result.fitted.evidence


def _job(
    rows: pl.DataFrame,
    directory: Path,
    lengths: Lengths,
    start: int,
    *,
    seed: int,
    without_test: bool = False,
) -> Job:
    directory.mkdir(parents=True)
    ends = (
        lengths.train,
        lengths.train + lengths.validation,
        lengths.train + lengths.validation + lengths.test,
    )
    splits: dict[SplitName, str | None] = {}
    names: tuple[SplitName, ...] = ("train", "validation", "test")
    for name, begin, end in zip(names, (0, *ends[:-1]), ends, strict=True):
        splits[name] = f"{name}.parquet"
        rows[start + begin : start + end].write_parquet(directory / f"{name}.parquet")
    return Job(
        strategy_id="study",
        symbol=SYMBOL,
        dataset_id="study",
        splits={**splits, "test": None} if without_test else splits,
        dataset_sha256={},
        feature_registry_version="candles-1",
        horizon_s=BAR.total_seconds() * HORIZON_BARS,
        label_threshold=edge_report(0.0).threshold,
        test_end=START + BAR * (start + ends[-1]),
        min_train_rows=1000,
        excluded_features=("mid_price",),
        costs=COSTS,
        min_trade_share=0.02,
        seed=seed,
        threads=1,
        champion=None,
    )


def _kept(root: Path, version: str, directory: Path, manifest: artifacts.Manifest) -> ChampionFile:
    files = {name: (directory / name).read_bytes() for name in (ONNX, ROWS)}
    named = msgspec.structs.replace(manifest, version=version)
    return ChampionFile(
        version=version,
        sha256=artifacts.write(ModelDirectory(root / "models"), version, named, files),
        root=str(root / "models"),
    )


def _verdict_table(judged: Sequence[Judged]) -> list[str]:
    lines = [
        "| market | versions | newest wins | accuracy | `honest` | `specification` | a trade | if accepted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in (*WITHOUT_EDGE, *WITH_EDGE, *SUCCESSORS, *LEAKS):
        found = [each for each in judged if each.kind == kind]
        accepted = [each for each in found if each.honest]
        shares = (
            _share([each.verdict != "rejected" for each in found]),
            _share([each.accuracy_rule for each in found]),
            _share([each.honest for each in found]),
            _share([each.specification for each in found]),
        )
        lines.append(
            f"| {kind} | {len(found)} | {' | '.join(shares)} | {_earned(found)} | {_earned(accepted)} |"
        )
    return lines


def _power_table(points: Sequence[Point], table: str) -> list[str]:
    found = [each for each in points if each.table == table]
    columns = sorted({each.at for each in found})
    shown = [
        f"{at:,} rows ({at / HORIZON_BARS:,.0f} effective)"
        if table == "length"
        else f"{at} run{'s' * (at > 1)}"
        for at in columns
    ]
    lines = [f"| edge | {' | '.join(shown)} |", "|---" * (len(columns) + 1) + "|"]
    for edge in sorted({each.edge for each in found}):
        cells = [
            _share([each.accepted for each in found if each.edge == edge and each.at == at]) for at in columns
        ]
        lines.append(f"| {f'{edge:g}' if edge else 'none'} | {' | '.join(cells)} |")
    return lines


def _candle_table(found: Sequence[tuple[Days, Evidence | str]]) -> list[str]:
    columns = [_candle_column([each for of, each in found if of == days]) for days in REAL_DAYS]
    heads = [f"{days.train} / {days.validation} / {days.test} days" for days in REAL_DAYS]
    lines = [f"| train / validation / test | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    return lines + [f"| {name} | {' | '.join(each[name] for each in columns)} |" for name in columns[0]]


def _candle_column(found: Sequence[Evidence | str]) -> dict[str, str]:
    known = [each for each in found if isinstance(each, Evidence)]
    accuracies = [each.accuracy for each in known]
    any_length = msgspec.structs.replace(HONEST, min_effective_rows=0.0)
    specification = msgspec.structs.replace(HONEST, policy=Policy.SPECIFICATION)
    return {
        "windows (rejected before the fit)": f"{len(found)} ({len(found) - len(known)})",
        "effective rows, pooled": f"{np.mean([each.effective_rows for each in known]):,.0f}",
        "test accuracy, mean (best)": f"{np.mean(accuracies):.3f} ({max(accuracies):.3f})",
        "always naming train's majority": f"{np.mean([each.baseline_accuracy for each in known]):.3f}",
        "lift": f"{np.mean([each.lift.mean for each in known]):+.3f}",
        "direction": f"{np.mean([each.direction.mean for each in known]):+.3f}",
        "a trade after costs": f"{np.mean([each.expectancy.mean for each in known]):+.3%}",
        "`specification`": _verdicts(known, specification),
        "`honest`": _verdicts(known, HONEST),
        "`honest`, however few the rows": _verdicts(known, any_length),
        "`honest`, and profit required": _verdicts(
            known, msgspec.structs.replace(HONEST, require_profit=True)
        ),
        "accuracy >= 0.75 alone": f"{sum(each >= MIN_ACCURACY for each in accuracies)} accepted",
    }


def _verdicts(found: Sequence[Evidence], rules: Rules) -> str:
    counted = Counter(judge(each, rules).verdict for each in found)
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counted.items()))


def _broken(judged: Sequence[Judged]) -> Iterator[str]:
    edgeless = [each.honest for each in judged if each.kind in WITHOUT_EDGE]
    paying = [each.honest for each in judged if each.kind in WITH_EDGE]
    leaks = [each.honest for each in judged if each.kind in LEAKS]
    if not edgeless or np.mean(edgeless) > 0.05:
        yield f"honest accepts {_share(edgeless)} without an edge"
    if not paying or np.mean(paying) < 0.8:
        yield f"honest accepts only {_share(paying)} of what pays"
    if not leaks or any(leaks):
        yield f"honest accepts {_share(leaks)} of what leaks"


def _share(accepted: Sequence[bool]) -> str:
    return f"{np.mean(accepted):.0%} ({sum(accepted)})" if accepted else "-"


def _earned(found: Sequence[Judged]) -> str:
    traded = [each.expectancy for each in found if each.trades]
    return f"{np.mean(traded):+.3%}" if traded else "-"


def _show(name: str, lines: Sequence[str]) -> None:
    table = "\n".join(lines) + "\n"
    sys.stdout.write(f"\n{name}\n{table}")
    sys.stdout.flush()
    begin, end = f"<!-- gate study: {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = PAGE.read_text().partition(begin)
    if found:
        PAGE.write_text(before + begin + table + end + rest.partition(end)[2])


if __name__ == "__main__":
    chosen = os.environ.get("CANDLES")
    sys.exit(main(int(os.environ.get("MARKETS", "30")), candles=Path(chosen) if chosen else None))
