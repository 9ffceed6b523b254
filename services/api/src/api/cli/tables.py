"""What a person gets to read: tables and details on stdout, coloured on a terminal, plain anywhere else."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from api.cli.service import Answer
from api.cli.text import flattened, plain, printable

_STYLES = {
    **dict.fromkeys(("ACTIVE", "healthy", "ok", "accepted", "succeeded", "serving", "replayed"), "green"),
    **dict.fromkeys(("REDUCING", "degraded", "refused", "rejected", "lagging", "warning"), "yellow"),
    **dict.fromkeys(("HALTED", "unhealthy", "failed", "quarantined", "unavailable", "critical"), "red"),
}
_PIPED_WIDTH = 100_000
_NOTHING = "nothing to show"

Text = Callable[[Any], str]


class Column(msgspec.Struct, frozen=True):
    """One column of a table: its heading, and where its cells come from."""

    title: str
    source: str | Text
    """A field of the row, or what makes a cell of the row."""
    right: bool = False

    def cell(self, row: Mapping[str, Any]) -> str:
        """The cell of `row`."""
        if isinstance(self.source, str):
            return plain(row.get(self.source))
        return self.source(row)


def show(answer: Answer, as_json: bool, render: Callable[[Any], None]) -> None:
    """The answer is on stdout: exactly as it came, or as `render` writes it."""
    if as_json:
        say(answer.body)
    else:
        render(answer.value)


def show_table(answer: Answer, as_json: bool, columns: Sequence[Column], nothing: str = _NOTHING) -> None:
    """The items of a listing are on stdout, and how many more there are."""
    show(answer, as_json, lambda page: write_page(page, columns, nothing))


def write_page(page: Mapping[str, Any], columns: Sequence[Column], nothing: str = _NOTHING) -> None:
    """A page of a listing is on stdout; how much of the whole it is, where it is not all."""
    items, total = page["items"], page.get("total")
    if not items:
        say(nothing)
        return
    write_table(items, columns)
    if total is not None and total > len(items):
        say(f"{len(items)} of {total}")


def write_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """The rows are on stdout, in columns."""
    from rich.table import Table  # noqa: PLC0415 - not for --json
    from rich.text import Text as Styled  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        # Folded where the terminal is narrow: an id that is cut is no use.
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        cells = [column.cell(row) for column in columns]
        table.add_row(*(Styled(cell, style=_STYLES.get(cell, "")) for cell in cells))
    _write(table)


def write_details(value: Mapping[str, Any], *, leave_out: Iterable[str] = ()) -> None:
    """All of an object is on stdout: its fields, then each of its lists as a table of its own."""
    fields = {name: each for name, each in value.items() if name not in set(leave_out)}
    lists = {name: each for name, each in fields.items() if _is_table(each)}
    scalars = flattened({name: each for name, each in fields.items() if name not in lists})
    width = max(map(len, scalars), default=0)
    for name, each in scalars.items():
        say(f"{printable(name).ljust(width)}  {plain(each)}")
    for name, rows in lists.items():
        say(f"\n{printable(name)}")
        titles = dict.fromkeys(field for row in rows for field in row)
        write_table(rows, [Column(title, title) for title in titles])


def say(line: str) -> None:
    """A line is on stdout."""
    sys.stdout.write(f"{line}\n")


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _write(renderable: Any) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --json

    is_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout, width=None if is_terminal else _PIPED_WIDTH, no_color=None if is_terminal else True
    )
    if is_terminal:
        console.print(renderable)
        return
    with console.capture() as written:
        console.print(renderable)
    # A table pads every line to its width.
    say("\n".join(line.rstrip() for line in written.get().rstrip("\n").split("\n")))
