"""Start-up of the command, as a multiple of an empty Python. Run: python benchmarks/bench_start.py

Promised: `spare --help` and `spare tasks` within 6 times an empty Python, and unchanged (to a
tenth, which is what can be measured) where 20 packages are installed that bring models.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 21
EMPTY = [sys.executable, "-c", "pass"]
COMMANDS = {
    "spare --help": [sys.executable, "-m", "spare", "--help"],
    "spare tasks": [sys.executable, "-m", "spare", "tasks"],
}


PACKAGES = 20


def seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def install(folder: Path) -> dict[str, str]:
    """Packages with engines, each as slow to import as they come; the environment to find them."""
    for number in range(PACKAGES):
        name = f"engine{number}"
        (folder / f"{name}.py").write_text("import time\ntime.sleep(5)\n")
        metadata = folder / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[spare.models]\n{name} = {name}:Model\n")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def main() -> None:
    for name, command in COMMANDS.items():
        pairs = [(seconds(EMPTY), seconds(command)) for _ in range(ROUNDS)]
        empty = statistics.median(pair[0] for pair in pairs)
        ours = statistics.median(pair[1] for pair in pairs)
        ratio = statistics.median(b / a for a, b in pairs)
        print(
            f"{name}: {1000 * ours:.0f} ms, empty Python {1000 * empty:.0f} ms, ratio {ratio:.1f} "
            f"(promised: at most 6)"
        )
    with tempfile.TemporaryDirectory() as name:
        installed = install(Path(name))
        for name, command in COMMANDS.items():
            ratio = statistics.median(
                seconds(command, installed) / seconds(command) for _ in range(2 * ROUNDS)
            )
            print(
                f"{name} with {PACKAGES} packages that bring models: {ratio:.2f} times as long "
                "(promised: at most 1.1)"
            )


if __name__ == "__main__":
    main()
