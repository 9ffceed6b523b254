import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.explanation import Amounts, Gate, explanation

DECIDED = {
    "reasoning": "up is probable: buy BTCUSDT for 80",
    "requested_amount": 100.0,
    "amount": 80.0,
    "amount_cut_by": ["balance"],
    "proposal": {"threshold": 0.55},
    "gates": {"state": {"state": "ACTIVE"}, "balance": {"amount_quote": "80"}},
}
RECORDED = {
    **DECIDED,
    "gates": {"balance": {"amount_quote": "80"}, "state": {"state": "ACTIVE"}},
    "contributions": {"features": [{"name": "returns_1m", "by": 0.1}]},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def test_gates_stand_in_the_order_in_which_they_were_asked():
    told = explanation(RECORDED, DECIDED)

    assert told.gates == [
        Gate(gate="state", facts={"state": "ACTIVE"}),
        Gate(gate="balance", facts={"amount_quote": "80"}),
    ]
    assert told.amounts == Amounts(requested=100.0, sent=80.0, cut_by=["balance"])
    assert told.contributions == RECORDED["contributions"]
    assert (told.reasoning, told.proposal) == (DECIDED["reasoning"], {"threshold": 0.55})


def test_without_the_outbox_the_record_has_the_gates():
    assert [each.gate for each in explanation(RECORDED, None).gates] == ["balance", "state"]


def test_an_exit_tells_what_every_rule_said():
    rules = [{"rule": "stop_loss", "fires": True, "level": "98"}]

    told = explanation({"rule_triggered": "stop_loss", "rules": rules}, None)

    assert (told.rules, told.amounts, told.gates, told.contributions) == (rules, None, [], None)


@pytest.mark.parametrize("name", [*RECORDED, "rules"])
@given(value=json_values)
def test_metadata_of_any_shape_is_told_as_far_as_it_can_be_read(name, value):
    told = explanation({**RECORDED, name: value}, None)

    assert msgspec.json.encode(told)


def test_of_a_signal_without_metadata_nothing_is_told():
    assert explanation(None, None) == explanation({}, {})
