"""`spare eval`: score a model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from spare.cli.progress import Bar, Look, shown
from spare.errors import SpareError

if TYPE_CHECKING:
    from spare.harness.asking import Event, Progress

REPLICAS = 2
"""Actors on a cluster, if nobody says how many."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model",
        required=True,
        help="path or hub id of a checkpoint; vllm:NAME to run it by vLLM; openai:NAME for a "
        "server's model (--base-url); clip:NAME for a dual encoder; lm-eval:TYPE,NAME=VALUE,... "
        "for a model of lm-eval's; vlmevalkit:NAME,SETTING=VALUE,... for one of VLMEvalKit's; "
        "shuffled:MODEL to show any of them the pictures of other questions; my_models:Class for "
        "your own; or random, majority",
    )
    add(
        "--tasks",
        required=True,
        help="tasks and suites, separated by commas (see `spare tasks`); custom:FILE is your own; "
        "lm-eval:NAME a text task of lm-eval",
    )
    add(
        "--data",
        default="",
        metavar="DIR",
        help="folder with the published files; only tasks of lm-eval do without",
    )
    add("--out", required=True, metavar="RUN", help="run directory; one that is there goes on")
    add_choices(parser, "way of reading replies, or all of them; by default the prompt's first")
    parser.epilog = (
        "--split, --prompt and --rules take one NAME for all tasks, or TASK=NAME for one of them; "
        "repeat them or use commas for several: --prompt whatsup_a=captions,vsr_zeroshot=spare. "
        "`spare tasks TASK` lists the names. Exit code: 0 all is well; 1 some samples got no reply "
        "(they count as wrong, and the next call asks them again); 2 the request cannot be met."
    )
    add("--limit", type=int, metavar="N", help="ask only the first N samples per task, for a try")
    add(
        "--lazy-groups",
        action="store_true",
        help="ask no more of a circular question once a rotation has failed: the same headline "
        "figure from fewer questions",
    )
    engine = parser.add_argument_group("engine")
    add = engine.add_argument
    add("--adapter", default="", metavar="DIR", help="PEFT adapter to put on the model")
    add("--dtype", default="auto", help="auto (the checkpoint's), float32, bfloat16 or float16")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ...")
    add("--max-pixels", type=int, metavar="N", help="scale larger pictures down to N pixels")
    add("--attn", default="", metavar="NAME", help="attention implementation, e.g. sdpa or eager")
    add(
        "--batch-tokens",
        type=int,
        metavar="N",
        help="tokens per batch, picture tokens included; by default what fits the device's memory",
    )
    add_server_arguments(engine)
    add(
        "--token-prices",
        default="",
        metavar="READ,WRITTEN",
        help="what a million tokens of openai:NAME cost that are read and that are written, e.g. "
        "2.5,10; the call then says what it has cost",
    )
    add_cluster_arguments(engine, "the model runs")
    add("--tensor-parallel", type=int, default=1, metavar="N", help="spread vllm:NAME over N GPUs")
    add("--seed", type=int, default=0, metavar="N", help="seed of the random baseline (0)")
    add(
        "--trust-remote-code",
        action="store_true",
        help="run Python code that comes with the checkpoint",
    )


def add_server_arguments(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """The options of the engine openai, for every verb that loads models."""
    group.add_argument(
        "--base-url",
        default="",
        metavar="URL",
        help="server of openai:NAME, e.g. http://localhost:8000/v1; its key: OPENAI_API_KEY",
    )
    group.add_argument(
        "--concurrency",
        type=int,
        default=16,
        metavar="N",
        help="most questions that it is asked at a time (%(default)s)",
    )


def add_cluster_arguments(
    group: argparse._ArgumentGroup | argparse.ArgumentParser, what: str
) -> None:
    """The options of every verb that can use a cluster; `what` runs there, in a help text."""
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help=f"ray: {what} in actors on a Ray cluster that sees the same folders (%(default)s)",
    )
    group.add_argument(
        "--replicas", type=int, metavar="N", help=f"actors on the cluster ({REPLICAS})"
    )


