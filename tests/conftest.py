"""One torch thread, no network, no deadlines: before anything imports torch or the hub client. And
what tests of several files share: a data folder, pictures, a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from spare.images import Picture

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and what is printed would hang on it

# A slow machine is no fault of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a small world in it: `whatsup_a`, `vsr_zeroshot` and
    `custom:objects.jsonl`. Nothing is written into it."""
    from spare.demo.world import write_objects, write_world

    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=2)
    write_objects(folder, sets=2)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Pictures of several sizes."""
    from engine_questions import draw_pictures

    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2-VL. Nothing is written into it."""
    from spare.demo.checkpoint import build_checkpoint

    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"), "qwen2_vl")
