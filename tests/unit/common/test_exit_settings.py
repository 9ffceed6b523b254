from decimal import Decimal

import pytest
from pydantic import ValidationError

from common.core.exits.position import ALL
from common.core.exits.rules import Stage
from common.exit_settings import ClosingSettings


def test_a_ladder_replaces_the_target_and_its_stages(monkeypatch):
    monkeypatch.setenv("TAKE_PROFIT_LADDER", "3:50, 5:50 ,8:100")

    rule = ClosingSettings().take_profit()

    assert rule.ladder == (
        Stage(profit_pct=Decimal(3), close_pct=Decimal(50)),
        Stage(profit_pct=Decimal(5), close_pct=Decimal(50)),
        Stage(profit_pct=Decimal(8), close_pct=ALL),
    )


@pytest.mark.parametrize("ladder", ["3", "3:0", "3:101", "5:50,3:100", "3:50,3:100", "0:50", "a:b", "3:50:1"])
def test_a_ladder_that_does_not_rise_or_closes_no_share_is_refused(monkeypatch, ladder):
    monkeypatch.setenv("TAKE_PROFIT_LADDER", ladder)

    with pytest.raises(ValidationError, match="take_profit_ladder"):
        ClosingSettings()


def test_switched_off_exits_take_no_profit():
    assert ClosingSettings(exit_strategy_enabled=False).take_profit() is None
    assert ClosingSettings(take_profit_enabled=False).take_profit() is None
