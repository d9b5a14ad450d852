"""The errors that a user may meet. Each is one sentence: what is wrong, where, what to do.

The command line prints the sentence and exits with 2; anything that is not a `SpareError` is a bug
in this project and keeps its stack trace.
"""

from __future__ import annotations

from collections.abc import Iterable


class SpareError(Exception):
    """Something the user can mend. The message is a whole sentence."""


class DataError(SpareError):
    """A benchmark's file is missing, torn, or not what its layout promises.

    Args:
        problem: what is wrong, without a full stop.
        file: the file, as the user would find it.
        row: 1-based row (for JSON Lines: line) inside it, or None.
        remedy: what the user can do about it.
    """

    def __init__(
        self, problem: str, file: object = None, row: int | None = None, remedy: str = ""
    ) -> None:
        where = "" if file is None else f"{file}: " if row is None else f"{file}, row {row}: "
        super().__init__(f"{where}{problem}." + (f" {remedy}" if remedy else ""))


class PictureError(SpareError):
    """One picture cannot be opened. It costs its own samples and no others."""


class ModelError(SpareError):
    """A checkpoint cannot be loaded, or is not something that answers questions about pictures."""


def install(extra: str) -> str:
    """The command that installs an extra of this project, and where it is run, for a sentence. The
    project is installed from a clone: no index has it."""
    return f"`pip install -e '.[{extra}]'` in the folder of spare's repository"


def counted(number: int, noun: str) -> str:
    """How many there are of something, for a sentence ("1 reply", "1,200 replies")."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("ply") else f"{number:,} {noun}s"


def near(name: str, known: Iterable[str]) -> str:
    """Names that a mistyped one may have meant, for the end of a sentence; "" if there are none."""
    import difflib

    found = difflib.get_close_matches(name, [*known], cutoff=0.5)
    return f"; near it are {', '.join(found)}" if found else ""


def excerpt(text: str, longest: int) -> str:
    """The beginning of a text, for a sentence: cut at a word, if one ends in its second half, and
    marked as cut. No longer than `longest` characters and the mark."""
    if len(text) <= longest:
        return text
    begun = text[:longest]
    between = begun[-1].isspace() or text[longest].isspace()
    whole = begun if between else begun.rsplit(None, 1)[0]
    return f"{(whole if len(whole) > longest // 2 else begun).rstrip()}…"
