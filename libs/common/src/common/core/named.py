"""Enums whose members explain themselves: docs/events.md is written from them."""

from enum import StrEnum
from typing import Self


class Named(StrEnum):
    """A member is its phrase, with the `meaning` that an operator reads."""

    meaning: str

    def __new__(cls, phrase: str, meaning: str) -> Self:
        """Equal to `phrase`; carries `meaning`."""
        member = str.__new__(cls, phrase)
        member._value_ = phrase
        member.meaning = meaning
        return member
