"""`spare eval --engine ray` on a cluster of two nodes, which go and come in mid-run."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from engine_questions import answers
from test_engine_contract import (
    Engine,
    test_an_answer_hangs_on_its_question_alone,
    test_every_request_is_answered_once,
    test_faults_cost_only_themselves,
    test_it_says_who_it_is,
    test_nothing_is_answered_with_nothing,
    test_requests_stream_and_closing_ends_it,
)

import spare
from spare.cli import main
from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import sentences, write_world
from spare.errors import SpareError
from spare.harness.lines import read_log
from spare.harness.models import cluster, load_model
from spare.harness.models.types import Request

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.ray]

# The suite that every engine passes is collected here, too, with the engine below.
__all__ = [
    "test_an_answer_hangs_on_its_question_alone",
    "test_every_request_is_answered_once",
    "test_faults_cost_only_themselves",
    "test_it_says_who_it_is",
    "test_nothing_is_answered_with_nothing",
    "test_requests_stream_and_closing_ends_it",
]

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head and a second node, with room for one actor each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.second = made.add_node(num_cpus=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(HERE)  # where own_models.py lies
        ray.init(address=made.address, log_to_driver=False)
        yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def engine(nodes: Any) -> Engine:
    model = load_model("own_models:Own", replicas=2)
    return Engine(model, looks=True, writes=True)


def replies(run: Path) -> list[dict[str, Any]]:
    """Sorted lines, since those of a cluster come in another order."""
    lines = [dict(line) for _, line in read_log(run / "replies.jsonl")]
    return sorted(lines, key=lambda line: str(line["key"]))


def outcome(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("scores.json", "verdicts.spare.jsonl")]


def waited(what: Callable[[], object]) -> None:
    while not what():
        time.sleep(0.05)


@pytest.mark.parametrize("replaced", [True, False], ids=["another comes", "none comes"])
def test_a_killed_node_costs_its_batch(
    replaced: bool, nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, nothing is there twice, and nothing but a batch is asked again."""
    monkeypatch.setattr(cluster, "FIRST", 16)
    monkeypatch.setattr(cluster, "LARGEST", 16)
    write_world(tmp_path / "data", sets=20)
    asked = tmp_path / "asked"
    asked.mkdir()
    task = {"tasks": "whatsup_a,vsr_zeroshot", "data": tmp_path / "data"}
    spare.evaluate("own_models:Marked:" + str(asked), out=tmp_path / "alone", **task)
    (alone,) = asked.iterdir()
    alone.unlink()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            spare.evaluate,
            "own_models:Marked:" + str(asked),
            out=tmp_path / "run",
            replicas=2,
            **task,
        )
        # Both have begun, and the first replies are on disk.
        waited(lambda: running.done() or len(list(asked.iterdir())) == 2)
        waited(lambda: running.done() or (tmp_path / "run" / "replies.jsonl").stat().st_size)
        assert not running.done()
        nodes.remove_node(nodes.second, allow_graceful=False)
        if replaced:
            nodes.second = nodes.add_node(num_cpus=1)
        running.result(timeout=300)
    if not replaced:
        nodes.second = nodes.add_node(num_cpus=1)
    assert replies(tmp_path / "run") == replies(tmp_path / "alone")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "alone")
    keys = Counter(key for file in asked.iterdir() for key in file.read_text().split())
    assert set(keys) == {line["key"] for line in replies(tmp_path / "run")}
    assert sum(count - 1 for count in keys.values()) <= 16


def test_questions_about_a_picture_are_answered_by_one_process(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "FIRST", 8)
    monkeypatch.setattr(cluster, "LARGEST", 8)
    write_world(tmp_path / "data", sets=8)
    (tmp_path / "asked").mkdir()
    model: Any = load_model(f"own_models:Marked:{tmp_path / 'asked'}", replicas=2)
    while len(model._ready) < 2:
        model._wait([])
    spare.evaluate(model, "vsr_zeroshot", data=tmp_path / "data", out=tmp_path / "run")
    keys = {file.name: file.read_text().split() for file in (tmp_path / "asked").iterdir()}
    assert len(keys) == 2
    process = {key: name for name, asked in keys.items() for key in asked}
    by_picture: dict[str, list[str]] = {}
    for line in replies(tmp_path / "run"):
        (picture,) = (part["picture"] for part in line["parts"] if isinstance(part, dict))
        by_picture.setdefault(picture, []).append(process[line["key"]])
    assert max(map(len, by_picture.values())) > 1
    assert all(len(set(processes)) == 1 for processes in by_picture.values())


