"""The demo, offline: a tiny model that names what it sees is scored, learns where things are, and
is scored again.

    out/data/demo/   rendered scenes in the layouts of What's Up and VSR, and objects.jsonl
    out/docci/       training scenes with captions in DOCCI's layout
    out/dataset/     question-answer pairs that the pipeline made of them, those that ask where;
                     `control/` is as many about names; `names/` is general data that is mixed into
                     both
    out/arms/        checkpoints of the seeds and of the control, with logs
    out/runs/        all evaluations; `site/` shows them

`before` is done with the first of these and the base's run, beside a guesser's; `story` does all.
Every part goes on where it was stopped, so the same call does.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from spare.children import Children
from spare.demo.base import BASE
from spare.demo.captions import training_scenes, write_captions, write_control
from spare.demo.outcome import Story, tables
from spare.demo.scattered import write_names
from spare.demo.scenes import Places, scene_sets
from spare.demo.shortcuts import place_alone
from spare.demo.world import MAX_SETS, write_objects, write_world
from spare.errors import SpareError
from spare.generation.captions import captions
from spare.generation.pipeline import generate
from spare.generation.publish import publish
from spare.harness.asking import Event
from spare.harness.comparison import compare
from spare.harness.evaluate import evaluate
from spare.harness.run import Run, load_run
from spare.harness.validate import validate
from spare.leaderboards.site import report
from spare.tasks import SUITES
from spare.tasks.demo import FOLDER

CAPTIONS = 9_600
SEEDS = 3
CONTROL = "control"


def before(
    out: str | Path, *, on_event: Callable[[Event], None] = lambda event: None
) -> tuple[Run, Run]:
    """Render scenes in the published layouts of What's Up and VSR, and score the base beside a
    guesser: how the story begins, in seconds.

    Returns:
        The runs of the base and of the guesser.

    Raises:
        SpareError: what is in `out` is damaged.
    """
    out = Path(out)
    objects = _world(out / "data", MAX_SETS, on_event)
    base, guesser = (
        _ask(model, objects, out / "runs" / name, on_event)
        for model, name in ((str(BASE), "base"), ("random", "random"))
    )
    return base, guesser


def _ask(model: str, objects: Path, out: Path, on_event: Callable[[Event], None]) -> Run:
    return evaluate(
        model,
        _tasks(objects),
        data=objects.parent.parent,
        out=out,
        on_event=on_event,
    )


def _tasks(objects: Path) -> list[str]:
    return [*SUITES["demo"], f"custom:{objects}"]


def story(
    out: str | Path,
    *,
    count: int = CAPTIONS,
    sets: int = MAX_SETS,
    seeds: int = SEEDS,
    settings: Mapping[str, str] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Story:
    """Tell the whole story in `out`, or go on with it.

    Args:
        count: captions to train on. sets: scenes of each layout to test on, by four.
        seeds: of the training on spatial pairs; the control has one.
        settings: values of the recipe `demo` to set otherwise.

    Raises:
        SpareError: a part cannot be done; what is whole stays.
    """
    out = Path(out)
    objects = _world(out / "data", sets, on_event)
    base = _ask(str(BASE), objects, out / "runs" / "base", on_event)
    pairs = _pairs(out, count, on_event)
    names = [*(f"seed-{seed}" for seed in range(seeds)), CONTROL]
    on_event(f"Training {', '.join(names)} ({_side_by_side(names)} at a time) ...")
    _arms(out, names, _tasks(objects), settings or {}, on_event)
    runs = [load_run(out / "runs" / name) for name in names]
    found = Story(
        pairs,
        base,
        runs[:-1],
        runs[-1],
        [compare(base, run) for run in runs],
        _shortcuts(count, sets),
        out / "site" / "index.html",
    )
    paths = [run.path for run in found.runs]
    report(paths, out=found.site.parent, base=base.path, above=tables(found))
    return found


def _world(data: Path, sets: int, on_event: Callable[[Event], None]) -> Path:
    """Render the test scenes; returns the file of the general task."""
    on_event(f"Rendering scenes into {data} ...")
    write_world(data / FOLDER, sets=sets)
    for name in SUITES["demo"]:
        checked = validate(name, data)
        if not checked.ok:
            failed = next(check for check in checked.checks if check.outcome == "failed")
            raise SpareError(
                f"The demo's {name} is damaged ({failed.detail}); delete {data} and start again."
            )
    return write_objects(data / FOLDER, sets=sets)


def _pairs(out: Path, count: int, on_event: Callable[[Event], None]) -> int:
    """Captions of training scenes, and pairs made of them; returns their number."""
    on_event(f"Describing {count:,} training scenes and asking about them ...")
    write_captions(out / "docci", count=count)
    captions("docci", data=out / "docci", out=out / "captions")
    # What looks like a picture of the test scenes is left out.
    generate(out / "captions", out=out / "qa", benchmarks=str(out / "data"))
    # All four questions of a caption come to less in the time: so small a model learns hardly
    # anything from yes and no.
    publish(out / "qa", out=out / "dataset", only={"form": "where"})
    write_names(out / "names", out / "docci", count=max(count // 4, 1))
    return write_control(out / "dataset", out / CONTROL, count=count)


def _side_by_side(names: Sequence[str]) -> int:
    return min(len(names), os.cpu_count() or 1)


def _arms(
    out: Path,
    names: Sequence[str],
    tasks: Sequence[str],
    settings: Mapping[str, str],
    on_event: Callable[[Event], None],
) -> None:
    """Train and evaluate all arms, as many at a time as there are cores, by the commands that a
    user would type."""
    (out / "arms").mkdir(parents=True, exist_ok=True)

    def arm(name: str) -> None:
        pairs = out / (CONTROL if name == CONTROL else "dataset")
        train = ["finetune", "--recipe", "demo", "--model", BASE, "--data", pairs]
        train += ["--general", out / "names", "--pictures", out / "docci"]
        train += ["--out", out / "arms" / name]
        train += ["--seed", "0" if name == CONTROL else name.removeprefix("seed-")]
        train += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        ask = ["eval", "--model", out / "arms" / name, "--tasks", ",".join(tasks)]
        ask += ["--data", out / "data", "--out", out / "runs" / name]
        for command in (train, ask):
            log = out / "arms" / f"{name}.log"
            children.run([str(part) for part in command], log, {"OMP_NUM_THREADS": "1"})
        on_event(f"{name} is trained and evaluated.")

    # The first that fails ends the others: they go on with the next call.
    with ThreadPoolExecutor(_side_by_side(names)) as pool, Children() as children:
        for done in as_completed([pool.submit(arm, name) for name in names]):
            done.result()


def _shortcuts(count: int, sets: int) -> dict[str, tuple[float, float]]:
    """What the place of one object alone gives away of the test scenes, learnt from the training
    scenes."""
    layouts: Mapping[str, Places] = {
        "What's Up": "same thing",
        "VSR": "same furniture",
        "like training": "anywhere",
    }
    found = {}
    for name, places in layouts.items():
        # More scenes than are asked about: it is the layout that is measured.
        fours = itertools.islice(scene_sets("test", places), max(sets, 500))
        asked = list(itertools.chain.from_iterable(fours))
        found[name] = (
            place_alone(training_scenes(count), asked, "thing"),
            place_alone(training_scenes(count), asked, "furniture"),
        )
    return found
