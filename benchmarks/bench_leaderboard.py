"""Many runs read at once. Run: python benchmarks/bench_leaderboard.py

Promised: a leaderboard of 1,000 runs x 15 tasks with 2,000 samples each in 5 s and 500 MB. It reads
manifests and scores, never verdicts, so only those are written here, at their real size.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench_memory import peak

from spare.harness.run import FORMAT, Score
from spare.tasks import LISTED, load_task
from spare.tasks.types import Task

RUNS, TASKS, SAMPLES = 1_000, 15, 2_000


def write_run(out: Path, tasks: list[Task], draw: random.Random) -> None:
    """A finished run of which only manifest and scores are there."""
    out.mkdir()
    rows, entries = [], []
    skill = draw.gauss(60, 8)
    for task in tasks:
        prompt = task.prompt()
        place = {"task": task.name, "split": task.split, "prompt": prompt.name}
        metrics = {}
        for name in task.figures:
            value = min(99.0, max(1.0, draw.gauss(skill, 3)))
            metrics[name] = {"value": value, "n": SAMPLES, "clusters": SAMPLES, "stderr": 1.0}
            metrics[name] |= {"low": value - 2, "high": value + 2}
        score = Score(
            **place,
            version=task.version,
            layout="json",
            rules=prompt.rules[0],
            samples=SAMPLES,
            published=SAMPLES,
            limit=None,
            statuses={"ok": SAMPLES},
            headline=task.headline,
            breakdown=task.breakdown,
            metrics=metrics,
            chance=task.chance_for(prompt),
        )
        rows.append(asdict(score))
        files = {f"/data/{task.name}/part-{number}.parquet": "0" * 64 for number in range(4)}
        entries.append({**place, "samples": SAMPLES, "annotations": files, "pictures": ["/data"]})
    (out / "scores.json").write_text(json.dumps({"scores": rows}, indent=2))
    calls = [{"facts": {"model": out.name}, "asked": SAMPLES, **entry} for entry in entries]
    manifest = {"format": FORMAT, "model": {"engine": "x"}, "evaluations": entries, "calls": calls}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2))


def main() -> None:
    tasks = [load_task(name) for name in LISTED if not load_task(name).submission][:TASKS]
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / f"run-{number:04d}" for number in range(RUNS)]
        for run in runs:
            write_run(run, tasks, draw)
        memory, seconds = peak(["leaderboard", *map(str, runs), "--format", "markdown"])
    print(
        f"{RUNS:,} runs x {len(tasks)} tasks: {seconds:.1f} s of processor time, "
        f"{memory / 1e6:.0f} MB peak (promised: 5 s, 500 MB)"
    )


if __name__ == "__main__":
    main()
