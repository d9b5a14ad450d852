"""The main job from nothing, offline: render a world, build a tiny checkpoint, score it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import sentences, write_world
from spare.errors import SpareError
from spare.harness.asking import Event
from spare.harness.evaluate import evaluate
from spare.harness.run import Run
from spare.harness.validate import validate
from spare.tasks import SUITES


def demo(
    out: str | Path, *, on_event: Callable[[Event], None] = lambda event: None
) -> tuple[Run, Run]:
    """Render scenes in the published layouts of What's Up and VSR, build a tiny checkpoint, and
    score it beside a guesser.

    What's Up is asked by ranking captions, VSR by writing True or False: both ways of asking.

    Everything lands under `out`: `data/`, `checkpoint/`, `checkpoint-run/` and `random-run/`.
    What is there already is used again.

    Returns:
        The runs of the checkpoint and of the guesser. The checkpoint's weights are random, so it
        ranks at chance and writes noise; the path that its scores came along is the point.
    """
    out = Path(out)
    data, checkpoint = out / "data", out / "checkpoint"
    on_event(f"Rendering scenes into {data} ...")
    write_world(data)
    for name in SUITES["demo"]:
        report = validate(name, data)
        if not report.ok:
            failed = next(check for check in report.checks if check.outcome == "failed")
            raise SpareError(
                f"The demo's {name} is damaged ({failed.detail}); delete {data} and start again."
            )
    if not checkpoint.is_dir():
        on_event(f"Building a tiny checkpoint in {checkpoint} ...")
        unfinished = out / "checkpoint.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        build_checkpoint(unfinished, "llava", sentences=sentences(data))
        unfinished.rename(checkpoint)
    runs = [
        evaluate(
            model,
            list(SUITES["demo"]),
            data=data,
            out=out / name,
            prompt={"whatsup_a": "captions"},
            on_event=on_event,
        )
        for model, name in ((str(checkpoint), "checkpoint-run"), ("random", "random-run"))
    ]
    return runs[0], runs[1]
