"""The demo, offline: a tiny model that names what it sees is scored, learns where things are, and
is scored again.

    out/data/        rendered scenes in the layouts of What's Up and VSR, and objects.jsonl
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
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spare.demo.base import BASE
from spare.demo.captions import training_scenes, write_captions, write_control
from spare.demo.scattered import write_names
from spare.demo.scenes import Places, scene_sets
from spare.demo.shortcuts import place_alone
from spare.demo.world import MAX_SETS, write_objects, write_world
from spare.errors import SpareError
from spare.generation.captions import captions
from spare.generation.pipeline import generate
from spare.generation.publish import publish
from spare.harness.asking import Event
from spare.harness.comparison import Comparison, compare
from spare.harness.evaluate import evaluate
from spare.harness.run import Run, load_run
from spare.harness.validate import validate
from spare.leaderboards.site import report
from spare.tasks import SUITES

CAPTIONS = 9_600
SEEDS = 3
CONTROL = "control"
SPATIAL, GENERAL = "whatsup_a", "custom:objects"
PROMPT = f"{SPATIAL}=answers"

MOST_BEFORE, LEAST_AFTER = 35.0, 80.0
"""What is promised of the four-way task, in per cent: before (and of the control), and after."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo came to.

    Attributes:
        pairs: of the data set.
        base: the run of the base; seeds: of the checkpoints trained on spatial pairs; control: of
            the one trained on pairs about names.
        comparisons: of each seed, then of the control, with the base.
        shortcuts: layout -> accuracy in per cent of the best guess from the thing's place alone,
            and from the furniture's.
        site: its first page.
    """

    pairs: int
    base: Run
    seeds: Sequence[Run]
    control: Run
    comparisons: Sequence[Comparison]
    shortcuts: Mapping[str, tuple[float, float]]
    site: Path

    @property
    def spatial(self) -> list[float]:
        """Four-way accuracy in per cent of the base, of each seed, and of the control."""
        return [_accuracy(run, SPATIAL) for run in (self.base, *self.seeds, self.control)]

    @property
    def general(self) -> list[float]:
        """The same of the general task."""
        return [_accuracy(run, GENERAL) for run in (self.base, *self.seeds, self.control)]

    def missed(self) -> list[str]:
        """A sentence about every promise of the demo that was not kept."""
        before, *after, control = self.spatial
        found = []
        if before > MOST_BEFORE:
            found.append(f"The base knows where things are already: {before:.1f} %.")
        for number, reached in enumerate(after):
            if reached < LEAST_AFTER:
                found.append(f"Seed {number} reached {reached:.1f} %, not {LEAST_AFTER:.0f}.")
        if control > MOST_BEFORE:
            found.append(f"The control is not near chance: {control:.1f} %.")
        for number, one in enumerate(self.comparisons[: len(after)]):
            for change in one.tasks:
                lower = change.difference.value < 0 and change.p < one.alpha
                if change.score.task == GENERAL and lower:
                    found.append(
                        f"Seed {number} is significantly lower in the general task: "
                        f"{change.difference.value:+.1f} points."
                    )
        return found


def _accuracy(run: Run, task: str) -> float:
    score = next(score for score in run.scores if score.task == task)
    return float(score.metrics[score.headline]["value"])


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
        data=objects.parent,
        out=out,
        prompt={SPATIAL: "answers"},
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
    report([base.path, *(run.path for run in runs)], out=out / "site", base=base.path)
    return Story(
        pairs,
        base,
        runs[:-1],
        runs[-1],
        [compare(base, run) for run in runs],
        _shortcuts(count, sets),
        out / "site" / "index.html",
    )


def _world(data: Path, sets: int, on_event: Callable[[Event], None]) -> Path:
    """Render the test scenes; returns the file of the general task."""
    on_event(f"Rendering scenes into {data} ...")
    write_world(data, sets=sets)
    for name in SUITES["demo"]:
        checked = validate(name, data)
        if not checked.ok:
            failed = next(check for check in checked.checks if check.outcome == "failed")
            raise SpareError(
                f"The demo's {name} is damaged ({failed.detail}); delete {data} and start again."
            )
    return write_objects(data, sets=sets)


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
        checkpoint, data = out / "arms" / name, out / "data"
        pairs = out / (CONTROL if name == CONTROL else "dataset")
        train = ["finetune", "--recipe", "demo", "--model", BASE, "--data", pairs]
        train += ["--general", out / "names", "--pictures", out / "docci", "--out", checkpoint]
        train += ["--seed", "0" if name == CONTROL else name.removeprefix("seed-")]
        train += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        ask = ["eval", "--model", checkpoint, "--tasks", ",".join(tasks), "--prompt", PROMPT]
        ask += ["--data", data, "--out", out / "runs" / name]
        for command in (train, ask):
            _spare([str(part) for part in command], out / "arms" / f"{name}.log")
        on_event(f"{name} is trained and evaluated.")

    with ThreadPoolExecutor(_side_by_side(names)) as pool:
        for _ in pool.map(arm, names):
            pass


def _spare(arguments: Sequence[str], log: Path) -> None:
    """Run a command of ours on one thread. Raises SpareError with its last line if it fails."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ spare {' '.join(arguments)}\n")
        file.flush()
        done = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "-m", "spare", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    if done.returncode:
        last = (log.read_text("utf-8").strip().splitlines() or [""])[-1]
        raise SpareError(f"`spare {arguments[0]}` failed: {last} ({log} has all of it.)")


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
