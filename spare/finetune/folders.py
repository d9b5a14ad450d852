"""A folder belongs to one training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spare.disk import write_json
from spare.errors import SpareError
from spare.finetune.checkpoints import CURVE, last_whole

REQUEST = "request.json"


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
        begun = last_whole(training) is not None or (training / CURVE).is_file()
        if differ and begun:
            raise SpareError(
                f"{out} is a training with another {', '.join(differ)}; choose another --out, "
                "or repeat the command that began it."
            )
        if not differ:
            return
    elif first:
        strange = [one.name for one in out.iterdir() if one.name not in (".lock",)]
        if "training" not in strange and strange:
            raise SpareError(f"{out} holds something else ({strange[0]}); choose another --out.")
    if first:
        training.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)


def refuse_single(shelf: Path) -> None:
    """Raises SpareError if the folder that seeds are to go into is a training itself."""
    if (shelf / "training" / REQUEST).is_file():
        raise SpareError(f"{shelf} is a training without --seeds; choose another --out.")


def _differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The names of what is asked for otherwise, and changes the outcome."""
    old, new = ({**one, **dict(one["recipe"])} for one in (before, asked))
    free = {"recipe", "workers"}
    return [key for key in new if key not in free and old.get(key) != new[key]]
