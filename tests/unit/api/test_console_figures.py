"""The console's figures: what is drawn of which rows, in either colours."""

from datetime import UTC, datetime, timedelta

import pytest

from api.console import figures

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MORNING = NOON - timedelta(hours=6)


def bar(minute, close=100.0):
    return figures.Bar(at=NOON - timedelta(minutes=minute), open=99.0, high=101.0, low=98.0, close=close)


def mark(side="buy", *, rule=None, warmup=False, minute=5):
    return figures.Mark(
        at=NOON - timedelta(minutes=minute),
        strategy_id="momentum",
        side=side,
        price=100.0,
        version=None if warmup else "v1",
        is_warmup=warmup,
        rule=rule,
    )


def position(*, stop=95.0, closed=None, opened=30):
    return figures.Watched(
        strategy_id="momentum",
        side="long",
        opened_at=NOON - timedelta(minutes=opened),
        closed_at=closed,
        entry_price=100.0,
        stop_price=stop,
    )


def drawn(bars=(), marks=(), positions=(), theme="light"):
    return figures.price("BTCUSDT", bars, marks, positions, since=MORNING, now=NOON, theme=theme)


def trace(figure, name):
    [found] = [each for each in figure.data if each.get("name") == name]
    return found


def test_entries_and_exits_are_told_apart():
    figure = drawn([bar(10)], [mark("buy"), mark("sell"), mark("sell", rule="stop_loss")])

    assert len(trace(figure, "buy")["x"]) == len(trace(figure, "sell")["x"]) == 1
    assert trace(figure, "exit")["text"] == ["momentum, stop_loss"]


def test_a_warm_up_signal_is_hollow_and_says_so():
    [shape] = trace(drawn(marks=[mark(warmup=True)]), "buy")["marker"]["symbol"]

    assert shape == "triangle-up-open"
    assert trace(drawn(marks=[mark(warmup=True)]), "buy")["text"] == ["momentum, warm-up"]


def test_a_stop_reaches_from_the_opening_to_the_close_or_to_now():
    closed = NOON - timedelta(minutes=10)

    stop = trace(drawn(positions=[position(), position(closed=closed)]), "stop")

    assert stop["x"] == [NOON - timedelta(minutes=30), NOON, None, NOON - timedelta(minutes=30), closed, None]
    assert stop["y"] == [95.0, 95.0, None, 95.0, 95.0, None]


def test_a_position_without_a_stop_has_its_entry_alone():
    figure = drawn(positions=[position(stop=None)])

    assert trace(figure, "stop")["x"] == []
    assert trace(figure, "entry")["y"] == [100.0, 100.0, None]


def test_the_price_begins_where_there_is_one():
    assert drawn([bar(10), bar(9)]).layout["xaxis"]["range"] == [NOON - timedelta(minutes=10), NOON]
    assert drawn().layout["xaxis"]["range"] == [MORNING, NOON]


def test_rare_reasons_are_added_up_and_no_skip_is_lost():
    counted = [
        figures.Skipped(at=NOON - timedelta(minutes=minute), reason=f"reason_{number}", skips=number + 1)
        for number in range(12)
        for minute in (1, 2)
    ]

    figure = figures.skips(counted, bucket=timedelta(minutes=1), since=MORNING, now=NOON, theme="dark")

    assert len(figure.data) == figures.SHOWN_REASONS + 1
    assert figure.data[0]["name"] == "reason 11"
    assert figure.data[-1]["name"] == figures.REST
    assert sum(sum(each["y"]) for each in figure.data) == sum(each.skips for each in counted)


def test_equity_is_the_running_sum_and_lasts_until_now():
    results = [
        figures.Equity(at=NOON - timedelta(hours=2), strategy_id="momentum", pnl=10.0, gained=1, closed=1),
        figures.Equity(at=NOON - timedelta(hours=1), strategy_id="momentum", pnl=-4.0, gained=0, closed=1),
        figures.Equity(at=NOON - timedelta(hours=1), strategy_id="reversal", pnl=1.0, gained=1, closed=1),
    ]

    figure = figures.equity(results, since=MORNING, now=NOON, theme="light")

    assert trace(figure, "momentum")["y"] == [10.0, 6.0, 6.0]
    assert trace(figure, "momentum")["x"][-1] == NOON
    assert trace(figure, "reversal")["y"] == [1.0, 1.0]


def test_calibration_is_drawn_beside_the_diagonal():
    bins = [
        figures.Reliable(predicted=0.4, observed=0.42, rows=900),
        figures.Reliable(predicted=0.6, observed=0.5, rows=100),
    ]

    figure = figures.calibration(bins, split="test", theme="light")

    assert figure.data[0]["x"] == [0, 1]
    assert figure.data[1]["y"] == [0.42, 0.5]
    assert figure.data[1]["marker"]["size"][0] > figure.data[1]["marker"]["size"][1]


def test_confusion_is_shaded_by_the_share_of_what_came():
    figure = figures.confusion(["down", "up"], [[30, 10], [0, 0]], theme="light")

    assert figure.data[0]["z"] == [[0.75, 0.25], [0.0, 0.0]]
    assert figure.data[0]["text"][0] == ["30<br>75%", "10<br>25%"]


@pytest.mark.parametrize(
    "build",
    [
        lambda theme: drawn(theme=theme),
        lambda theme: figures.skips([], bucket=timedelta(minutes=1), since=MORNING, now=NOON, theme=theme),
        lambda theme: figures.equity([], since=MORNING, now=NOON, theme=theme),
        lambda theme: figures.calibration([], split="", theme=theme),
        lambda theme: figures.confusion([], [], theme=theme),
    ],
)
def test_nothing_gives_an_empty_figure_in_either_colours(build):
    assert not [
        each for each in build("light").data if list(each.get("x") or []) and each.get("hoverinfo") != "skip"
    ]
    assert build("light").layout["font"] != build("dark").layout["font"]
