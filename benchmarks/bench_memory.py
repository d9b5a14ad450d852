"""Peak memory at 5,000 and at 50,000 questions. Run: python benchmarks/bench_memory.py

Promised: within 10 % of each other, through the real command with a tiny checkpoint. There are
four questions about each picture, and fifty relations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = (5_000, 50_000)


def write_questions(folder: Path, size: int) -> Path:
    from PIL import Image

    for number in range(size // 4):
        colour = (number % 256, number // 256, 99)
        Image.new("RGB", (32, 32), colour).save(folder / f"{number}.png")
    path = folder / f"questions{size}.jsonl"
    with path.open("w") as file:
        for number in range(size):
            question = {
                "id": f"question-{number}",
                "image": f"{number // 4}.png",
                "question": "Is it left?",
                "options": ["left", "right"],
                "answer": "AB"[number % 2],
                "relation": f"relation {number % 50}",
            }
            file.write(json.dumps(question) + "\n")
    return path


def peak(arguments: list[str]) -> tuple[int, float]:
    """Peak resident memory in bytes and processor seconds of one `spare` command."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "spare", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(f"{said.read().decode()}\nspare {arguments[0]}: status {status}")
    return usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def main() -> None:
    from spare.demo.checkpoint import build_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = build_checkpoint(folder / "checkpoint", hidden=32, layers=1, side=28)
        peaks = {}
        for size in SIZES:
            questions = write_questions(folder, size)
            arguments = ["--tasks", f"custom:{questions}", "--data", str(folder)]
            arguments += ["--model", str(checkpoint), "--out", str(folder / f"run{size}")]
            peaks[size], seconds = peak(["eval", *arguments])
            print(f"{size:,} questions: {peaks[size] / 1e6:.0f} MB peak, {seconds:.0f} s processor")
        small, large = (peaks[size] for size in SIZES)
        print(f"ratio {large / small:.3f} (promised: at most 1.1)")


if __name__ == "__main__":
    main()
