"""A folder belongs to one training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spare.disk import write_json
from spare.errors import SpareError
from spare.finetune.checkpoints import last_whole, read_curve

REQUEST, SIZES = "request.json", "pictures.json"


def agree(out: Path, training: Path, asked: Mapping[str, Any], first: bool) -> None:
    """Write down what is asked for; raise SpareError if the folder is of something else.

    Args:
        out: the folder; training: the one below it of states and curves.
        asked: base, data, recipe, evaluations.
        first: this is the process that writes.
    """
    path = training / REQUEST
    if path.is_file():
        differ = _differences(json.loads(path.read_bytes()), asked)
        # Before the first step all may still be set otherwise: that is what sentences advise.
        if differ and _is_begun(training):
            raise SpareError(
                f"{out} is a training with another {', '.join(differ)}; choose another --out, "
                "or repeat the command that began it."
            )
        if not differ:
            return
    elif first:
        strange = [one.name for one in out.iterdir() if not _is_nothing(one)]
        if "training" not in strange and strange:
            seeds = all(name.startswith("seed-") for name in strange)
            what = "trainings with --seeds" if seeds else "something else"
            raise SpareError(f"{out} holds {what} ({min(strange)}); choose another --out.")
    if first:
        training.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)


def refuse_single(shelf: Path) -> None:
    """Raises SpareError if the folder that seeds are to go into is a training itself."""
    if _is_begun(shelf / "training"):
        raise SpareError(f"{shelf} is a training without --seeds; choose another --out.")


def _is_begun(training: Path) -> bool:
    """Whether a step was made."""
    return last_whole(training) is not None or bool(read_curve(training))


def _is_nothing(path: Path) -> bool:
    """Whether it may lie in a folder that a training begins in: locks, what is known of pictures,
    and seeds of which no step was made."""
    if path.name in (".lock", SIZES, f"general-{SIZES}"):
        return True
    return path.name.startswith("seed-") and not _is_begun(path / "training")


def _differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The names of what is asked for otherwise, and changes the outcome."""
    # The recipe has a base, too: the name of the one that it is meant for.
    old, new = ({**one["recipe"], **one} for one in (before, asked))
    free = {"recipe", "workers"}
    return [key for key in new if key not in free and old.get(key) != new[key]]
