"""`spare leaderboard`: many runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = ("rich", "markdown", "latex", "html", "csv", "json", "hf-model-card")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directories")
    add("--suite", default="", metavar="NAME", help="only a suite's tasks, and their average")
    add("--base", default="", metavar="RUN", help="show differences to this run")
    add(
        "--published",
        action="store_true",
        help="the rows of the SpaRE paper's Table 3, too, marked as reported",
    )
    add(
        "--format",
        choices=FORMATS,
        default="rich",
        help="how to show it (rich: the terminal); hf-model-card is one run's evaluation metadata "
        "for the hub",
    )
    add("--out", metavar="FILE", help="write it there")
    parser.epilog = (
        "Only scores that agree in task, version, split, layout, prompt, rules and number of "
        "questions share a column. Exit code: 0 every run is shown whole; 1 one could not be read, "
        "is unfinished or has errors (the rest is shown, and a sentence names it); 2 nothing to "
        "show."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.errors import SpareError
    from spare.leaderboards.board_tables import as_csv, as_json, grids
    from spare.leaderboards.collection import load_one
    from spare.leaderboards.grids import show, written
    from spare.leaderboards.leaderboard import leaderboard
    from spare.leaderboards.model_cards import model_card

    if arguments.format == "hf-model-card":
        if len(arguments.runs) != 1:
            raise SpareError("A model card is about one run; name one.")
        _put(model_card(load_one(arguments.runs[0])), arguments.out)
        return 0
    board = leaderboard(
        arguments.runs,
        suite=arguments.suite,
        published=arguments.published,
        base=arguments.base,
    )
    if arguments.format == "rich" and not arguments.out:
        show(grids(board))
    elif arguments.format == "json":
        _put(as_json(board), arguments.out)
    elif arguments.format == "csv":
        _put(as_csv(board), arguments.out)
    else:
        _put(written(grids(board), arguments.format), arguments.out)
    return 1 if board.problems else 0


def _put(text: str, out: str | None) -> None:
    from spare.leaderboards.grids import write

    if out:
        write(Path(out), text)
        print(f"{out} is written.")
    else:
        print(text, end="")
