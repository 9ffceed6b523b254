"""Growth of a process: a leak is told from noise, a burst and a warm-up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.core.audit.growth import MIB, Usage, growths, leaks

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WARM_UP = timedelta(minutes=5)
EVERY = timedelta(seconds=10)


def used(minutes, *, rss_mib=lambda _: 100.0, descriptors=lambda _: 40, tasks=lambda _: 20, pid=7):
    """Samples of a process whose holdings are functions of the minutes since its start."""
    times = [EVERY * number for number in range(int(timedelta(minutes=minutes) / EVERY) + 1)]
    return [
        Usage(
            at=BEGAN + after,
            process="inference",
            pid=pid,
            rss_bytes=round(rss_mib(after.total_seconds() / 60) * MIB),
            descriptors=descriptors(after.total_seconds() / 60),
            tasks=tasks(after.total_seconds() / 60),
        )
        for after in times
    ]


def steps(minute):
    return 40 + int(minute)


@pytest.mark.parametrize(
    ("leaking", "said"),
    [
        (used(30, rss_mib=lambda minute: 100 + 0.11 * minute), "grew by 1.10 MiB in 10 minutes"),
        (used(30, descriptors=steps), "more file descriptors"),
        (used(30, tasks=steps), "more asyncio tasks"),
    ],
)
def test_what_rises_all_the_time_is_a_leak(leaking, said):
    [sentence] = leaks(leaking, warm_up=WARM_UP)

    assert sentence.startswith("inference (pid 7)")
    assert said in sentence


@pytest.mark.parametrize(
    "steady",
    [
        used(30),
        used(30, rss_mib=lambda minute: 100 + 0.09 * minute),
        used(30, rss_mib=lambda minute: 60 + 8 * min(minute, 4.9)),
        used(30, rss_mib=lambda minute: 160 if 12 < minute < 14 else 100),
        used(30, descriptors=lambda minute: 70 if 12 < minute < 14 else 40),
        used(30, tasks=lambda minute: 20 + round(minute * 7) % 3),
        used(30, tasks=lambda _: None),
        used(30, rss_mib=lambda minute: 100 - minute),
    ],
    ids=["flat", "slow", "warm-up", "burst", "connections", "requests", "not told", "shrinking"],
)
def test_warm_up_burst_and_noise_are_not(steady):
    assert leaks(steady, warm_up=WARM_UP) == []


def test_a_process_that_was_restarted_is_judged_by_itself():
    first = used(30, rss_mib=lambda _: 100.0, pid=7)
    second = used(30, rss_mib=lambda _: 190.0, pid=8)

    assert leaks([*first, *second], warm_up=WARM_UP) == []
    assert {each.pid for each in growths([*first, *second], warm_up=WARM_UP)} == {7, 8}


def test_a_short_life_is_not_judged():
    assert growths(used(9.5, rss_mib=lambda minute: 100 * minute), warm_up=WARM_UP) == []
    assert len(growths(used(10), warm_up=WARM_UP)) == 1


@given(st.floats(min_value=-5, max_value=5), st.integers(min_value=0, max_value=2**20))
def test_the_slope_is_the_one_that_there_is(mib_per_10_minutes, seed):
    noisy = used(
        30, rss_mib=lambda minute: 200 + mib_per_10_minutes / 10 * minute + ((seed * minute) % 1) / 8
    )

    [found] = growths(noisy, warm_up=WARM_UP)

    assert found.rss_mib_per_10_minutes == pytest.approx(mib_per_10_minutes, abs=0.15)
