"""`spare demo`: the whole story on rendered scenes, offline."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spare.demo.outcome import Story


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="runs/demo", metavar="DIR", help="folder for all that it makes (runs/demo)"
    )
    parser.epilog = (
        "A tiny model that names what it sees is scored, trained on pairs made of captions (three "
        "seeds and a control), scored again and compared; see docs/demo.md. Goes on where it was "
        "stopped. Exit code: 0 done; 1 the training did not come to what it promises, and a "
        "sentence says to what."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.cli.eval import progress
    from spare.demo.run import before, story
    from spare.leaderboards.tables import print_scores

    with progress() as on_event:
        runs = before(arguments.out, on_event=on_event)
    for run in runs:
        print_scores(run)
    with progress() as on_event:
        found = story(arguments.out, on_event=on_event)
    return tell(found)


def tell(story: Story) -> int:
    """Print what the story came to; returns the exit code."""
    from spare.demo.outcome import tables
    from spare.leaderboards.board_tables import grids
    from spare.leaderboards.grids import show
    from spare.leaderboards.leaderboard import leaderboard

    runs = [run.path for run in story.runs]
    # What matters most comes last: there the eye is.
    show([*grids(leaderboard(runs, base=story.base.path)), *reversed(tables(story))])
    print("\nNext:")
    print(f"  {story.site} in a browser")
    print(f"  spare compare {story.base.path} {story.seeds[0].path} --by relation")
    print(f"  spare show {story.seeds[0].path} --by relation")
    return 1 if story.missed() else 0
