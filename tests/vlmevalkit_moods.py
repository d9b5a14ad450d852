"""Wrappers as VLMEvalKit has them that need nothing of it, for what befalls the engine."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any


class Moody:
    """Says what it was shown, or does what it is told to."""

    def __init__(self, interleave: bool = False, level: float = 0.0) -> None:
        self.INTERLEAVE = interleave
        assert level >= 0
        self.level = level
        print("Did not find what was not looked for")  # as VLMEvalKit says at its start

    def generate(self, message: list[dict[str, str]], dataset: str) -> Any:
        text = message[-1]["value"]
        if text == "exit":
            raise SystemExit(3)
        if text.startswith("die"):
            print("about to", text, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("vanish"):
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "fail":
            raise ValueError("no\nidea")
        if text.startswith("fail"):
            raise ValueError(text)
        if text.startswith("draw"):
            return str(random.random())
        if text == "nothing":
            return None
        if text == "api":
            return "Failed to obtain answer via API."
        if text == "wait":
            time.sleep(600)
        print("VLMEvalKit's models say a lot", flush=True)
        return "|".join([*(f"{part['type']}:{part['value']}" for part in message), str(dataset)])


class Writer(Moody):
    """Writes down what it does, in files and folders that were not there."""

    def __init__(self, log: str, folder: str, config: str) -> None:
        super().__init__()
        Path(folder).mkdir(exist_ok=True)
        self.log, self.saved = Path(log), Path(folder) / "saved.txt"

    def generate(self, message: list[dict[str, str]], dataset: str) -> Any:
        for file in (self.log, self.saved):
            with file.open("a") as opened:
                opened.write("asked\n")
        return super().generate(message, dataset)


class Mortal:
    """Dies after so many answers, until the environment says IMMORTAL."""

    def __init__(self, after: int) -> None:
        self.left = after

    def generate(self, message: list[dict[str, str]], dataset: str) -> str:
        if not self.left and "IMMORTAL" not in os.environ:
            print("about to die", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return "A"
