"""Start-up of the command, as a multiple of an empty Python. Run: python benchmarks/bench_start.py

Promised: `spare --help` and `spare tasks` within 6 times an empty Python.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 21
EMPTY = [sys.executable, "-c", "pass"]
COMMANDS = {
    "spare --help": [sys.executable, "-m", "spare", "--help"],
    "spare tasks": [sys.executable, "-m", "spare", "tasks"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


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


if __name__ == "__main__":
    main()
