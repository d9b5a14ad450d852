"""Many runs at once: those that can be shown, and a sentence about each that cannot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spare.errors import SpareError
from spare.harness.run import Run, load_run


def load_runs(paths: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """The runs that have scores, and a sentence about every path that has none or could not be
    read, and about every run that is unfinished or has errors.

    Raises:
        SpareError: no path was given, or none of them has scores.
    """
    runs, problems = [], []
    for path in dict.fromkeys(Path(one) for one in paths):
        try:
            run = load_run(path)
        except SpareError as error:
            problems.append(str(error))
            continue
        if run.unfinished:
            names = ", ".join(str(entry["task"]) for entry in run.unfinished)
            problems.append(f"{path} is unfinished: no score yet of {names}.")
        if run.errors:
            problems.append(
                f"{path} has {run.errors:,} samples without a reply, counted as wrong; the same "
                "`spare eval` asks them again."
            )
        if run.scores:
            runs.append(run)
        elif not run.unfinished:
            problems.append(f"{path} has no scores.")
    if not runs:
        raise SpareError("\n".join(problems) or "No run was named.")
    return runs, problems


def model_name(run: Run) -> str:
    """What a run's model is called: as its user called it, with its adapter if it has one."""
    names = [str(call["facts"]["model"]) for call in run.manifest["calls"] if call["facts"]]
    return names[-1] if names else str(run.manifest["model"].get("engine", "unknown"))


def run_names(paths: Iterable[Path]) -> dict[str, str]:
    """What runs are called, by path: the folder, with as much of the path as tells it from the
    others'."""
    parts = {path: path.resolve().parts for path in paths}
    names = {}
    for path, own in parts.items():
        others = [other for place, other in parts.items() if place != path]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        names[str(path)] = "/".join(own[-length:])
    return names


def load_one(path: str | Path) -> Run:
    """The run of a model card. Raises SpareError if it has no score."""
    run = load_run(path)
    if not run.scores:
        raise SpareError(f"{run.path} has no scores yet.")
    return run
