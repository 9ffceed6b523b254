"""The vectors that are fed: a stream of symbols, mixed as asked of rows whose answer is known."""

from datetime import UTC, datetime
from random import Random

import msgspec

REGISTRY_VERSION = "1.0.0"


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The features of vectors, as JSON objects, by what the model makes of them."""

    hold: list[str]
    buy: list[str]


class Stream:
    """The encoded vectors of a stream: symbol after symbol, every row another one."""

    def __init__(self, rows: Rows, symbols: list[str], *, buys: float, first_buys: int = 0) -> None:
        """`buys`: the share of vectors to buy on; of the first `first_buys` symbols it is every one."""
        self._hold, self._buy = rows.hold, rows.buy
        self._symbols = symbols
        self._buys = buys
        self._first_buys = first_buys
        self._random = Random(11)
        self._number = 0

    def next(self, now: datetime) -> bytes:
        """The next vector, computed `now`."""
        number, self._number = self._number, self._number + 1
        place = number % len(self._symbols)
        is_buy = place < self._first_buys or self._random.random() < self._buys
        rows = self._buy if is_buy else self._hold
        return (
            f'{{"timestamp":"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}","symbol":"{self._symbols[place]}",'
            f'"features":{rows[number % len(rows)]},"feature_registry_version":"{REGISTRY_VERSION}"}}'
        ).encode()


def symbols(count: int) -> list[str]:
    """So many names of symbols."""
    return [f"SYM{number:04}USDT" for number in range(count)]
