"""Lines that fit the terminal."""

from __future__ import annotations

WIDTH = 100
"""Columns where nobody says how many there are: in a pipe or a file."""


def width() -> int:
    """Columns to fill: what COLUMNS says, else the terminal's, else `WIDTH`."""
    import shutil

    return shutil.get_terminal_size((WIDTH, 1)).columns


def wrap(text: str, *, first: str = "", rest: str = "") -> list[str]:
    """The text in lines that fit; `first` and `rest` stand before the first and the other lines.

    Names and paths stay whole, so that they can be copied.
    """
    import textwrap

    return textwrap.wrap(
        text,
        max(width(), 40),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
