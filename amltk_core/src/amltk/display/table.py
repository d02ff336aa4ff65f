"""Tables of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
LAST_COLUMN = 24
"""Smallest width of the last column, which holds sentences, even in a narrow terminal."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, styles: Mapping[str, str]) -> None:
    """Print a table. A terminal gets a folded last column; in other outputs each row is one line.

    Args:
        header: The columns' names.
        rows: The cells, one for each column.
        styles: Styles of cells, by their whole text.
    """
    rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in [header, *rows]:
            cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
            print((" " * GAP).join(cells).rstrip())  # noqa: T201 - the command line's output
        return
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in header[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(header[-1], overflow="fold", min_width=min(widths[-1], LAST_COLUMN))
    for row in rows:
        table.add_row(*[Text(cell, styles.get(cell, "")) for cell in row])
    needed = sum(widths[:-1]) + GAP * len(widths) + min(widths[-1], LAST_COLUMN)
    if console.width < needed:
        console = Console(highlight=False, width=needed)  # long lines are easier to read than split words
    console.print(table)
