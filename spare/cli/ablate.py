"""`spare ablate`: several generators, or pre-filters, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spare.cli.eval import add_server_arguments
from spare.errors import SpareError, counted

if TYPE_CHECKING:
    from spare.generation.ablation import Classifier, Generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("captions", metavar="CAPTIONS", nargs="?", default="", help="folder of `spare captions`")
    add("--llm", action="append", default=[], metavar="MODEL", help="a generator; repeat it")
    add("--out", required=True, metavar="DIR", help="folder for what they say; an old one goes on")
    add("-n", type=int, default=100, metavar="N", help="captions, drawn at random (%(default)s)")
    add("--clip", default="", metavar="MODEL", help="dual encoder, the same for all")
    add(
        "--labelled",
        default="",
        metavar="FILE",
        help="JSON Lines with caption and spatial: how the pre-filters do on them",
    )
    add("--max-new-tokens", type=int, default=8192, metavar="N", help="bound on a reply")
    add("--dtype", default="auto", help="auto (the checkpoint's), float32, bfloat16 or float16")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ...")
    add_server_arguments(parser)
    parser.epilog = (
        "For the paper's other ablations publish one part of the pairs: `spare publish --only "
        "source=docci`, `--only class=projective`. Exit code: 0 every question has a reply; 1 some "
        "have none (the same command asks again)."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.cli.generate import progress
    from spare.generation.ablation import compare_classifiers, compare_generators
    from spare.harness.models.listing import refuse_address
    from spare.leaderboards.grids import Column, Grid, show

    llms = arguments.llm or ["template:"]
    refuse_address(arguments.base_url, llms)
    unheard = 0
    engine = {
        "dtype": arguments.dtype,
        "device": arguments.device,
        "base_url": arguments.base_url,
        "concurrency": arguments.concurrency,
    }
    if not arguments.captions and not arguments.labelled:
        raise SpareError("Name a folder of captions, or labelled captions with --labelled.")
    if arguments.captions:
        with progress() as on_event:
            made = compare_generators(
                arguments.captions,
                llms,
                out=arguments.out,
                number=arguments.n,
                on_event=on_event,
                engine=engine,
                clip=arguments.clip,
                max_new_tokens=arguments.max_new_tokens,
            )
        names = (
            *("passed", "pairs", "per caption", "about space", "kept", "cut off", "no reply"),
            "s/caption",
        )
        rows = [
            (
                one.name,
                f"{one.passed:,}",
                f"{one.pairs:,}",
                f"{one.pairs / one.replied:.1f}" if one.replied else "-",
                f"{100 * one.spatial / one.pairs:.1f} %" if one.pairs else "-",
                f"{one.kept:,}",
                f"{one.cut_off:,}",
                f"{one.unheard:,}",
                f"{one.seconds:.2f}",
            )
            for one in made
        ]
        columns = [Column("generator"), *(Column(name, True) for name in names)]
        about = "about space: pairs with a keyword of Table 10; the paper's authors looked at them."
        notes = [about, *_unheard(made)]
        show([Grid(f"{made[0].captions:,} captions", columns, rows, notes)])
        unheard += sum(one.unheard for one in made)
    if arguments.labelled:
        with progress() as on_event:
            told = compare_classifiers(
                arguments.labelled, llms, out=arguments.out, on_event=on_event, engine=engine
            )
        measures = ("accuracy", "precision", "recall", "F1", "no reply", "s/caption")
        lines = [
            (
                one.name,
                *(
                    f"{value:.2f}" if one.heard else "-"
                    for value in (one.accuracy, one.precision, one.recall, one.f1)
                ),
                f"{one.unheard:,}",
                f"{one.seconds:.3f}",
            )
            for one in told
        ]
        columns = [Column("pre-filter"), *(Column(name, True) for name in measures)]
        show([Grid("Is the caption about space?", columns, lines, _unheard(told))])
        unheard += sum(one.unheard for one in told)
    return 1 if unheard else 0


def _unheard(found: Sequence[Generator] | Sequence[Classifier]) -> list[str]:
    """What a table says of questions without a reply."""
    from spare.generation.tables import remedy

    return [
        f"{one.name} gave no reply to {counted(one.unheard, 'question')}, which no rate counts; "
        f"the same command asks again. The first error: {one.first_error}{remedy(one.first_error)}"
        for one in found
        if one.unheard
    ]
