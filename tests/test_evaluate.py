"""The runner: asked once, written before judged, resumed anywhere, scored over the whole benchmark.

A small task and a small engine stand in for the real ones; the runner, the run directory and the
scores are the real thing. The same promises through the real command and a real checkpoint are in
`test_command.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spare.demo.world import write_world
from spare.errors import SpareError
from spare.harness import run as runs
from spare.harness.asking import Event, Progress
from spare.harness.evaluate import evaluate
from spare.harness.lines import read_log
from spare.harness.models.types import Request, Response
from spare.tasks.files import find_picture, read_json_lines
from spare.tasks.types import Files, Judged, Metric, Prompt, Reply, Rules, Sample, Task, Verdict

SIZE = 60


def write_data(folder: Path, size: int = SIZE) -> Path:
    """A benchmark of `size` questions, four about each picture, in groups of three."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(0, size, 4):
        Image.new("RGB", (8, 8), (number, 10, 20)).save(folder / f"{number}.png")
    with (folder / "questions.jsonl").open("w") as file:
        for number in range(size):
            row = {"id": str(number), "image": f"{number // 4 * 4}.png", "group": str(number // 3)}
            file.write(json.dumps(row) + "\n")
    return folder


def read(files: Files, split: str, prompt: Prompt) -> Iterator[Sample]:
    for row in read_json_lines(files.annotations[0], ["id", "image", "group"]):
        yield Sample(
            id=row.text("id"),
            parts=(find_picture(files.pictures, row.text("image"), row), f"{prompt.name}?"),
            target=row.values.get("target", "A"),
            options={"A": "left", "B": "right"},
            tags={"relation": "left" if int(row.text("id")) % 2 else "right"},
            group=row.text("group"),
            cluster=row.text("image"),
        )


def judge(sample: Sample, reply: Reply) -> Verdict:
    return Verdict(reply.text, float(reply.text == sample.target), "ok")


def summarise(judged: Iterable[Judged], rules: str) -> list[Metric]:
    groups: dict[str, bool] = {}
    clusters: dict[str, str] = {}
    accuracy, whole, asked_all = Metric("accuracy"), Metric("whole"), True
    for one in judged:
        asked_all &= one.verdict.status != "skipped"
        accuracy.add(one.verdict.score, cluster=one.cluster)
        groups[one.group] = groups.get(one.group, True) and one.verdict.score == 1.0
        clusters.setdefault(one.group, one.cluster)
    for group, right in groups.items():
        whole.add(float(right), cluster=clusters[group])
    return [whole, accuracy] if asked_all else [whole]


def make_task(name: str = "toy") -> Task:
    return Task(
        name=name,
        version=1,
        about="toy",
        paper="",
        licence="",
        sources=(),
        splits={"test": SIZE},
        split="test",
        chance={"accuracy": 50.0},
        headline="whole",
        breakdown="accuracy",
        prompts={name: Prompt(name, "", ("strict",)) for name in ("short", "long")},
        rules={"strict": Rules("strict", "", judge)},
        locate=lambda data, split: Files((data / "questions.jsonl",), (data,), "jsonl"),
        read=read,
        summarise=summarise,
        all_or_nothing=True,
    )


class Engine:
    """Answers from a hash of the question, out of order, and remembers what it was asked."""

    facts: ClassVar[dict[str, str]] = {}

    def __init__(self, weights: str = "w", seconds: float = 0.0, right: set[str] | None = None):
        self.identity = {"weights": weights}
        self.seconds, self.right = seconds, right
        self.asked: list[str] = []

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        waiting: list[Request] = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == 7:
                yield from self.flush(waiting)
        yield from self.flush(waiting)

    def flush(self, waiting: list[Request]) -> Iterator[Response]:
        random.Random(len(self.asked)).shuffle(waiting)
        while waiting:
            request = waiting.pop()
            self.asked.append(request.key)
            time.sleep(self.seconds)
            number = int(hashlib.sha256(request.key.encode()).hexdigest(), 16)
            yield Response(request.key, Reply(text="AAB"[number % 3], finish="stop"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def lines(out: Path) -> list[dict[str, str]]:
    return [line for _, line in read_log(out / "replies.jsonl")]


def outcome(out: Path) -> tuple[bytes, bytes]:
    return (out / "verdicts.strict.jsonl").read_bytes(), (out / "scores.json").read_bytes()


def test_every_sample_is_asked_once_and_counted(data: Path, tmp_path: Path) -> None:
    engine = Engine()
    run = evaluate(engine, [make_task()], data=data, out=tmp_path / "run")
    assert sorted(int(line["id"]) for line in lines(run.path)) == list(range(SIZE))
    (score,) = run.scores
    right = sum(line["text"] == "A" for line in lines(run.path))
    assert score.metrics["accuracy"]["value"] == pytest.approx(100 * right / SIZE)
    assert score.statuses == {"ok": SIZE}
    assert [one.id for one in run.verdicts(score)] == [str(number) for number in range(SIZE)]
    again = Engine()
    before = outcome(run.path)
    evaluate(again, [make_task()], data=data, out=run.path)
    assert again.asked == []
    assert outcome(run.path) == before


def test_first_line_says_what_is_there(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(Engine(), [make_task()], data=data, out=out)
    with (out / "replies.jsonl").open("r+b") as file:
        file.truncate(len(b"".join(file.readlines()[:25])) + 9)
    said: list[Event] = []
    evaluate(Engine(), [make_task()], data=data, out=out, on_event=said.append)
    assert said[0] == "60 questions in toy: 25 answered, 35 to be asked."


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1))
def test_cut_anywhere_it_goes_on(data: Path, tmp_path: Path, share: float) -> None:
    whole, out = tmp_path / "whole", tmp_path / "cut"
    if not whole.exists():
        evaluate(Engine(), [make_task()], data=data, out=whole)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole, out)
    with (out / "replies.jsonl").open("r+b") as file:
        size = len(file.read())
        file.truncate(int(share * size))
    kept = len(lines(out))
    engine = Engine()
    evaluate(engine, [make_task()], data=data, out=out)
    assert len(engine.asked) == SIZE - kept
    assert len({line["key"] for line in lines(out)}) == len(lines(out)) == SIZE
    assert outcome(out) == outcome(whole)


def test_killed_at_random_moments_nothing_is_lost_or_doubled(data: Path, tmp_path: Path) -> None:
    """SIGKILL, many times, each at another moment; then one run to the end."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    evaluate(Engine(), [make_task()], data=data, out=whole)
    moments = random.Random(1)
    kills = 0
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                evaluate(Engine(seconds=0.004), [make_task()], data=data, out=out)
            finally:
                os._exit(0)  # never back into the tests
        time.sleep(moments.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
    assert kills >= 5
    evaluate(Engine(), [make_task()], data=data, out=out)
    assert len({line["key"] for line in lines(out)}) == len(lines(out)) == SIZE
    assert outcome(out) == outcome(whole)


def test_another_picture_is_another_reply(data: Path, tmp_path: Path) -> None:
    from PIL import Image

    out = tmp_path / "run"
    evaluate(Engine(), [make_task()], data=data, out=out)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(data / "8.png")
    engine = Engine()
    evaluate(engine, [make_task()], data=data, out=out)
    assert len(engine.asked) == 4
    fresh = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "fresh")
    assert outcome(out) == outcome(fresh.path)


def test_another_prompt_is_another_reply(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate(Engine(), [make_task()], data=data, out=out)
    engine = Engine()
    run = evaluate(engine, [make_task()], data=data, out=out, prompt="long")
    assert len(engine.asked) == SIZE
    assert [score.prompt for score in run.scores] == ["short", "long"]
    assert all(len(list(run.verdicts(score))) == SIZE for score in run.scores)


def test_another_checkpoint_never_meets_old_replies(data: Path, tmp_path: Path) -> None:
    evaluate(Engine("first"), [make_task()], data=data, out=tmp_path / "run")
    before = outcome(tmp_path / "run")
    engine = Engine("retrained")
    with pytest.raises(
        SpareError, match=r"another model.*weights \(first in the run, retrained now\)"
    ):
        evaluate(engine, [make_task()], data=data, out=tmp_path / "run")
    assert engine.asked == []
    assert outcome(tmp_path / "run") == before


def test_two_models_are_told_apart_in_a_few_digits(data: Path, tmp_path: Path) -> None:
    """By name of what differs, and of nothing else; digests are shortened."""
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("old", "new", "same")}
    one, other = Engine(digests["old"]), Engine(digests["new"])
    for engine in (one, other):
        engine.identity |= {"chat template": digests["same"], "dtype": "bfloat16"}
    other.identity["adapter"] = digests["same"]
    evaluate(one, [make_task()], data=data, out=tmp_path / "run")
    with pytest.raises(SpareError) as refused:
        evaluate(other, [make_task()], data=data, out=tmp_path / "run")
    old, new, same = (digest[:12] for digest in digests.values())
    assert str(refused.value) == (
        f"{tmp_path / 'run'} is a run of another model, and a run belongs to one. They differ in "
        f"weights ({old} in the run, {new} now), adapter (none in the run, {same} now). "
        "Choose another --out for this model; to go on with the run, load the model as it was."
    )


def test_two_tasks_in_a_run_change_nothing(data: Path, tmp_path: Path) -> None:
    one, two = make_task("one"), make_task("two")
    both = evaluate(Engine(), [one, two], data=data, out=tmp_path / "both")
    alone = evaluate(Engine(), [two], data=data, out=tmp_path / "alone")
    assert list(both.verdicts(both.scores[1])) == list(alone.verdicts(alone.scores[0]))
    assert both.scores[1] == alone.scores[0]
    evaluate(Engine(), [one], data=data, out=tmp_path / "alone")
    assert len(runs.load_run(tmp_path / "alone").scores) == 2


def test_bad_pictures_are_errors_and_stay_in_the_denominator(data: Path, tmp_path: Path) -> None:
    (data / "12.png").unlink()
    (data / "16.png").write_bytes(b"")
    run = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "run")
    (score,) = run.scores
    assert score.errors == 8
    assert score.metrics["accuracy"]["n"] == SIZE
    problems = {line["id"]: line["error"] for line in lines(run.path) if "error" in line}
    assert sorted(map(int, problems)) == [12, 13, 14, 15, 16, 17, 18, 19]
    assert "12.png is missing" in problems["13"]
    assert "16.png is empty" in problems["17"]
    write_data(data)
    engine = Engine()
    mended = evaluate(engine, [make_task()], data=data, out=tmp_path / "run")
    assert len(engine.asked) == 8
    assert mended.scores[0].errors == 0
    fresh = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "fresh")
    assert outcome(run.path) == outcome(fresh.path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9))
def test_lazy_groups_have_the_same_headline(data: Path, tmp_path: Path, seed: int) -> None:
    full = evaluate(Engine(str(seed)), [make_task()], data=data, out=tmp_path / f"full{seed}")
    engine = Engine(str(seed))
    lazy = evaluate(
        engine, [make_task()], data=data, out=tmp_path / f"lazy{seed}", lazy_groups=True
    )
    assert lazy.scores[0].metrics["whole"] == full.scores[0].metrics["whole"]
    assert "accuracy" not in lazy.scores[0].metrics
    assert len(engine.asked) < SIZE
    assert lazy.scores[0].statuses["skipped"] == SIZE - len(engine.asked)
    # Asked in full afterwards, only what was skipped is asked, and every figure is there.
    rest = Engine(str(seed))
    mended = evaluate(rest, [make_task()], data=data, out=lazy.path)
    assert len(rest.asked) == SIZE - len(engine.asked)
    assert mended.scores == full.scores
    for path in (full.path, lazy.path):
        shutil.rmtree(path)


def test_lazy_groups_resume(data: Path, tmp_path: Path) -> None:
    whole = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "a", lazy_groups=True)
    shutil.copytree(whole.path, tmp_path / "b")
    with (tmp_path / "b" / "replies.jsonl").open("r+b") as file:
        file.truncate(len(file.read()) // 3)
    evaluate(Engine(), [make_task()], data=data, out=tmp_path / "b", lazy_groups=True)
    assert outcome(tmp_path / "b") == outcome(whole.path)


def test_lazy_groups_say_what_is_skipped(data: Path, tmp_path: Path) -> None:
    """What is complete is not missing, and its progress comes to an end; so does a resumed one."""
    out = tmp_path / "run"

    def call() -> tuple[list[str], Progress]:
        said: list[str] = []
        state: list[Progress] = []

        def hear(event: Event) -> None:
            (said if isinstance(event, str) else state).append(event)  # type: ignore[arg-type]

        evaluate(Engine(), [make_task()], data=data, out=out, lazy_groups=True, on_event=hear)
        return said, state[-1]

    said, first = call()
    assert said == ["60 questions in toy: 0 answered, 60 to be asked."]
    asked = len(lines(out))
    assert (first.done, first.skipped, first.missing) == (asked, SIZE - asked, 0)
    assert first.skipped == runs.load_run(out).scores[0].statuses["skipped"] > 0
    said, again = call()
    left_out = f"{first.skipped} skipped since their groups have failed"
    assert said == [f"60 questions in toy: {asked} answered, {left_out}, 0 to be asked."]
    assert (again.before, again.done, again.skipped, again.missing) == (
        asked,
        asked,
        SIZE - asked,
        0,
    )
    with (out / "replies.jsonl").open("r+b") as file:
        file.truncate(len(b"".join(file.readlines()[:25])))
    said, resumed = call()
    assert said[0].startswith("60 questions in toy: 25 answered, ")
    assert (resumed.before, resumed.done, resumed.missing) == (25, asked, 0)
    assert resumed.skipped == first.skipped


def test_samples_without_a_group_fail_alone(data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data / "questions.jsonl").read_text().splitlines()]
    alone = "".join(json.dumps({**row, "group": ""}) + "\n" for row in rows)
    (data / "questions.jsonl").write_text(alone)
    engine = Engine()
    evaluate(engine, [make_task()], data=data, out=tmp_path / "run", lazy_groups=True)
    assert len(engine.asked) == SIZE


def test_limit_is_marked_and_goes_on(data: Path, tmp_path: Path) -> None:
    first = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "run", limit=10)
    assert (first.scores[0].samples, first.scores[0].limit) == (10, 10)
    engine = Engine()
    run = evaluate(engine, [make_task()], data=data, out=tmp_path / "run")
    assert len(engine.asked) == SIZE - 10
    assert (run.scores[0].samples, run.scores[0].limit) == (SIZE, None)


def test_faults_come_out_before_a_model_is_loaded(data: Path, tmp_path: Path) -> None:
    def fails(problem: str, **arguments: object) -> None:
        options = {"tasks": [make_task()], "data": data, "out": tmp_path / "run"} | arguments
        with pytest.raises(SpareError, match=problem):
            evaluate("no-such-model", **options)  # type: ignore[arg-type]

    fails("has no prompt 'loud'; it has short, long", prompt="loud")
    fails("--prompt names other, which is not among the tasks", prompt={"other": "long"})
    fails("has no rules 'lax'", rules="lax")
    fails("has no split 'train'", split="train")
    fails("data folder .* does not exist", data=tmp_path / "nowhere")
    fails("--limit must be at least 1", limit=0)
    fails("There is no task 'vsr_zero_shot'. Did you mean vsr_zeroshot", tasks="vsr_zero_shot")
    questions = data / "questions.jsonl"
    whole = questions.read_text()
    questions.write_text(whole + whole.splitlines()[3] + "\n")
    fails("two samples called '3'")
    questions.write_text(whole[:-9])
    fails("questions.jsonl, row 60: not JSON")
    questions.write_text("")
    fails("has no samples")
    assert not (tmp_path / "run" / "replies.jsonl").exists()


def test_an_engine_that_loses_a_request_is_found_out(data: Path, tmp_path: Path) -> None:
    class Loser(Engine):
        def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
            return (one for number, one in enumerate(super().answer(requests)) if number != 3)

    with pytest.raises(RuntimeError, match="no reply to 1 of its requests"):
        evaluate(Loser(), [make_task()], data=data, out=tmp_path / "run")


def test_manifest_names_what_could_change_a_score(data: Path, tmp_path: Path) -> None:
    run = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "run")
    assert run.manifest["model"] == {"weights": "w"}
    (entry,) = run.manifest["evaluations"]
    digest = hashlib.sha256((data / "questions.jsonl").read_bytes()).hexdigest()
    assert entry["annotations"] == {str(data / "questions.jsonl"): digest}
    assert (entry["task"], entry["version"], entry["prompt"]) == ("toy", 1, "short")
    (call,) = run.manifest["calls"]
    assert call["environment"]["packages"]["pillow"]
    assert (call["task"], call["asked"]) == ("toy", SIZE)
    # A call that asks nothing made nothing, and leaves no trace.
    again = evaluate(Engine(), [make_task()], data=data, out=tmp_path / "run")
    assert again.manifest["calls"] == [call]


def test_a_lazy_group_is_given_up_only_when_it_failed_under_every_rule_set(
    data: Path, tmp_path: Path
) -> None:
    """`lax` takes every reply; so under both rule sets nothing may be skipped."""
    lax = Rules("lax", "", lambda sample, reply: Verdict(reply.text, 1.0, "ok"))
    prompt = Prompt("short", "", ("strict", "lax"))
    task = dataclasses.replace(
        make_task(), prompts={"short": prompt}, rules={**make_task().rules, "lax": lax}
    )
    run = evaluate(Engine(), [task], data=data, out=tmp_path / "a", rules="all", lazy_groups=True)
    full = evaluate(Engine(), [task], data=data, out=tmp_path / "b", rules="all")
    assert run.scores == full.scores
    assert [score.rules for score in run.scores] == ["strict", "lax"]


def relabel(data: Path, target: str) -> None:
    """Another truth for the same questions."""
    rows = [json.loads(line) for line in (data / "questions.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "target": target}) + "\n" for row in rows)
    (data / "questions.jsonl").write_text(text)


def test_files_that_change_meanwhile_are_found_out(data: Path, tmp_path: Path) -> None:
    """Samples are read again for scoring, and must be those that were asked."""
    questions = data / "questions.jsonl"
    whole = questions.read_text().splitlines(keepends=True)
    for changed in (whole[::-1], whole[:-1], [*whole, whole[0].replace('"0"', '"99"', 1)]):
        out = tmp_path / f"run{len(changed)}{changed[0][:9]}".replace('"', "")
        questions.write_text("".join(whole))

        class Changing(Engine):
            def flush(self, waiting: list[Request]) -> Iterator[Response]:
                if len(self.asked) > 20:
                    questions.write_text("".join(changed))  # noqa: B023
                return super().flush(waiting)

        with pytest.raises(SpareError, match="changed while its questions were being asked"):
            evaluate(Changing(), [make_task()], data=data, out=out)
        assert runs.load_run(out).scores == []
        again = evaluate(Engine(), [make_task()], data=data, out=out)
        fresh = evaluate(Engine(), [make_task()], data=data, out=out.with_suffix(".fresh"))
        assert again.scores == fresh.scores


def test_corrected_labels_need_no_new_replies(data: Path, tmp_path: Path) -> None:
    for target in "AB":
        relabel(data, target)
        for lazy in (True, False):
            kind = "lazy" if lazy else "full"
            engine = Engine()
            run = evaluate(engine, [make_task()], data=data, out=tmp_path / kind, lazy_groups=lazy)
            fresh = tmp_path / f"fresh-{kind}-{target}"
            expected = evaluate(Engine(), [make_task()], data=data, out=fresh, lazy_groups=lazy)
            assert run.scores[0].metrics["whole"] == expected.scores[0].metrics["whole"]
            assert target == "A" or lazy or not engine.asked


def test_interrupted_again_no_old_figures_stand(data: Path, tmp_path: Path) -> None:
    from PIL import Image

    out = tmp_path / "run"
    evaluate(Engine(), [make_task()], data=data, out=out)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(data / "8.png")

    class Stopped(Engine):
        def flush(self, waiting: list[Request]) -> Iterator[Response]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Stopped(), [make_task()], data=data, out=out)
    run = runs.load_run(out)
    assert (run.scores, [one["task"] for one in run.unfinished]) == ([], ["toy"])


def test_no_score_is_lost_to_another_call(data: Path, tmp_path: Path) -> None:
    lax = Rules("lax", "", lambda sample, reply: Verdict(reply.text, 1.0, "ok"))
    prompt = Prompt("short", "", ("strict", "lax"))
    task = dataclasses.replace(
        make_task(), prompts={"short": prompt}, rules={**make_task().rules, "lax": lax}
    )
    out = tmp_path / "run"
    evaluate(Engine(), [task], data=data, out=out, rules="strict")
    run = evaluate(Engine(), [task], data=data, out=out, rules="lax")
    assert {score.rules for score in run.scores} == {"strict", "lax"}
    with pytest.raises(SpareError, match=r"--limit 5 would replace it"):
        evaluate(Engine(), [task], data=data, out=out, limit=5)
    other = write_data(tmp_path / "other")
    relabel(other, "B")
    with pytest.raises(SpareError, match="holds something else"):
        evaluate(Engine(), [task], data=other, out=out)


def test_damaged_verdicts_are_written_anew(data: Path, tmp_path: Path) -> None:
    tasks = [make_task("one"), make_task("two")]
    run = evaluate(Engine(), tasks, data=data, out=tmp_path / "run")
    before = outcome(run.path)
    (run.path / "verdicts.strict.jsonl").write_text("{")
    engine = Engine()
    half = evaluate(engine, tasks[1:], data=data, out=run.path)
    assert [one["task"] for one in half.unfinished] == ["one"]
    evaluate(engine, tasks, data=data, out=run.path)
    assert engine.asked == []
    assert outcome(run.path) == before


def test_what_a_baseline_learnt_is_part_of_it(data: Path, tmp_path: Path) -> None:
    """A favourite learnt from other samples is another reply."""
    from spare.harness.models import load_model

    relabel(data, "B")
    questions = data / "questions.jsonl"
    first = questions.read_text().splitlines(keepends=True)
    relabel(data, "A")
    questions.write_text("".join(first[:10]) + "".join(questions.read_text().splitlines(True)[10:]))
    out = tmp_path / "run"
    evaluate(load_model("majority"), [make_task()], data=data, out=out, limit=10)
    run = evaluate(load_model("majority"), [make_task()], data=data, out=out)
    expected = 100 * (SIZE - 10) / SIZE
    assert run.scores[0].metrics["accuracy"]["value"] == pytest.approx(expected)


def test_a_refused_call_leaves_no_folder(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "deep" / "run"
    write_world(data, sets=1)
    with pytest.raises(SpareError, match="There is no engine"):
        evaluate("no:engine", "vsr_zeroshot", data=data, out=out)
    assert not out.exists()
    out.mkdir()  # the user's own stays
    with pytest.raises(SpareError, match="There is no engine"):
        evaluate("no:engine", "vsr_zeroshot", data=data, out=out)
    assert out.exists()


def test_the_data_folder_does_not_become_a_run(tmp_path: Path) -> None:
    write_world(tmp_path, sets=1)
    with pytest.raises(SpareError, match="holds the benchmarks' files"):
        evaluate("random", "vsr_zeroshot", data=tmp_path, out=tmp_path / "vsr" / "..")
    assert not (tmp_path / "manifest.json").exists()


def test_an_option_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"evaluate\(\) got an unexpected keyword argument 'promt'"):
        evaluate("random", "vsr_zeroshot", data=tmp_path, out=tmp_path / "run", promt="mcq")
