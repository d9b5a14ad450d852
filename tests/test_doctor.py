"""What is installed, and what of it works: found out by trying, in processes of their own."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import spare
from spare.cli import main
from spare.errors import SpareError
from spare.harness import clashes
from spare.harness import doctor as doctors
from spare.harness.clashes import KNOWN, declared_clashes, known_clashes
from spare.harness.models import ENGINES

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with a module and a model of its name on the path, here and for trials."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)

    def put(name: str, code: str, metadata: str = "", version: str = "1.0") -> None:
        (tmp_path / f"{name}.py").write_text(code)
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
        (folder / "METADATA").write_text(header)
        (folder / "entry_points.txt").write_text(f"[spare.models]\n{name} = {name}:Model\n")
        importlib.invalidate_caches()

    return put


def test_what_is_broken_is_a_line_and_not_the_end(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("killed", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "")
    install("raising", "print('noise')\nraise OSError('libcudart.so.13: cannot open')\n", "")
    install("sound", "print('noise')\nModel = print\n", "")
    install("wordy", "try: 1 / 0\nexcept ZeroDivisionError: raise RuntimeError('boom\\nmore\\n')\n")
    found = spare.doctor(["killed", "raising", "sound", "random", "wordy"])
    assert not found.well
    assert [one.state for one in found.engines] == ["broken", "broken", "works", "works", "broken"]
    said = [one.found for one in found.engines]
    assert said == [
        "the process died of SIGSEGV",
        "OSError: libcudart.so.13: cannot open",
        "imports (sound:Model)",
        "answered a question",
        "RuntimeError: boom",
    ]
    assert main(["doctor", "raising", "random"]) == 1
    shown = capsys.readouterr().out
    assert "libcudart.so.13" in shown
    assert "answered a question" in shown


def test_a_name_that_is_taken_is_said(install: Install, tmp_path: Path) -> None:
    install("mine", "Model = print\n", "")
    entries = tmp_path / "mine-1.0.dist-info" / "entry_points.txt"
    entries.write_text("[spare.models]\nrandom = mine:Model\n")
    ours, theirs = spare.doctor(["random"]).engines
    assert (ours.name, ours.state) == ("random", "works")
    assert (theirs.name, theirs.state) == ("random of a package", "broken")
    assert theirs.found.startswith("a package brings mine:Model under the name of an engine of our")


def test_one_that_never_comes_back_is_broken(install: Install) -> None:
    install("slow", "import time\ntime.sleep(600)\n", "")
    assert doctors._try("slow", 2.0).found == "did not finish within 2 s"


def test_the_engine_that_comes_first_really_answers() -> None:
    (found,) = spare.doctor(["transformers"]).engines
    assert (found.state, found.found.partition(" on ")[0]) == ("works", "answered a question")


def test_what_is_not_installed_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("vllm", "ray") else find(name)
    )
    monkeypatch.setattr(doctors, "versions", lambda names: {})
    found = spare.doctor(["vllm", "ray"])
    assert found.well
    vllm, ray = found.engines
    assert [vllm.state, ray.state] == ["not installed"] * 2
    assert ray.install == "pip install -e '.[ray]'"
    # What needs an environment of its own is not to be installed into this one.
    assert "environment of its own" in vllm.found
    assert not vllm.install
    there = {"ms-vlmeval": "0.0.20"}
    monkeypatch.setattr(
        doctors, "versions", lambda names: {n: there[n] for n in names if n in there}
    )
    (ray,) = spare.doctor(["ray"]).engines
    assert "VLMEvalKit wants this one for itself" in ray.found
    assert not ray.install


def test_every_engine_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctors, "_try", lambda name: doctors.Finding(name, "works", "as if it were")
    )
    tried = {one.name for one in spare.doctor().engines}
    assert set(ENGINES) - {"majority", "shuffled"} <= tried
    with pytest.raises(SpareError, match="There is no engine 'warp' to try; there are random"):
        spare.doctor(["warp"])


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "random", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["well"] is True
    assert told["packages"]["pillow"]
    assert told["engines"][0]["state"] == "works"


def test_the_table_of_clashes() -> None:
    cpu = {"torch": "2.13.0+cpu", "torchvision": "0.28.0", "torchaudio": "2.11.0"}
    assert [set(one.packages) for one in known_clashes(cpu)] == [
        {"torchvision", "torch"},
        {"torchaudio", "torch"},
    ]
    assert known_clashes({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}) == []
    assert known_clashes({"torch": "2.13.0", "torchvision": "0.28.0"}) == []
    assert known_clashes({"torch": "2.13.0+cu130", "vllm": "0.33.0"}) == []
    old, new = {"lmms-eval": "0.7.3", "transformers": "5.19.0"}, {"transformers": "5.23.0"}
    assert known_clashes(old) == []
    (clash,) = known_clashes(old | new)
    assert clash.packages == {"lmms-eval": "0.7.3", "transformers": "5.23.0"}


def test_every_known_clash_says_what_where_and_what_to_do() -> None:
    for known in KNOWN:
        assert known.problem.endswith(".")
        assert known.remedy.endswith(".")
        assert known.source
        installed = {name: wanted.strip("=<>") or "1" for name, wanted in known.packages.items()}
        installed = {name: wanted.replace(".*", ".1") for name, wanted in installed.items()}
        if known.torch:
            installed["torch"] = "2+cpu"
        assert known.problem in [clash.problem for clash in known_clashes(installed)]


def test_what_metadata_asks_for_is_compared_with_what_is_there(install: Install) -> None:
    install("needy", "", "Requires-Dist: pillow>=999\nRequires-Dist: numpy>=1\n"
            "Requires-Dist: rich>=999; extra == 'colour'\nRequires-Dist: nowhere>=1\n")  # fmt: skip
    (clash,) = declared_clashes(["needy"])
    assert clash.problem == "needy 1.0 needs pillow >=999."
    assert clash.remedy.startswith('Run `pip install "pillow>=999"`')


def test_a_build_that_is_wanted_and_there_is_no_clash(install: Install) -> None:
    install("built", "", version="2.13.0+cpu")
    install("exact", "", "Requires-Dist: built==2.13.0+cpu\n")
    install("any", "", "Requires-Dist: built==2.13.0\nRequires-Dist: built<=2.13\n")
    install("other", "", "Requires-Dist: built==2.13.0+cu130\n")
    assert declared_clashes(["exact", "any"]) == []
    assert len(declared_clashes(["other"])) == 1


def test_what_our_tests_run_with_is_harmless(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("asking", "", "Requires-Dist: asked==0.9\n")
    install("asked", "")
    monkeypatch.setattr(clashes, "TESTED", {("asking", "asked"): "1.0"})
    (clash,) = declared_clashes(["asking"])
    assert clash.remedy.startswith("Nothing: known and harmless")
    monkeypatch.setattr(clashes, "TESTED", {("asking", "asked"): "1.1"})
    (clash,) = declared_clashes(["asking"])
    assert clash.remedy.startswith("Run")


def test_the_versions_that_are_called_tested_are_those_of_the_tests() -> None:
    pinned = (Path(spare.__file__).parents[1] / "constraints-vlmevalkit.txt").read_text()
    for (_, asked), version in clashes.TESTED.items():
        assert f"{asked}=={version}\n" in pinned
