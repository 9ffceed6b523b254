"""The stream that a feeder publishes."""

from datetime import UTC, datetime

import msgspec
from tests.benchmarks.vectors import REGISTRY_VERSION, Rows, Stream, symbols

from common.messages import FeatureVector

NOW = datetime(2026, 11, 22, 12, 0, 0, 250, tzinfo=UTC)
ROWS = Rows(hold=['{"mid_price":1.5}', '{"mid_price":1.25}'], buy=['{"mid_price":9.5}'])


def taken(count, *, names=("AAAA", "BBBB"), **mix):
    stream = Stream(ROWS, list(names), **mix)
    return [msgspec.json.decode(stream.next(NOW), type=FeatureVector) for _ in range(count)]


def test_a_vector_is_one_as_the_feature_service_sends_it():
    [vector] = taken(1, buys=0.0)

    assert vector == FeatureVector(
        timestamp=NOW, symbol="AAAA", features={"mid_price": 1.5}, feature_registry_version=REGISTRY_VERSION
    )


def test_symbols_take_turns_and_a_symbols_rows_differ():
    vectors = taken(6, names=("AAAA", "BBBB", "CCCC"), buys=0.0)

    assert [each.symbol for each in vectors] == ["AAAA", "BBBB", "CCCC"] * 2
    first, second = (each.features for each in vectors if each.symbol == "AAAA")
    assert first != second


def test_as_many_vectors_are_to_buy_on_as_was_asked():
    def bought(**mix):
        return sum(each.features["mid_price"] == 9.5 for each in taken(1000, **mix))

    assert (bought(buys=0.0), bought(buys=1.0)) == (0, 1000)
    assert 60 < bought(buys=0.1) < 140


def test_the_first_symbols_may_get_nothing_else():
    vectors = taken(10, buys=0.0, first_buys=1)

    assert {each.symbol for each in vectors if each.features["mid_price"] == 9.5} == {"AAAA"}
    assert sum(each.features["mid_price"] == 9.5 for each in vectors) == 5


def test_names_of_symbols_are_as_many_as_asked_and_valid_on_the_bus():
    names = symbols(1000)

    assert len(set(names)) == 1000
    for each in (names[0], names[-1]):
        msgspec.convert({**BODY, "symbol": each}, FeatureVector)


BODY = {"timestamp": NOW, "features": {}, "feature_registry_version": "1.0.0"}