def replicas(arguments: argparse.Namespace) -> int:
    """How many actors were asked for; 0 without a cluster."""
    wanted: int | None = arguments.replicas
    if wanted is not None and wanted < 1:
        raise SpareError("--replicas must be at least 1.")
    if arguments.engine == "ray":
        return REPLICAS if wanted is None else wanted
    if wanted is not None:
        raise SpareError(
            f"--replicas {wanted} does nothing without a cluster; add --engine ray, or leave it "
            "out."
        )
    return 0


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.evaluate import evaluate
    from spare.harness.models.listing import refuse_address
    from spare.harness.tokens import read_prices
    from spare.leaderboards.tables import print_scores

    refuse_address(arguments.base_url, [arguments.model])
    prices = read_prices(arguments.token_prices, arguments.model)
    with progress() as on_event:
        finished = evaluate(
            arguments.model,
            arguments.tasks,
            data=arguments.data,
            out=arguments.out,
            split=choice("split", arguments.split),
            prompt=choice("prompt", arguments.prompt),
            rules=choice("rules", arguments.rules),
            limit=arguments.limit,
            lazy_groups=arguments.lazy_groups,
            token_prices=prices,
            on_event=on_event,
            adapter=arguments.adapter,
            dtype=arguments.dtype,
            device=arguments.device,
            max_pixels=arguments.max_pixels,
            attention=arguments.attn,
            batch_tokens=arguments.batch_tokens,
            seed=arguments.seed,
            trust_remote_code=arguments.trust_remote_code,
            base_url=arguments.base_url,
            concurrency=arguments.concurrency,
            tensor_parallel=arguments.tensor_parallel,
            replicas=replicas(arguments),
        )
    print_scores(finished)
    return 1 if finished.errors else 0


def add_choices(
    parser: argparse.ArgumentParser,
    rules: str = "way of reading replies; by default the prompt's first",
) -> None:
    """The options that say how tasks are asked and read; `choice` reads them."""
    for name, about in (
        ("split", "split to ask; by default the task's own"),
        ("prompt", "way of asking; by default the task's first"),
        ("rules", rules),
    ):
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar="[TASK=]NAME", help=about
        )


def choice(option: str, values: list[str]) -> str | Mapping[str, str]:
    """`--prompt NAME` is for all tasks, `--prompt TASK=NAME,TASK=NAME` for some; both may not be
    mixed."""
    if not values:
        return ""
    if len(values) == 1 and not set(values[0]) & {"=", ","}:
        return values[0]
    choice: dict[str, str] = {}
    for value in ",".join(values).split(","):
        # A task's name may have a "=" (custom:a=b); those of splits, prompts and rules have none.
        task, _, name = (part.strip() for part in value.rpartition("="))
        if not (task and name):
            raise SpareError(
                f"--{option} takes one NAME for all tasks, or TASK=NAME for each that is to have "
                f"another than its default (repeat it or use commas); {value!r} is neither."
            )
        if choice.setdefault(task, name) != name:
            raise SpareError(f"--{option} names {choice[task]} and {name} for {task}; keep one.")
    return choice


def progress() -> AbstractContextManager[Callable[[Event], None]]:
    """What shows events."""
    return shown(Look(_bar, _line, _state, _waiting))


def _bar(event: Progress) -> Bar:
    return Bar(event.task, event.done + event.skipped, event.total)


def _line(event: Progress) -> str:
    minutes = event.missing / event.pace / 60 if event.pace else 0
    eta = f", {minutes:.0f} min to go" if minutes else ""
    return f"{event.task}: {event.done:,} of {event.total:,}{eta}, {_state(event)}"


PATIENCE = 30.0
"""Seconds without a reply that are not worth a word."""


def _waiting(event: Progress) -> str:
    seconds = time.monotonic() - event.last
    if not event.started or not event.missing or seconds < PATIENCE:
        return ""
    return f"no reply for {seconds:,.0f} s"


def _state(event: Progress) -> str:
    judged = max(event.done, 1)
    parts = [f"errors {event.errors:,}"] if event.errors else []
    if event.done > event.before:
        parts.append(f"{event.pace:.1f}/s")
    elif not event.missing:
        parts.append("already there")
    if event.scored:
        parts.append(f"accuracy {100 * event.score / judged:.1f} %")
    parts.append(f"unread {100 * event.unread / judged:.1f} %")
    if event.skipped:
        parts.append(f"skipped {event.skipped:,}")
    return ", ".join(parts)
