"""The stages on a Ray cluster of two nodes, one of which is killed in mid-run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from caption_world import write_docci
from chat_server import NAME, serving
from test_generation import contents

from spare.demo.checkpoint import build_checkpoint
from spare.errors import SpareError
from spare.generation import captions as reading
from spare.generation import llm
from spare.generation.captions import captions
from spare.generation.pipeline import generate

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture
def nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.second = second
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_docci(tmp_path / "data", 30)
    monkeypatch.setattr(reading, "SHARD", 3)
    captions("docci", data=tmp_path / "data", out=tmp_path / "captions")
    return tmp_path / "captions"


def test_a_killed_node_costs_nothing(few: Path, nodes: Any, tmp_path: Path) -> None:
    words = [llm.ASK, llm.CLASSIFY, llm.CANARY]
    build_checkpoint(tmp_path / "llm", "qwen2", sentences=words, hidden=64, layers=2)
    options = {"llm": f"transformers:{tmp_path / 'llm'}", "max_new_tokens": 60, "prefilter": 0.0}
    options |= {"spatial": 0.0, "support": 0.0}
    generate(few, out=tmp_path / "alone", **options)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(generate, few, out=tmp_path / "qa", replicas=2, **options)
        # As soon as the first pairs are there, a machine goes away and another one comes.
        while not running.done() and not list((tmp_path / "qa").glob("generate/*.parquet")):
            time.sleep(0.1)
        assert not running.done()
        nodes.remove_node(nodes.second, allow_graceful=False)
        nodes.add_node(num_cpus=2)
        running.result(timeout=300)
    assert contents(tmp_path / "qa") == contents(tmp_path / "alone")


def test_a_fault_on_a_machine_is_a_sentence(few: Path, nodes: Any, tmp_path: Path) -> None:
    with pytest.raises(SpareError, match="There is no folder"):
        generate(few, out=tmp_path / "qa", replicas=1, llm="transformers:/nowhere")


def test_tokens_of_every_machine_are_counted(few: Path, nodes: Any, tmp_path: Path) -> None:
    said: list[Any] = []
    with serving() as server:
        options = {"llm": f"openai:{NAME}", "engine": {"base_url": server.url}}
        generate(few, out=tmp_path / "qa", replicas=2, on_event=said.append, **options)
        replies = len(server.asked)
    assert replies >= 30
    line = f"Tokens of this call: {11 * replies:,} read, {3 * replies:,} written."
    assert [event for event in said if isinstance(event, str) and "okens" in event] == [line]
