"""The command itself: quick to start, and a sentence for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spare.cli import VERBS, main

HEAVY = ("torch", "transformers", "numpy", "PIL", "datasets", "pandas", "pyarrow", "scipy", "rich")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["tasks"], ["tasks", "--json"], ["tasks", "vsr_zeroshot"]]
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
    loaded = {name.partition(".")[0] for name in eval(done.stderr)}
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
    with pytest.raises(SystemExit) as stop:
        main(["evaluate"])
    assert stop.value.code == 2


def test_the_list_says_what_the_tasks_say() -> None:
    from spare.tasks import LISTED, load_task

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
