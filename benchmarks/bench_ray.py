"""Two Ray replicas beside one, and one beside no cluster. Run: python benchmarks/bench_ray.py

Each question takes 40 ms, in which the model sleeps: it stands for one that waits for its GPU, and
leaves the processor to Ray and to us, who are measured. Four questions are about a picture. What is
timed is asking, from the first question to the last reply, with the models loaded.

Promised: two replicas answer at least 1.7 times as fast as one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

QUESTIONS = 600
SECONDS = 0.04


class Slow:
    """Sleeps over each question."""

    def __init__(self, name: str, options: Any) -> None:
        self.identity = {"weights": "none"}
        self.facts: dict[str, str] = {}

    def answer(self, requests: Iterable[Any]) -> Iterator[Any]:
        from spare.harness.models.types import Response
        from spare.tasks.types import Reply

        for request in requests:
            time.sleep(SECONDS)
            yield Response(request.key, Reply("A", finish="stop"))


def questions(folder: Path) -> list[Any]:
    from PIL import Image

    from spare.harness.models.types import Request
    from spare.images import Picture

    asked = []
    for number in range(QUESTIONS):
        path = folder / f"{number // 4}.png"
        if number % 4 == 0:
            Image.new("RGB", (64, 64), (number % 256, number // 256, 9)).save(path)
        asked.append(Request(f"q{number}", (Picture(path, path.name), f"Where is {number}?")))
    return asked


def seconds(model: Any, asked: list[Any]) -> float:
    began = time.perf_counter()
    found = [response.key for response in model.answer(iter(asked))]
    assert sorted(found) == sorted(request.key for request in asked)
    return time.perf_counter() - began


def main() -> None:
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed (`make test-ray` installs it); nothing is measured.")
        return
    import ray

    import spare

    os.chdir(Path(__file__).parent)  # where the actors find the class
    ray.init(address="local", num_cpus=3, log_to_driver=False, include_dashboard=False)
    with tempfile.TemporaryDirectory() as name:
        asked = questions(Path(name))
        here = seconds(spare.load_model("bench_ray:Slow"), asked)
        times = {}
        for replicas in (1, 2):
            model = spare.load_model("bench_ray:Slow", replicas=replicas)
            while len(model._ready) < replicas:  # type: ignore[attr-defined]
                model._wait([])  # type: ignore[attr-defined]
            times[replicas] = seconds(model, asked)
            del model
    print(f"{QUESTIONS} questions of {1000 * SECONDS:.0f} ms: {here:.1f} s in this process, "
          f"{times[1]:.1f} s with one replica, {times[2]:.1f} s with two")  # fmt: skip
    print(f"  one replica / this process {times[1] / here:.2f}")
    print(f"  two replicas answer {times[1] / times[2]:.2f} times as fast as one "
          "(promised: at least 1.7)")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
