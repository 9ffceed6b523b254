"""The spool: what was sent without the database, whatever its disk does."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from common.core.exits.position import Side
from exit_strategy.metrics import UNWRITTEN_LINES
from exit_strategy.spool import Confirmed, Spool, SpooledExit

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def exit_of(number):
    return SpooledExit(
        signal_id=UUID(int=number),
        symbol="BTCUSDT",
        side=Side.LONG,
        entry_price=Decimal(100),
        decided_at=NOW,
        valid_until=NOW + timedelta(seconds=13),
        trace_id="t",
        rule="kept_stop",
        body="{}",
    )


def confirm_of(number):
    return Confirmed(signal_id=UUID(int=number))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool" / "exits.jsonl"


async def test_what_was_appended_is_read_by_the_next_process_in_order(path):
    lines = [exit_of(1), confirm_of(1), exit_of(2)]
    for line in lines:
        assert await Spool(path).append(line)

    assert (await Spool(path).read()).lines == lines


async def test_a_full_file_stays_within_its_bound_and_nothing_is_lost(path):
    full = Spool(path, max_bytes=800)

    written = [await full.append(exit_of(number)) for number in range(6)]

    assert written == [True] * sum(written) + [False] * (6 - sum(written))
    assert 0 < sum(written) < 6
    assert path.stat().st_size <= 800
    assert full.unwritten == UNWRITTEN_LINES._value.get() == 6 - sum(written)
    assert (await full.read()).lines == [exit_of(number) for number in range(6)]
    assert (await Spool(path).read()).lines == [exit_of(number) for number in range(sum(written))]


async def test_a_directory_that_cannot_be_made_keeps_nothing_from_being_remembered(tmp_path):
    (tmp_path / "spool").write_text("a file where the directory should be")
    unwritable = Spool(tmp_path / "spool" / "exits.jsonl")

    assert not await unwritable.append(exit_of(1))
    held = await unwritable.read()
    await unwritable.take_out(held)

    assert held.lines == [exit_of(1)]
    assert (await unwritable.read()).lines == []
    assert unwritable.unwritten == 0


async def test_a_file_that_cannot_be_read_is_left_out_and_left_alone(path):
    path.mkdir(parents=True)
    blocked = Spool(path)
    await blocked.append(exit_of(1))

    await blocked.take_out(await blocked.read())

    assert path.is_dir()
    assert (await blocked.read()).lines == []


async def test_what_was_appended_after_the_reading_stays_when_that_is_taken_out(path):
    one, peer = Spool(path), Spool(path)
    await one.append(exit_of(1))
    held = await one.read()
    await peer.append(exit_of(2))

    await one.take_out(held)
    await one.take_out(held)

    assert (await one.read()).lines == [exit_of(2)]


async def test_a_line_that_a_crash_cut_short_is_left_out(path):
    await Spool(path).append(exit_of(1))
    with path.open("ab") as file:
        file.write(b'{"type":"exit","signal_id":"0000')

    assert (await Spool(path).read()).lines == [exit_of(1)]


async def test_the_memory_of_unwritten_lines_is_bounded_and_keeps_the_newest(path):
    full = Spool(path, max_bytes=0, max_unwritten=3)

    for number in range(5):
        await full.append(exit_of(number))

    assert (await full.read()).lines == [exit_of(number) for number in (2, 3, 4)]