def test_a_run_goes_on_on_a_cluster_and_back(nodes: Any, tmp_path: Path) -> None:
    """By the real command, with a checkpoint: the cluster's model is the one in this process."""
    write_world(tmp_path / "data", sets=8)
    words = sentences(tmp_path / "data")
    build_checkpoint(tmp_path / "model", "llava", sentences=words, hidden=64, layers=1, side=28)
    common = ["eval", "--model", str(tmp_path / "model"), "--data", str(tmp_path / "data")]
    common += ["--tasks", "whatsup_a,vsr_zeroshot", "--prompt", "whatsup_a=captions"]
    there = ["--engine", "ray", "--replicas", "2"]
    assert main([*common, "--out", str(tmp_path / "alone")]) == 0
    assert main([*common, "--out", str(tmp_path / "run"), "--limit", "10"]) == 0
    assert main([*common, "--out", str(tmp_path / "run"), *there]) == 0
    found, expected = replies(tmp_path / "run"), replies(tmp_path / "alone")
    assert [line["key"] for line in found] == [line["key"] for line in expected]
    assert [line.get("text") for line in found] == [line.get("text") for line in expected]
    assert outcome(tmp_path / "run") == outcome(tmp_path / "alone")
    last = (tmp_path / "run" / "replies.jsonl").read_bytes()
    assert main([*common, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "replies.jsonl").read_bytes() == last
    facts = spare.load_run(tmp_path / "run").manifest["calls"][-1]["facts"]
    assert facts["replicas"] == "2"


def test_a_question_that_kills_is_an_error_by_itself(nodes: Any) -> None:
    words = [f"word {number}" for number in range(60)]
    words[20] = "deadly"
    asked = [Request(f"q{number}", (word,), max_new_tokens=8) for number, word in enumerate(words)]
    found = answers(load_model("own_models:Deadly", replicas=2), asked)
    assert [key for key, reply in found.items() if reply.error] == ["q20"]
    assert found["q20"].error == "The model's process ends whenever it is asked this."


def test_other_pictures_are_shown_on_a_cluster_as_here(nodes: Any, tmp_path: Path) -> None:
    write_world(tmp_path / "data", sets=4)
    task = {"tasks": "vsr_zeroshot", "data": tmp_path / "data"}
    spare.evaluate("shuffled:own_models:Own", out=tmp_path / "alone", **task)
    spare.evaluate("shuffled:own_models:Own", out=tmp_path / "run", replicas=1, **task)
    assert replies(tmp_path / "run") == replies(tmp_path / "alone")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("transformers:/nowhere", "There is no folder /nowhere"),
        ("own_models:NotToday", "the weights are on another disk"),
        ("own_models:Studious", "studies a benchmark .* leave out --engine ray"),
        ("random", "The engine random needs no cluster; leave out --engine ray"),
        ("openai:model", "raise --concurrency"),
    ],
)
def test_what_cannot_be_is_a_sentence(spec: str, words: str, nodes: Any) -> None:
    with pytest.raises(SpareError, match=words):
        load_model(spec, replicas=1)


def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """By the real command; and at once, where Ray itself knocks for minutes."""
    write_world(tmp_path / "data", sets=1)
    arguments = ["--tasks", "whatsup_a", "--data", str(tmp_path / "data"), "--engine", "ray"]
    arguments += ["--out", str(tmp_path / "run")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "spare", "eval", "--model", "own_models:Own", *arguments],
            env={**os.environ, "RAY_ADDRESS": address},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert f"No Ray cluster is at {address}" in done.stderr
    assert "`ray start --head`" in done.stderr


