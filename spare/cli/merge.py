"""`spare merge`: put an adapter into its base's weights."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="folder of an adapter, as `spare finetune` writes it")
    add("--out", required=True, metavar="DIR", help="folder of the checkpoint")
    add("--model", default="", help="its base, where it is elsewhere than the adapter says")


def run(arguments: argparse.Namespace) -> int:
    from spare.finetune.merging import merge

    told = merge(arguments.adapter, out=arguments.out, model=arguments.model)
    print(
        f"{told.folder}: {told.changed:,} of {told.weights:,} weight tensors changed; the "
        f"log-probabilities differ from the unmerged model's by {told.distance:.2g} (root mean "
        f"square; {told.tolerance:g} is allowed)."
    )
    print(f"To score it:\n  {told.command}")
    return 0
