"""`spare demo`: the whole story on rendered scenes, offline."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spare.demo.run import Story
    from spare.leaderboards.grids import Grid


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
    from spare.leaderboards.grids import show
    from spare.leaderboards.leaderboard import grids, leaderboard
    from spare.leaderboards.screen import wrap

    runs = [story.base.path, *(run.path for run in story.seeds), story.control.path]
    show([_told(story), _shortcuts(story)])
    show(grids(leaderboard(runs, base=story.base.path)))
    missed = story.missed()
    for sentence in missed or ["All that the demo promises was shown."]:
        for line in wrap(sentence):
            print(line)
    print("\nNext:")
    print(f"  {story.site} in a browser")
    print(f"  spare compare {story.base.path} {story.seeds[0].path} --by relation")
    print(f"  spare show {story.seeds[0].path} --by relation")
    return 1 if missed else 0


def _told(story: Story) -> Grid:
    from spare.leaderboards.grids import Column, Grid

    names = ["base", *(f"seed {number}" for number in range(len(story.seeds))), "control"]
    rows = [
        (name, f"{spatial:.1f}", f"{general:.1f}")
        for name, spatial, general in zip(names, story.spatial, story.general, strict=True)
    ]
    return Grid(
        "Where is it, and what is there?",
        [Column("model"), Column("where", numeric=True), Column("what", numeric=True)],
        rows,
        [
            "where: What's Up's pictures, four answers ranked, chance 25. what: names of what is "
            "in them.",
            f"The seeds were trained on {story.pairs:,} pairs made of captions, the control on as "
            "many about names. No thing stands with a furniture in a test that it was trained "
            "with.",
        ],
    )


def _shortcuts(story: Story) -> Grid:
    from spare.leaderboards.grids import Column, Grid

    rows = [
        (layout, f"{thing:.1f}", f"{furniture:.1f}")
        for layout, (thing, furniture) in story.shortcuts.items()
    ]
    return Grid(
        "What one object's place alone gives away",
        [Column("layout"), Column("thing's", numeric=True), Column("furniture's", numeric=True)],
        rows,
        ["Accuracy of the best guess from it, learnt from the training scenes; four relations."],
    )
