"""`python -m tests.benchmarks [GOAL ...]`: every goal of docs/performance.md, or those named, in one table.

The table says what is missed; the exit status tells only whether everything could be measured.
"""

import asyncio
import functools
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack

import msgspec
from tests.benchmarks import api, exit_path, exits, footprint, latency, peers, reload, throughput, training
from tests.benchmarks.result import Result
from tests.benchmarks.servers import bench_servers

from sandbox.servers import FLOTILLA, Servers

RECORD = FLOTILLA / "bench.json"
HEAD = ("goal", "ours", "floor", "ratio", "target", "verdict", "spread", "load")

Measure = Callable[[Callable[[], Servers]], Iterator[Result]]


def of_servers(measure: Callable[[Servers], AsyncIterator[Result]]) -> Measure:
    """A measurement that runs on the private servers."""

    def results(servers: Callable[[], Servers]) -> Iterator[Result]:
        return iter(asyncio.run(_all(measure(servers()))))

    return results


def without_servers(measure: Callable[[], Iterator[Result]]) -> Measure:
    """A measurement that needs none."""
    return lambda _: measure()


MEASURES: dict[str, list[Measure]] = {
    "1": [of_servers(throughput.one_worker)],
    "2": [of_servers(latency.thousand_symbols)],
    "3": [of_servers(latency.signals)],
    "4": [of_servers(reload.reloads)],
    "5": [of_servers(throughput.watching)],
    "6": [of_servers(footprint.replica)],
    "7": [without_servers(training.results)],
    "8": [without_servers(exits.results), of_servers(exit_path.results)],
    "9": [of_servers(api.results)],
    "10": [of_servers(throughput.two_workers)],
    "peers": [of_servers(peers.listing), of_servers(peers.serving)],
}
ONLY_ASKED = {"peers"}
"""Not measured unless they are named: they install what nothing else needs."""


def run(goals: Sequence[str]) -> int:
    """Measures, prints and records; 1 where something could not be measured."""
    found: list[Result] = []
    failed: list[str] = []
    with ExitStack() as stack:
        servers = functools.cache(lambda: stack.enter_context(bench_servers()))
        for goal in goals:
            for measure in MEASURES[goal]:
                try:
                    for result in measure(servers):
                        found.append(result)
                        print("  ".join(row(result)), file=sys.stderr, flush=True)
                except Exception:  # noqa: BLE001 - the other goals are still to be measured
                    traceback.print_exc()
                    failed.append(goal)
    record(found)
    print(table(found))
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}; recorded in {RECORD}")
    if failed:
        print(f"could not be measured: goals {', '.join(dict.fromkeys(failed))}", file=sys.stderr)
    return 1 if failed else 0


def table(found: Sequence[Result]) -> str:
    """One line a result, columns aligned."""
    rows = [HEAD, *map(row, found)]
    widths = [max(len(each[n]) for each in rows) for n in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n in (0, 4, 5) else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(each, widths, strict=True))
        ).rstrip()
        for each in rows
    )


def row(result: Result) -> tuple[str, ...]:
    """A result as the table's cells."""
    verdict = {True: "met", False: "missed", None: "reported"}[result.is_met]
    return (
        result.goal,
        f"{figure(result.ours)} {result.unit}",
        "-" if result.floor is None else figure(result.floor),
        "-" if result.ratio is None else figure(result.ratio),
        result.demanded(),
        verdict,
        f"{result.spread:.0%}",
        f"{result.load:.1f}",
    )


def figure(value: float) -> str:
    """Three digits at least, and no power of ten."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def record(found: Sequence[Result]) -> None:
    """bench.json holds what was found, as one list."""
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    body = msgspec.json.format(msgspec.json.encode([each.record() for each in found]), indent=1)
    RECORD.write_bytes(body + b"\n")


async def _all(results: AsyncIterator[Result]) -> list[Result]:
    return [each async for each in results]


def main() -> None:
    """The goals that the command line names, else all; the peers only where they are named."""
    asked = sys.argv[1:] or [each for each in MEASURES if each not in ONLY_ASKED]
    if unknown := [each for each in asked if each not in MEASURES]:
        sys.exit(f"no such goal: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    sys.exit(run(asked))


if __name__ == "__main__":
    main()
