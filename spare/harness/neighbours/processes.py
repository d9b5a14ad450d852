"""Running another harness in a process of its own, so that nothing of it stays in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spare.errors import SpareError
from spare.harness.models.vlmevalkit import search_path


def run_harness(
    harness: str,
    task: str,
    module: str,
    arguments: Sequence[str],
    out: Path,
    variables: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What a module of ours, which runs a harness, writes down.

    Args:
        harness, task: for the sentence about what failed.
        module: run as `python -m spare.harness.neighbours.MODULE ARGUMENTS OUT`.
        out: the file that it writes, one JSON object per line.
        variables: of the environment, beside those that are set here.

    Raises:
        SpareError: it failed, with the last thing that it said.
    """
    name = f"spare.harness.neighbours.{module}"
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", name, *arguments, str(out.resolve())],
        capture_output=True,
        text=True,
        errors="replace",
        # It finds what this process finds, however that was arranged.
        env={**os.environ, "PYTHONPATH": search_path(), **(variables or {})},
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip("^~ \t")]
        why = lines[-1] if lines else f"exit code {done.returncode}"
        if why.isidentifier() and len(lines) > 2:  # an error without a word: its line of code
            why = f"{why}: `{lines[-2]}` ({lines[-3].removeprefix('File ')})"
        raise SpareError(f"{harness} failed at {task}: {why.rstrip('.')}.")
    with out.open(encoding="utf-8", errors="surrogatepass") as file:
        return [json.loads(line) for line in file]
