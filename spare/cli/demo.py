"""`spare demo`: the whole thing offline."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="runs/demo", metavar="DIR", help="folder for all that it makes (runs/demo)"
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.cli.eval import progress
    from spare.demo.run import demo
    from spare.leaderboards.screen import wrap
    from spare.leaderboards.tables import print_breakdown, print_scores

    with progress() as on_event:
        scored, baseline = demo(arguments.out, on_event=on_event)
    for line in wrap(
        "1. A tiny checkpoint with random weights. It ranks captions at chance. What it writes is "
        "noise, in which no answer can be read: that counts as wrong, and as unread."
    ):
        print(line)
    print()
    print_scores(scored)
    print("\n2. The engine `random`, which guesses.\n")
    print_scores(baseline)
    print("\n3. The checkpoint by relation.\n")
    print_breakdown(scored, ["relation"])
    print("\nNext:")
    print(f"  spare show {scored.path}")
    print(f"  spare show {scored.path} --by relation,class")
    print(f"  spare eval --model MODEL --tasks demo --data {arguments.out}/data --out runs/MODEL")
    return 1 if any(score.errors for score in scored.scores) else 0
