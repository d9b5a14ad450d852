"""A site of 20 runs. Run: python benchmarks/bench_site.py

Promised: under 30 s on two cores. The runs are those of a baseline over 432 samples of What's Up
and VSR, on rendered scenes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench_memory import peak

import spare
from spare.demo.world import write_world

RUNS, SETS = 20, 36


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder / "data", sets=SETS)
        runs = [folder / f"seed-{seed}" for seed in range(RUNS)]
        for seed, run in enumerate(runs):
            spare.evaluate(
                "random", "whatsup_a,vsr_zeroshot", data=folder / "data", out=run, seed=seed
            )
        samples = sum(score.samples for score in spare.load_run(runs[0]).scores)
        start = time.monotonic()
        memory, seconds = peak(["report", *map(str, runs), "--out", str(folder / "site")])
        wall = time.monotonic() - start
        files = [file for file in (folder / "site").rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
    print(
        f"{RUNS} runs x {samples:,} samples: {wall:.1f} s ({seconds:.1f} s of processor time, "
        f"{memory / 1e6:.0f} MB peak; promised: 30 s), {len(files):,} files, {size / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
