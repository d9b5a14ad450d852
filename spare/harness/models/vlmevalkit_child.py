"""The process in which VLMEvalKit lives: `python -m spare.harness.models.vlmevalkit_child`.

It reads one line of JSON per question and writes one per answer, in order. The first line names the
model; see `main`. What VLMEvalKit prints goes to the standard error, and nothing but answers to the
standard output. It ends when there are no more questions.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import json
import os
import random
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from spare.errors import near
from spare.torchvision_repair import repair_torchvision

DATA_SET = "spare_openended"
"""What wrappers are told that they are asked for: a set of plain questions about pictures. Some
choose their length bound by the name, and fail at none."""

FAILURE = "Failed to obtain answer"
"""What VLMEvalKit's wrappers of servers say instead of a reply, when there is none."""


MISSING = "VLMEvalKit (ms-vlmeval) is not installed; docs/neighbours.md says how"


def main() -> None:
    """Lines in: {"name", "settings", "seed", "folder"}, then {"number", "message"}. Lines out:
    {"wrapper", "code", "settings", "interleaves", "versions"}, then {"number", "text"}; or
    {"error"} in their place."""
    parent = os.getppid()
    questions, answers = _channels()
    asked = json.loads(next(questions))
    threading.Thread(target=_end_with, args=(parent, asked["folder"]), daemon=True).start()
    try:
        model, made = load_wrapper(asked["name"], asked["settings"])
    # This process is here so that whatever a wrapper does is an answer, too.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _say(answers, {"error": _said(error)})
        return
    _say(answers, made)
    for line in questions:
        question = json.loads(line)
        found = {"number": question["number"]}
        try:
            _seed(asked["seed"])
            found |= _answer(model, question["message"])
        except (Exception, SystemExit) as error:  # noqa: BLE001
            found["error"] = _said(error)
        _say(answers, found)
    # Whoever asked may have been killed, and pictures lie there.
    shutil.rmtree(asked["folder"], ignore_errors=True)


def _channels() -> tuple[TextIO, TextIO]:
    """The standard input and output, out of reach of anything else that reads or prints."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file by now, of which a process that dies would keep its last words to itself.
        sys.stdout.reconfigure(line_buffering=True)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return questions, answers


def _say(answers: TextIO, line: Mapping[str, Any]) -> None:
    answers.write(json.dumps(line, default=str) + "\n")
    answers.flush()


def _said(error: BaseException) -> str:
    """An error's kind and first line, as the end of a sentence; without one, the line of code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        *_, last = traceback.extract_tb(error.__traceback__)
        lines = [f"`{last.line}` ({last.filename}, line {last.lineno})"]
    return f"{type(error).__name__}: {lines[0]}".rstrip(".") + "."


def load_wrapper(name: str, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A model of VLMEvalKit's by its name or MODULE:CLASS, and what is to be known of it."""
    repair_torchvision()
    if ":" in name:
        module, _, wanted = name.partition(":")
        wrapper = getattr(importlib.import_module(module), wanted)
        known: dict[str, Any] = {}
    else:
        if importlib.util.find_spec("vlmeval") is None:
            raise ImportError(MISSING)
        from vlmeval.config import supported_VLM

        if name not in supported_VLM:
            raise ValueError(f"there is no model {name} in its list{near(name, supported_VLM)}")
        made = supported_VLM[name]
        wrapper, known = getattr(made, "func", made), dict(getattr(made, "keywords", {}))
    if not callable(getattr(wrapper, "generate", None)):
        raise TypeError(f"{wrapper!r} is no wrapper: it has no method generate")
    known |= settings
    model = wrapper(**known)
    code = inspect.getsourcefile(wrapper)
    return model, {
        "wrapper": wrapper.__qualname__,
        "code": hashlib.sha256(Path(code).read_bytes()).hexdigest() if code else "",
        "settings": known,
        "interleaves": bool(getattr(model, "INTERLEAVE", False)),
        "versions": _versions(),
    }


def _seed(seed: int) -> None:
    """Of all generators that anything has loaded so far."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def _answer(model: Any, message: list[dict[str, str]]) -> dict[str, str]:
    for part in message:
        if part["type"] == "text" and _is_read_as_file(part["value"]):
            raise ValueError(
                f"VLMEvalKit takes {part['value']!r} for a file or an address and not for words"
            )
    text = model.generate(message, dataset=DATA_SET)
    if not isinstance(text, str):
        raise TypeError(f"it gave no text but {type(text).__name__}")
    if text.startswith(FAILURE):
        raise RuntimeError(f"it says {text!r}")
    return {"text": text}


def _is_read_as_file(text: str) -> bool:
    """Whether VLMEvalKit would open what a text names, or fetch it."""
    if "vlmeval" not in sys.modules:
        return False
    import validators

    return text.startswith("data:image/") or bool(os.path.exists(text) or validators.url(text))


def _versions() -> dict[str, str]:
    found = {}
    for package in ("ms-vlmeval", "vlmeval", "torch", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _end_with(parent: int, folder: str) -> None:
    """End when the process that asks is gone, even in the midst of a question, and clear away the
    folder that it had for pictures."""
    while os.getppid() == parent:
        time.sleep(1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
