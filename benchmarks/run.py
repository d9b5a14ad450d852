"""`make bench`: every promise about speed and memory, measured in one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    *("bench_start.py", "bench_engine.py", "bench_memory.py", "bench_judging.py"),
    *("bench_leaderboard.py", "bench_site.py", "bench_generation.py"),
    *("bench_finetune.py", "bench_ray.py", "bench_gpu.py"),
)

for name in SCRIPTS:
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, str(Path(__file__).parent / name)], check=True)