def test_a_wrong_token_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself says only that it cannot connect."""
    ours, theirs = "a" * 64, "b" * 64
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("RAY_ADDRESS", None)
    head = (
        "import ray\n"
        "context = ray.init('local', num_cpus=1, include_dashboard=False)\n"
        "print(context.address_info['gcs_address'])\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", head],
        env={**environment, "RAY_AUTH_TOKEN": theirs},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        done = subprocess.run(
            [sys.executable, "-c", "from spare.ray_cluster import connect; connect()"],
            env={**environment, "RAY_AUTH_TOKEN": ours, "RAY_ADDRESS": address},
            capture_output=True,
            text=True,
        )
        running.communicate("\n")
    assert f"SpareError: The Ray cluster at {address} does not take us" in done.stderr
    assert "ours must be the same: RAY_AUTH_MODE=token" in done.stderr


def test_a_gpu_that_this_machine_has_not_is_not_waited_for() -> None:
    """Where the cluster is of our own making, and nobody will add to it."""
    program = (
        "import ray\n"
        "from spare import ray_cluster\n"
        "ray_cluster._left = lambda: ''\n"
        "start = ray.init\n"
        "ray.init = lambda address, **rest: start('local', num_cpus=1, num_gpus=0, **rest)\n"
        "from spare.harness.models import load_model\n"
        "load_model('own_models:Own', replicas=1, device='cuda')\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=HERE, env=environment, capture_output=True, text=True
    )
    assert "A replica takes 1 GPU, this machine has 0 GPUs" in done.stderr


def test_what_is_waited_for_is_said_again_and_again(
    nodes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a cluster that others have started, and that may grow."""
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    waits = iter(range(2))
    wait = cluster.Distributed._wait

    def twice(self: Any, flight: Any) -> Any:
        if next(waits, None) is None:
            raise KeyboardInterrupt
        return wait(self, flight)

    monkeypatch.setattr(cluster.Distributed, "_wait", twice)
    with pytest.raises(KeyboardInterrupt):
        load_model("own_models:Own", replicas=1, device="cuda")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "Each takes 1 GPU, and the cluster has 2 CPUs and 0 GPUs." in lines[0]


def test_batches_begin_small_and_grow_with_a_quick_model_alone() -> None:
    model = cluster.Distributed.__new__(cluster.Distributed)
    model._size = cluster.FIRST
    model._resize(model._size, cluster.LONG + 1)
    assert model._size == cluster.FIRST == cluster.SMALLEST
    for _ in range(20):
        model._resize(model._size, cluster.SHORT / 2)
    assert model._size == cluster.LARGEST


def test_a_fault_of_the_model_ends_the_run_with_its_words(nodes: Any) -> None:
    asked = [Request(f"q{number}", ("?",), max_new_tokens=8) for number in range(40)]
    model = load_model("own_models:Deliberate", replicas=1)
    with pytest.raises(SpareError, match=r"^The licence has run out\.$"):
        list(model.answer(iter(asked)))


def test_machines_with_other_weights_are_noticed(nodes: Any) -> None:
    model = load_model("own_models:Restless", replicas=2)
    asked = (Request(f"q{number}", ("?",), max_new_tokens=8) for number in itertools.count())
    with pytest.raises(SpareError, match=r"hold different models \(in weights\)"):
        for _ in model.answer(asked):  # until the second machine is there
            pass


def test_where_nothing_gets_done_the_run_ends(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HOPELESS", 2)
    asked = [Request(f"q{number}", ("deadly",), max_new_tokens=8) for number in range(4)]
    model = load_model("own_models:Deadly", replicas=1)
    with pytest.raises(SpareError, match="have died 3 times and done nothing in between"):
        list(model.answer(iter(asked)))


def test_a_question_in_a_large_batch_is_found_before_all_hope_is_lost() -> None:
    """Every half of a half that has it may be the first to be tried."""
    batch = cluster.Batch([Request(f"q{number}", ("?",)) for number in range(cluster.LARGEST)])
    deaths = 0
    while rest := cluster._again(batch):
        batch, deaths = rest[0], deaths + 1
    assert deaths + 1 < cluster.HOPELESS
