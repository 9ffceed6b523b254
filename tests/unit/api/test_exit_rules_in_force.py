from datetime import timedelta
from decimal import Decimal

from api.core.exit_rules import in_force
from common.core.exits.rules import RULES, Rules, Stage, StopLoss, TakeProfit, TimeLimit, TrailingStop, whole

ALL_ON = whole(
    Rules(
        stop_loss=StopLoss(loss_pct=Decimal("2.0"), loss_quote=Decimal(50)),
        trailing_stop=TrailingStop(activation_pct=Decimal(2), distance_pct=Decimal(1)),
        take_profit=TakeProfit(
            ladder=(
                Stage(profit_pct=Decimal("3.0"), close_pct=Decimal(50)),
                Stage(profit_pct=Decimal(5), close_pct=Decimal(100)),
            )
        ),
        time_limit=TimeLimit(max_hold=timedelta(hours=24), profit_target_pct=Decimal(1)),
    )
)


def test_every_rule_is_listed_with_its_figures_and_priority():
    found = {each.name: each for each in in_force(ALL_ON)}

    assert list(found) == list(RULES)
    assert all(each.enabled for each in found.values())
    assert found["stop_loss"].parameters == {"loss_pct": "2", "loss_quote": "50"}
    assert found["trailing_stop"].parameters == {
        "activation_pct": "2",
        "distance_pct": "1",
        "lock_in_pct": None,
    }
    assert found["take_profit"].parameters == {
        "ladder": [{"profit_pct": "3", "close_pct": "50"}, {"profit_pct": "5", "close_pct": "100"}],
        "profit_quote": None,
    }
    assert found["max_hold"].parameters == {"max_hours": 24}
    assert found["decaying_target"].parameters == {
        "profit_target_pct": "1",
        "smallest_target_pct": "0.1",
        "begins_after_hours": 1,
        "max_hours": 24,
    }
    assert found["operator"].priority > found["stop_loss"].priority > found["take_profit"].priority
    assert {name for name, each in found.items() if each.is_paced} == {
        "take_profit",
        "max_hold",
        "decaying_target",
    }


def test_with_exits_disabled_only_an_operators_close_is_left():
    assert [each.name for each in in_force(Rules()) if each.enabled] == ["operator"]
    assert all(not each.parameters for each in in_force(Rules()))


def test_a_rule_that_is_off_keeps_its_place_without_figures():
    found = {each.name: each for each in in_force(whole(Rules(stop_loss=ALL_ON.stop_loss)))}

    assert [name for name, each in found.items() if each.enabled] == ["operator", "stop_loss", "kept_stop"]
    assert found["take_profit"].parameters == {}
