"""The text stages of `spare generate`, at the paper's size.

Run: python benchmarks/bench_generation.py

Promised: all stages but those that ask a model, and the decisions, do at least 20,000 pairs per
second of processor time together, and memory is flat up to the paper's 3.4 million pairs.
Captions are made up, of two plain sentences and four that say nothing of space, in DOCCI's layout;
pairs are by templates. `python benchmarks/bench_generation.py 20000` tries it with so many
captions.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spare.generation.captions import captions
from spare.generation.pipeline import generate
from spare.generation.stages import STAGES

SIZES = (45_000, 455_000)
PROMISED = 20_000

THINGS = [
    "mug",
    "plate",
    "lamp",
    "chair",
    "table",
    "dog",
    "cat",
    "bowl",
    "book",
    "bench",
    "tree",
    "car",
    "bicycle",
    "vase",
    "clock",
]
COLOURS = ["red", "blue", "green", "white", "black", "wooden", "small", "large"]
WAYS = ("to the left of", "to the right of", "behind", "in front of", "above", "under", "next to")
REST = "The light is soft and the colours are warm, and nothing else can be seen here."


def sentence(draw: random.Random) -> str:
    (one, other), (first, second) = draw.sample(THINGS, 2), draw.sample(COLOURS, 2)
    way = draw.choice(WAYS)
    return draw.choice(
        (
            f"A {first} {one} is {way} the {second} {other}.",
            f"There is a {first} {one} {way} a {second} {other}.",
            f"{way.capitalize()} the {second} {other} is a {first} {one}.",
        )
    )


def write_captions(data: Path, count: int) -> None:
    draw = random.Random(0)
    data.mkdir()
    with (data / "docci_descriptions.jsonlines").open("w") as file:
        for number in range(count):
            name = f"train_{number:07d}"
            text = " ".join([sentence(draw), sentence(draw), *[REST] * 4])
            row = {"example_id": name, "split": "train", "image_file": f"{name}.jpg"}
            file.write(json.dumps(row | {"description": text}) + "\n")


def measure(count: int) -> None:
    """Each stage by itself, then all of them as a user runs them; prints what it took."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        write_captions(here / "data", count)
        start = time.process_time()
        captions("docci", data=here / "data", out=here / "captions")
        read = time.process_time() - start
        times = {}
        for name in STAGES:
            if name != "clipscore":
                start = time.process_time()
                generate(here / "captions", out=here / "alone", stages=[name])
                times[name] = time.process_time() - start
        start, clock = time.process_time(), time.monotonic()
        found = generate(here / "captions", out=here / "qa")
        seconds, clock = time.process_time() - start, time.monotonic() - clock
    pairs = sum(found["pairs"].values())
    print(f"{count:,} captions ({count / read:,.0f}/s), {pairs:,} pairs in {clock:.0f} s")
    for name, took in times.items():
        print(f"  {name:14} {pairs / took:10,.0f} pairs/s")
    slow = "" if pairs / seconds >= PROMISED else "  BELOW WHAT IS PROMISED"
    print(f"  all together   {pairs / seconds:10,.0f} pairs/s, the decisions included{slow}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"  {peak / 1e6:.0f} MB peak", flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    for count in SIZES:  # each in a process of its own, whose peak is its own
        subprocess.run([sys.executable, __file__, str(count)], check=True)


if __name__ == "__main__":
    main()
