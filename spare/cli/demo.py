"""`spare demo`: the whole thing offline."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="runs/demo", metavar="DIR", help="where everything goes (runs/demo)"
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.cli.eval import progress
    from spare.demo.run import demo
    from spare.leaderboards.tables import print_breakdown, print_scores

    with progress() as on_event:
        scored, baseline = demo(arguments.out, on_event=on_event)
    print(
        f"A tiny checkpoint with random weights ({scored.path}). It ranks captions at chance, and "
        "what it\nwrites is noise, so it is unread: wrong, but counted apart, and never guessed."
    )
    print_scores(scored)
    print(f"What guessing gets ({baseline.path}).")
    print_scores(baseline)
    print("The checkpoint by relation.")
    print_breakdown(scored, ["relation"])
    print("Next:")
    print(f"  spare show {scored.path} --by relation,class")
    print(f"  spare eval --model MODEL --tasks demo --data {arguments.out}/data --out runs/MODEL")
    return 1 if any(score.errors for score in scored.scores) else 0
