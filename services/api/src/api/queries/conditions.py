"""Filters that a request may leave out."""

from typing import Any

from sqlalchemy import ColumnElement


def equal(*wanted: tuple[ColumnElement[Any], object]) -> list[ColumnElement[bool]]:
    """`column == value` for each value that was given."""
    return [column == value for column, value in wanted if value is not None]
