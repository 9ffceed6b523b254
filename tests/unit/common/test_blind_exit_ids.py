from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from common.core.ids import BLIND_EXIT_PERIOD_S, blind_exit_signal_id, exit_signal_id

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG = ("BTCUSDT", "long", Decimal("100.5"))


def test_workers_without_a_database_agree_within_a_period_and_not_beyond():
    first = blind_exit_signal_id(*LONG, NOW)

    assert blind_exit_signal_id(*LONG, NOW + timedelta(seconds=BLIND_EXIT_PERIOD_S - 0.001)) == first
    assert blind_exit_signal_id(*LONG, NOW + timedelta(seconds=BLIND_EXIT_PERIOD_S)) != first
    assert blind_exit_signal_id(*LONG, NOW - timedelta(seconds=0.001)) != first


def test_an_entry_counts_as_a_number_however_it_is_written():
    one = blind_exit_signal_id("BTCUSDT", "long", Decimal(92000), NOW)

    assert blind_exit_signal_id("BTCUSDT", "long", Decimal("92000.00000000"), NOW) == one
    assert blind_exit_signal_id("BTCUSDT", "long", Decimal("9.2E+4"), NOW) == one


@pytest.mark.parametrize(
    "other",
    [
        ("ETHUSDT", "long", Decimal("100.5")),
        ("BTCUSDT", "short", Decimal("100.5")),
        ("BTCUSDT", "long", Decimal(100)),
    ],
)
def test_another_position_has_another_id(other):
    assert blind_exit_signal_id(*other, NOW) != blind_exit_signal_id(*LONG, NOW)


def test_the_ids_do_not_change_from_release_to_release():
    assert str(blind_exit_signal_id(*LONG, NOW)) == "b45f4efd-8eb8-5113-8292-d6f58a5815a5"
    assert str(exit_signal_id(UUID(int=1), "stop_loss", 0, 1)) == "e04073df-7a4d-58c7-85d2-e11181c53f72"
