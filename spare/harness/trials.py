"""Does an engine work here? One of them is really tried, in this very process:

    python -m spare.harness.trials transformers

The last line that is printed is what was found. Whatever goes wrong may go wrong here: `doctor`
runs it in a process of its own, so a library that takes that down is one line of its table.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import spare
from spare.harness.models import ENGINES, load_model, own
from spare.harness.models.types import Request
from spare.images import Picture

BASE = Path(spare.__file__).parent / "demo" / "base"
"""A tiny checkpoint that is shipped, and reads pictures."""


class Trial(NamedTuple):
    """What is tried.

    Attributes:
        modules: what must be there to import, or there is nothing to try.
        extra: the extra of spare-eval that brings it; "" if none does, or none that other engines
            should share an environment with.
        run: tries it, and says what it found.
        note: what to know before it is installed.
    """

    modules: tuple[str, ...]
    extra: str
    run: Callable[[], str]
    note: str = ""


def _answer(spec: str) -> str:
    """Have a model answer a question about a picture."""
    import PIL.Image

    model = load_model(spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.png"
        PIL.Image.new("RGB", (56, 56), (90, 90, 90)).save(path)
        asked = Request("q", (Picture(path, path.name), "What is it?"), {"A": "a mug"})
        (response,) = model.answer(iter([asked]))
    if response.reply.error:
        raise RuntimeError(response.reply.error)
    device = model.facts.get("device", "")
    return f"answered a question{f' on {device}' if device else ''}"


def _clip() -> str:
    from spare.torchvision_repair import repair_torchvision

    repair_torchvision()
    from transformers import AutoProcessor, CLIPModel, SiglipModel

    return f"imports {', '.join(one.__name__ for one in (CLIPModel, SiglipModel, AutoProcessor))}"


def _vllm() -> str:
    from spare.harness.models.vllm_loading import import_vllm

    vllm = import_vllm()
    from vllm.platforms import current_platform

    if not current_platform.device_type:
        raise RuntimeError("vLLM finds no device that this build of it runs on")
    return f"imports, and would run on {current_platform.device_type} (vLLM {vllm.__version__})"


def _openai() -> str:
    import openai

    openai.OpenAI(api_key="none", base_url="http://localhost/v1").close()
    return "makes a client (no server was asked)"


def _lm_eval() -> str:
    from spare.torchvision_repair import repair_torchvision

    repair_torchvision()
    importlib.import_module("lm_eval.evaluator")
    return f"imports (lm-eval {importlib.metadata.version('lm_eval')})"


def _lmms_eval() -> str:
    from spare.torchvision_repair import repair_torchvision

    repair_torchvision()
    importlib.import_module("lmms_eval.evaluator")
    known = importlib.import_module("lmms_eval.models").list_available_models()
    return (
        f"imports, and knows {len(known):,} models (none was loaded; lmms-eval "
        f"{importlib.metadata.version('lmms_eval')})"
    )


def _vlmevalkit() -> str:
    from spare.torchvision_repair import repair_torchvision

    repair_torchvision()
    known = importlib.import_module("vlmeval.config").supported_VLM
    return f"imports, and knows {len(known):,} models (none was loaded)"


def _ray() -> str:
    import ray
    import ray.data

    return f"imports (no cluster was started; Ray {ray.__version__})"


def _finetune() -> str:
    from spare.torchvision_repair import repair_torchvision

    repair_torchvision()
    import peft
    import trl
    from trl import SFTTrainer

    return f"imports {SFTTrainer.__name__} (TRL {trl.__version__}, PEFT {peft.__version__})"


def _schemas() -> str:
    import llguidance

    return f"imports (llguidance {llguidance.__version__})"


def _charts() -> str:
    import matplotlib

    return f"imports (matplotlib {matplotlib.__version__})"


ALONE = "; docs/neighbours.md says how to, in an environment of its own"

TRIALS: Mapping[str, Trial] = {
    "random": Trial((), "", lambda: _answer("random")),
    "transformers": Trial(
        ("torch", "transformers"), "transformers", lambda: _answer(f"transformers:{BASE}")
    ),
    "clip": Trial(("torch", "transformers"), "transformers", _clip),
    "vllm": Trial(
        ("vllm",),
        "",
        _vllm,
        "; it pins many packages, so give it an environment of its own (docs/design.md; without a "
        "GPU, `make test-vllm` makes one)",
    ),
    "openai": Trial(("openai",), "openai", _openai),
    "lm-eval": Trial(("lm_eval",), "lm-eval", _lm_eval),
    "lmms-eval": Trial(("lmms_eval",), "", _lmms_eval, ALONE),  # no engine, but `diff-harness`
    "vlmevalkit": Trial(("vlmeval",), "", _vlmevalkit, ALONE),
    "ray": Trial(("ray",), "ray", _ray),
    "spare finetune": Trial(("trl", "peft"), "finetune", _finetune),
    "spare generate": Trial(("llguidance",), "generation", _schemas),
    "spare report": Trial(("matplotlib",), "site", _charts),
}
"""Engines, and what verbs need beyond them."""


def trial_of(name: str) -> Trial:
    """What is tried of an engine, ours or another package's."""
    if name in TRIALS:
        return TRIALS[name]
    if name in ENGINES:
        return Trial((), "", lambda: _imports(ENGINES[name].split(":")[0]))
    return Trial((), "", lambda: _entry(name))


def _imports(module: str) -> str:
    importlib.import_module(module)
    return "imports (nothing more was tried)"


def _entry(name: str) -> str:
    entry = own.entry_points()[name]
    entry.load()
    return f"imports ({entry.value})"


if __name__ == "__main__":
    print(trial_of(sys.argv[1]).run())
