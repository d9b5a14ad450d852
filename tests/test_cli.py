"""The command itself: quick to start, and a sentence for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spare.cli import GO_ON, VERBS, main
from spare.demo.world import write_world
from spare.tasks import LISTED

HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "PIL",
    "datasets",
    "pandas",
    "pyarrow",
    "scipy",
    "rich",
    "openai",
)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["tasks"], ["tasks", "--json"], ["tasks", "vsr_zeroshot"]]
    + [["doctor", "random", "--json"]]
    + [[verb, "--help"] for verb in VERBS],
    ids=" ".join,
)
def test_what_needs_no_model_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from spare.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code\n"
        "print([name for name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    loaded = {name.partition(".")[0] for name in eval(done.stderr.splitlines()[-1])}
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import spare, sys; spare.load_task('vsr_zeroshot'); print(list(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert {name.partition(".")[0] for name in eval(done.stdout)}.isdisjoint(HEAVY)


def test_every_public_name_is_there() -> None:
    import spare

    for name in spare.__all__:
        assert getattr(spare, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        spare.nothing  # noqa: B018


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("spare: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_mistakes_get_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, data = tmp_path / "run", tmp_path / "data"
    data.mkdir()
    common = ["--data", data, "--out", out, "--model", "random"]
    assert "Did you mean" in fails(capsys, "tasks", "vsr_zeroshoot")
    assert "Did you mean" in fails(capsys, "eval", "--tasks", "spatia", *common)
    assert "no files of vsr_zeroshot" in fails(capsys, "eval", "--tasks", "vsr_zeroshot", *common)
    assert "is not a run" in fails(capsys, "show", tmp_path)
    message = fails(capsys, "eval", "--tasks", "vsr_zeroshot", "--prompt", "a", "--prompt", "b",
                    *common)  # fmt: skip
    assert "--prompt takes one NAME for all tasks, or TASK=NAME" in message
    ray = ["--tasks", "vsr_zeroshot", "--engine", "ray", "--replicas", "0"]
    assert "--replicas must be at least 1" in fails(capsys, "eval", *ray, *common)
    many = ["--replicas", "2"]
    said = "--replicas 2 does nothing without a cluster; add --engine ray, or leave it out."
    assert said in fails(capsys, "eval", *many, "--tasks", "vsr_zeroshot", *common)
    assert said in fails(capsys, "generate", *many, "captions", "--out", tmp_path / "qa")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate"])
    assert stop.value.code == 2


def test_the_list_says_what_the_tasks_say() -> None:
    from spare.tasks import load_task

    for name, row in LISTED.items():
        task = load_task(name)
        chance = task.chance.get(task.headline)
        assert (row.questions, row.about) == (task.splits[task.split], task.about)
        assert row.chance == (None if chance is None else pytest.approx(chance, abs=0.005))


def test_tasks_as_json_are_what_the_tasks_say(capsys: pytest.CaptureFixture[str]) -> None:
    from spare.tasks import tasks

    assert main(["tasks", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["tasks"]
    assert list(listed) == list(tasks())
    for name, task in tasks().items():
        assert listed[name]["splits"] == dict(task.splits)
        assert list(listed[name]["prompts"]) == list(task.prompts)
        for prompt in task.prompts.values():
            assert prompt.rules
            assert set(prompt.rules) <= set(task.rules)


def spoken(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, its output in pipes, without COLUMNS."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= variables
    return subprocess.run(
        [sys.executable, "-m", "spare", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_what_the_disk_refuses_is_a_sentence(tmp_path: Path) -> None:
    write_world(tmp_path / "data", sets=1)
    (tmp_path / "file").write_text("here", "utf-8")
    out = tmp_path / "file" / "tasks"
    words = ["--tasks", "vsr_zeroshot", "--data", tmp_path / "data"]
    done = spoken("export-tasks", "--to", "lm-eval", out, *words)
    assert (done.returncode, done.stderr) == (2, f"spare: {out}/questions: Not a directory.\n")
    done = spoken("eval", "--model", "random", "--base-url", "http://x/v1", "--out", out, *words)
    assert done.returncode == 2
    assert "--base-url is for a model behind a server" in done.stderr


@pytest.mark.parametrize(
    "words", [["generate"], ["generate", "--llm", "transformers:x"], ["ablate", "--llm=template:"]]
)
def test_an_address_that_nobody_is_asked_at_is_refused(words: list[str], tmp_path: Path) -> None:
    verb, *more = words
    address = ["--base-url", "http://x/v1"]
    done = spoken(verb, tmp_path, *more, *address, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "--base-url is for a model behind a server" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_broken_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "openai.py").write_text("import nothing_like_it\n", "utf-8")
    asked = [
        "--model",
        "openai:m",
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--tasks",
        "vsr_zeroshot",
    ]
    write_world(tmp_path / "data", sets=1)
    asked += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    done = spoken("eval", *asked, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.endswith("`spare doctor` says what is broken.\n")
    assert "No module named 'nothing_like_it'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pipe_gets_a_hundred_columns() -> None:
    for arguments in (["tasks"], ["tasks", "3dsrbench"], ["--help"], ["eval", "--help"]):
        done = spoken(*arguments)
        assert done.returncode == 0
        assert widest(done.stdout) <= 100


@pytest.mark.parametrize("columns", [60, 100, 160])
def test_tasks_fit_the_screen(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert widest(listed) <= columns
    about = (
        "12 kinds of 3-D relations; a question counts if all rotations of its options are right."
    )
    assert (about in listed) == (columns > 38 + len(about))
    for name in LISTED:
        assert main(["tasks", name]) == 0
        lines = capsys.readouterr().out.splitlines()
        # Addresses and file names are to be copied, so they stay whole.
        room = max(columns, 19 + max(map(len, " ".join(lines).split())))
        assert max(map(len, lines)) <= room
        assert columns < 100 or room == columns


def test_a_task_says_what_its_figures_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "3dsrbench"]) == 0
    printed = capsys.readouterr().out
    assert "headline  circular; `spare show --by` gives circular" in printed
    assert "circular        21.73  questions right in every rotation of their options" in printed
    assert "flip_circular       -  circular, and right about the mirror image too" in printed


def test_without_a_verb_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    listed = [line.split()[0] for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert set(VERBS) <= set(listed)


STOPPED = """
import sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
from spare.cli import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_while_something_is_imported_is_one_line(verb: str) -> None:
    for module in ("argparse", f"spare.cli.{verb.replace('-', '_')}"):
        script = STOPPED.format(module=module, arguments=[verb, "--help"])
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 130
        assert done.stderr.splitlines() == [done.stderr.rstrip()]
        assert done.stderr.startswith("spare: stopped")
        assert ("goes on from here" in done.stderr) == (verb in GO_ON)


