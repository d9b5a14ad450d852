"""A million saved replies judged again. Run: python benchmarks/bench_judging.py

Promised: at least 50,000 verdicts per second and core for letters and for yes or no, memory flat.
Measured are the judging alone, and the whole command, from an empty Python to verdicts and scores
on disk, both per second of processor time. The letters are those of as many runs of 3DSRBench, at
its real size; the words are one run of a benchmark that large. Replies arrive a little out of
order, as they do from an engine that brings like to like.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench_memory import peak

from spare.harness import run as runs
from spare.harness.lines import Saved, dump, reply_line, verdict_line
from spare.tasks import load_task
from spare.tasks.types import Reply, Sample, Task, Verdict

SIZES = (100_000, 1_000_000)
WINDOW = 1024

SIDES = {"A": "front", "B": "left", "C": "back", "D": "right"}
LETTERS = ("B", "A", "C.", "(D)", "B. left", "The answer is C.", "A")
WORDS = ("True", "False", "True.", "false", "The statement is true.", "False, it is under it.")


def letter_sample(number: int) -> Sample:
    """A rotation of a question of 3DSRBench with four options."""
    name = f"{number // 4:08d}"
    rotation = number % 4
    return Sample(
        f"{name}-{rotation}" if rotation else name,
        ("Which side of the man faces the camera?\nA. front\nB. left\nC. back\nD. right",),
        "ABCD"[rotation],
        SIDES,
        tags={"type": "orientation_viewpoint", "category": "orientation", "options": "4"},
        group=name,
        cluster=name,
    )


def word_sample(number: int) -> Sample:
    """A statement of VSR; there are three about each picture."""
    return Sample(
        f"{number:07d}",
        ("Statement: The cat is left of the dog.\nIs it true or false?",),
        ("True", "False")[number % 2],
        {"True": "True", "False": "False"},
        tags={"relation": "left of", "category": "Projective"},
        cluster=str(number // 3),
    )


def write_run(
    out: Path, task: Task, sample: Callable[[int], Sample], replies: tuple[str, ...], size: int
) -> None:
    """A run that was scored once, as `spare eval` leaves it."""
    out.mkdir()
    prompt = task.prompt()
    place = {"task": task.name, "split": task.split, "prompt": prompt.name}
    draw = random.Random(0)
    keys = [f"{draw.getrandbits(128):032x}" for _ in range(size)]
    with (out / "replies.jsonl").open("wb") as file:
        for start in range(0, size, WINDOW):
            window = list(range(start, min(start + WINDOW, size)))
            draw.shuffle(window)
            for number in window:
                reply = Reply(draw.choice(replies), finish="stop", output_tokens=3)
                file.write(dump(reply_line(keys[number], place, sample(number), {}, reply)))
    with (out / f"verdicts.{prompt.rules[0]}.jsonl").open("wb") as file:
        for number, key in enumerate(keys):
            saved = Saved(sample(number), None, key)
            file.write(dump(verdict_line(place, saved, Verdict("", 0.0, "ok"))))
    score = runs.Score(
        **place,
        version=task.version,
        layout="",
        rules=prompt.rules[0],
        samples=size,
        published=size,
        limit=None,
        statuses={},
        headline=task.headline,
        breakdown=task.breakdown,
        metrics={},
        chance={},
    )
    (out / "scores.json").write_text(json.dumps({"scores": [asdict(score)]}))
    manifest = {"format": runs.FORMAT, "model": {"engine": ""}, "evaluations": [place]}
    (out / "manifest.json").write_text(json.dumps(manifest))


def reading_pace(task: Task, sample: Callable[[int], Sample], replies: tuple[str, ...]) -> float:
    """Verdicts per second of judging alone, over all rule sets."""
    samples = [sample(number) for number in range(20_000)]
    said = [Reply(replies[number % len(replies)]) for number in range(len(samples))]
    start = time.process_time()
    for rules in task.prompt().rules:
        for one, reply in zip(samples, said, strict=True):
            task.judge(one, reply, rules)
    return len(samples) * len(task.prompt().rules) / (time.process_time() - start)


def main() -> None:
    for name, sample, replies, most in (
        ("3dsrbench", letter_sample, LETTERS, 11_686),
        ("vsr_random", word_sample, WORDS, max(SIZES)),
    ):
        task = load_task(name)
        rules = len(task.prompt().rules)
        pace = reading_pace(task, sample, replies)
        print(
            f"{name}, {rules} rule sets, judging alone: {pace:,.0f} verdicts/s "
            "(promised: at least 50,000)"
        )
        peaks = []
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                places = [Path(folder) / str(number) for number in range(max(1, size // most))]
                for out in places:
                    write_run(out, task, sample, replies, min(size, most))
                memory, seconds = peak(["score", *map(str, places)])
            peaks.append(memory)
            judged = rules * len(places) * min(size, most)
            print(
                f"  {judged // rules:,} replies in {len(places)} runs, whole command: "
                f"{judged / seconds:,.0f} verdicts/s, {memory / 1e6:.0f} MB peak"
            )
        print(f"  memory ratio {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
