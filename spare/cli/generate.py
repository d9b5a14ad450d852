"""`spare generate`: make spatial question-answer pairs of captions, and filter them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.cli.eval import add_cluster_arguments, add_server_arguments, replicas
from spare.cli.progress import Bar, Look, shown
from spare.errors import SpareError, counted

if TYPE_CHECKING:
    from spare.generation.pipeline import Event, Progress

OPTIONS = (
    *("llm", "clip", "blobs", "benchmarks", "exclude", "max_new_tokens", "prefilter", "spatial"),
    *(
        "similar",
        "guard",
        "support",
        "clipscore",
        "clip_scale",
        "cap",
        "harmless",
        "llm_frames",
        "in_sentence",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spare.generation.stages import Options

    defaults = Options()
    add = parser.add_argument
    add("captions", metavar="CAPTIONS", help="folder of `spare captions`, or of one source in it")
    add(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for the pairs; one that is there goes on",
    )
    add(
        "--llm",
        default="template:",
        metavar="MODEL",
        help="language model: transformers:PATH or vllm:PATH; openai:NAME for a server's "
        "(--base-url); template: (the default) asks none",
    )
    add(
        "--clip", default="", metavar="MODEL", help="dual encoder for near duplicates and CLIPScore"
    )
    add(
        "--llm-frames",
        action="store_true",
        help="have the language model say whose left is meant where rules cannot tell",
    )
    add("--blobs", default="", metavar="DIR", help="where `spare images` put the pictures")
    add(
        "--benchmarks",
        default="",
        metavar="DIR",
        help="the benchmarks' files: pairs about their pictures are dropped; VSR's tests are known "
        "without them; none drops no pair for this",
    )
    add(
        "--exclude-images",
        dest="exclude",
        default="",
        metavar="FILE",
        help="further pictures to leave out: keys or SHA-256, one a line",
    )
    add("--stages", default="", metavar="NAME,NAME", help="run only these")
    add("--rethreshold", action="store_true", help="decide again; run no stage and no model")
    cuts = parser.add_argument_group("what is kept")
    add = cuts.add_argument
    for name, about in (
        ("prefilter", "least probability that a caption is about space"),
        ("similar", "cosine from which two questions of a caption are one"),
        ("support", "least share of an answer's words that the caption must have"),
        ("clipscore", "least CLIPScore of a question and its picture"),
        ("spatial", "least probability that a pair is about space"),
        ("cap", "largest share of the pairs that one relation may have"),
        ("harmless", "share of the pairs that may be about something else"),
    ):
        default = getattr(defaults, name)
        add(f"--{name}", type=float, metavar="X", help=f"{about} ({default:g})")
    add(
        "--in-sentence",
        action="store_true",
        help="drop what no single sentence of the caption says: finds swapped directions, which "
        "the paper's own check does not",
    )
    add(
        "--no-guard",
        dest="guard",
        action="store_false",
        help="as in the paper, take questions for one although their directions differ",
    )
    add("--clip-scale", choices=("raw", "w2.5"), help="what --clipscore is compared with (raw)")
    add(
        "--relation-weights",
        metavar="FILE",
        help="weights of `spare show RUN --by relation --weights FILE`, for training",
    )
    engine = parser.add_argument_group("engine")
    add = engine.add_argument
    add_cluster_arguments(engine, "stages run")
    add(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help=f"bound on a reply ({defaults.max_new_tokens:,})",
    )
    add("--dtype", default="auto", help="auto (the checkpoint's), float32, bfloat16 or float16")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ...")
    add("--batch-tokens", type=int, metavar="N", help="tokens per batch; by default what fits")
    add_server_arguments(engine)
    add("--tensor-parallel", type=int, default=1, metavar="N", help="spread vllm:PATH over N GPUs")
    parser.set_defaults(**dict.fromkeys(OPTIONS))


def run(arguments: argparse.Namespace) -> int:
    from spare.generation.pipeline import generate
    from spare.generation.tables import grids
    from spare.harness.models.listing import refuse_address
    from spare.leaderboards.grids import show

    if not arguments.rethreshold:
        refuse_address(arguments.base_url, [arguments.llm or "template:"])

    # What is not given is left out, so that --rethreshold keeps it as it was.
    options: dict[str, Any] = {
        name: value for name in OPTIONS if (value := getattr(arguments, name)) is not None
    }
    if arguments.relation_weights:
        options["weights"] = _weights(Path(arguments.relation_weights))
    with progress() as on_event:
        found = generate(
            arguments.captions,
            out=arguments.out,
            stages=[name.strip() for name in arguments.stages.split(",") if name.strip()],
            rethreshold=arguments.rethreshold,
            replicas=replicas(arguments),
            on_event=on_event,
            engine={
                "dtype": arguments.dtype,
                "device": arguments.device,
                "batch_tokens": arguments.batch_tokens,
                "base_url": arguments.base_url,
                "concurrency": arguments.concurrency,
                "tensor_parallel": arguments.tensor_parallel,
            },
            **options,
        )
    if found:
        show(grids(found))
    return 1 if found.get("unheard") else 0


def _weights(path: Path) -> dict[str, float]:
    """The relations' weights in a file that `spare show --weights` wrote."""
    try:
        told = json.loads(path.read_text("utf-8"))
        weights = {str(name): float(weight) for name, weight in told["weights"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SpareError(
            f"{path} holds no weights; `spare show RUN --by relation --weights FILE` writes them."
        ) from None
    from spare.relations import relation_groups

    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise SpareError(f"{path} gives {name!r} the weight {weight}; weights are 0 or more.")
    strange = sorted(set(weights) - set(relation_groups()))
    if strange:
        raise SpareError(
            f"{path} has a weight of {strange[0]!r}, which is none of SpaRE's relations."
        )
    return weights


def progress() -> AbstractContextManager[Callable[[Event], None]]:
    """What shows events."""
    return shown(Look(_bar, _line, waiting=_waiting, left="captions, ETA"))


def _bar(event: Progress) -> Bar:
    return Bar(event.stage, event.done, event.total)


def _line(event: Progress) -> str:
    there = ", already there" if event.done >= event.total else ""
    pace = f", {event.pace:.1f}/s" if event.done > event.before else there
    left = (event.total - event.done) / event.pace / 60 if event.pace else 0
    eta = f", {left:.0f} min to go" if left else ""
    return f"{event.stage}: {event.done:,} of {event.total:,} captions{eta}{pace}"


PATIENCE = 5.0
"""Seconds without a reply that are not worth a word."""


def _waiting(event: Progress) -> str:
    seconds = event.awaited.seconds
    if event.done >= event.total or not event.awaited.count or seconds < PATIENCE:
        return ""
    return f"waiting for {counted(event.awaited.count, 'reply')}, none for {seconds:,.0f} s"