def test_nothing_is_imported_before_ctrl_c_is_a_sentence() -> None:
    script = (
        "import sys; before = set(sys.modules); import spare.cli; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert set(done.stdout.split()) <= {"spare", "spare.cli", "__future__"}


def test_a_task_is_chosen_for_by_name_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from spare.demo.world import write_world

    data = tmp_path / "data"
    write_world(data, sets=1)
    common = ["eval", "--tasks", "whatsup_a,vsr_zeroshot", "--data", data, "--model", "random"]
    two = "whatsup_a=captions,vsr_zeroshot=vlmevalkit"
    assert main([*map(str, common), "--out", str(tmp_path / "commas"), "--prompt", two]) == 0
    again = [part for choice in two.split(",") for part in ("--prompt", choice)]
    assert main([*map(str, common), "--out", str(tmp_path / "repeated"), *again]) == 0
    for name in ("commas", "repeated"):
        scores = json.loads((tmp_path / name / "scores.json").read_text())["scores"]
        assert [score["prompt"] for score in scores] == ["captions", "vlmevalkit"]
    capsys.readouterr()
    out = ["--out", tmp_path / "run"]
    for twice in (["whatsup_a=mcq,whatsup_a=captions"], ["whatsup_a=mcq", "whatsup_a=captions"]):
        options = [part for choice in twice for part in ("--prompt", choice)]
        message = fails(capsys, *common, *out, *options)
        assert "--prompt names mcq and captions for whatsup_a; keep one" in message
    assert "'mcq' is neither" in fails(capsys, *common, *out, "--prompt", "mcq,words")
    assert not (tmp_path / "run").exists()


def test_what_is_there_already_has_no_speed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from spare.demo.world import write_world

    write_world(tmp_path / "data", sets=1)
    arguments = ["eval", "--tasks", "whatsup_a", "--model", "random"]
    arguments += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert "whatsup_a: 4 of 4, " in (first := capsys.readouterr().err)
    assert "/s, accuracy " in first
    assert main(arguments) == 0
    again = capsys.readouterr().err
    assert "whatsup_a: 4 of 4, already there, accuracy " in again
    assert "/s" not in again
