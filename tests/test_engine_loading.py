"""What is loaded, what it is called, and why something else is not."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_questions import Reference, answers, ask, draw_pictures

from spare.demo.checkpoint import build_checkpoint
from spare.errors import ModelError, SpareError
from spare.harness.models import load_model
from spare.harness.models.types import Model, Request
from spare.images import Picture


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("built"), "qwen2_vl")


@pytest.fixture
def checkpoint(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(built, tmp_path / "checkpoint"))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# What is refused


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def torn_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "qwen2')


def torn_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def lost_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.1.mlp" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def lost_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def text_only(folder: Path) -> None:
    edit(folder / "config.json", model_type="qwen2")


def dual_encoder(folder: Path) -> None:
    edit(folder / "config.json", model_type="clip")


def unknown_kind(folder: Path) -> None:
    edit(folder / "config.json", model_type="qwen17_vl")


def own_code(folder: Path) -> None:
    edit(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (folder / "mine.py").write_text("raise SystemExit('this code must not run')")


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def blind_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content[1].text }}")


def broken_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def an_adapter_inside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def only_an_adapter(folder: Path) -> None:
    an_adapter_inside(folder)
    no_config(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_weights, r"is not whole: model\.safetensors is missing"),
        (only_pickles, "only as pickles"),
        (no_config, r"it has no config\.json"),
        (torn_config, r"config\.json is not JSON"),
        (torn_weights, "cannot be loaded"),
        (lost_weights, "lacks 1 of the model's weights"),
        (lost_shard, r"model-00002-of-00002\.safetensors is missing"),
        (text_only, "a qwen2 does not read pictures"),
        (dual_encoder, r"a dual encoder \(clip\)"),
        (unknown_kind, "'qwen17_vl', which the installed transformers does not know"),
        (own_code, "brings Python code of its own"),
        (no_template, "has no chat template"),
        (blind_template, "fails at a plain question about a picture"),
        (broken_template, "chat template .*unexpected 'end of template'"),
        (no_tokenizer, "has no tokenizer"),
        (an_adapter_inside, "holds a checkpoint and an adapter"),
        (only_an_adapter, "is an adapter; give its base"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_checkpoint_that_cannot_be_used_gets_a_sentence(
    checkpoint: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(checkpoint)
    with pytest.raises(ModelError, match=words) as raised:
        load_model(str(checkpoint))
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "No model was named"),
        ("no/such/folder", "There is no folder no/such/folder"),
        ("./nowhere", "There is no folder"),
        ("owner/absent", "There is no folder owner/absent"),
        ("owner/absent..", "There is no folder owner/absent"),
        (
            "warp:drive",
            "There is no engine 'warp', and no module .* transformers, random",
        ),
        (__file__, "is a file"),
    ],
)
def test_a_model_that_is_not_there(spec: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(spec)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float8"}, "no dtype 'float8'"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"attention": "wishful"}, "no attention implementation 'wishful'; there are eager, "),
        ({"adapter": "nowhere"}, "nowhere is no adapter"),
        ({"max_pixels": 0}, "leaves nothing to see"),
        ({"batch_tokens": 0}, "holds no question"),
        ({"replicas": -1}, "fewer than no replicas"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_met(built: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(str(built), **options)


def test_without_a_cluster_there_is_a_sentence(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpareError, match=r"needs Ray, .* `pip install -e '\.\[ray\]'`"):
        load_model(str(built), replicas=2)


def test_without_torch_there_is_a_sentence(built: Path, tmp_path: Path) -> None:
    """Where the extra is not installed: here, a Python that cannot find torch."""
    program = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from spare.harness.models import load_model\n"
        "from spare.errors import ModelError\n"
        "try: load_model(sys.argv[1])\n"
        "except ModelError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(built)], capture_output=True, text=True, check=True
    )
    assert "needs torch, which is not installed" in done.stdout
    assert "pip install -e '.[transformers]'" in done.stdout


# Identity


def test_identity_is_content(built: Path, checkpoint: Path) -> None:
    """A copy at another place, and another batch size, is the same model."""
    one = load_model(str(built))
    two = load_model(str(checkpoint), batch_tokens=100, share=False)
    assert one.identity == two.identity
    assert one.facts["model"] != two.facts["model"]


def other_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_template(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text("{{- 'Think. ' -}}" + template.read_text())


def other_normalisation(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"]["image_mean"] = [0.1, 0.1, 0.1]
    edit(folder / "processor_config.json", **settings)


def other_end(folder: Path) -> None:
    edit(folder / "generation_config.json", eos_token_id=[2, 300])


def other_base(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["rms_norm_eps"] = 1e-3
    edit(folder / "config.json", **config)


def other_origin(folder: Path) -> None:
    edit(folder / "config.json", _name_or_path="/home/x/run-7", transformers_version="5.99.0")


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        (other_weights, {"weights"}),
        (other_template, {"chat template"}),
        (other_normalisation, {"processor"}),
        (other_end, {"decoding"}),
        (other_base, {"config"}),
        (other_origin, set()),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_changes_replies_changes_identity(
    built: Path, checkpoint: Path, change: Callable[[Path], None], differ: set[str]
) -> None:
    before = load_model(str(built)).identity
    change(checkpoint)
    after = load_model(str(checkpoint)).identity
    assert {name for name in before if before[name] != after[name]} == differ
    assert before.keys() == after.keys()


def test_options_that_change_replies_change_identity(built: Path) -> None:
    def identity(**options: Any) -> set[tuple[str, str]]:
        return set(load_model(str(built), **options).identity.items())

    plain = identity()
    for name, options in {
        "dtype": {"dtype": "bfloat16"},
        "max pixels": {"max_pixels": 5000},
        "attention": {"attention": "eager"},
    }.items():
        assert {key for key, _ in plain ^ identity(**options)} == {name}


def test_sampling_that_a_checkpoint_ships_is_not_used(
    built: Path, checkpoint: Path, pictures: list[Picture]
) -> None:
    edit(
        checkpoint / "generation_config.json",
        do_sample=True,
        temperature=5.0,
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        min_new_tokens=3,
        max_length=50,
        bad_words_ids=[[token] for token in range(300, 400)],
    )
    one, two = load_model(str(built)), load_model(str(checkpoint))
    assert one.identity == two.identity
    assert answers(one, ask(pictures)) == answers(two, ask(pictures))


# Pixels


@pytest.mark.parametrize("family", ["qwen2_vl", "llava"])
def test_pixels_are_bounded(family: Any, tmp_path: Path) -> None:
    """Qwen's processor knows the bound; for LLaVA the picture is scaled beforehand."""
    from PIL import Image

    checkpoint = build_checkpoint(tmp_path / family, family)
    small = draw_pictures(tmp_path, 1)[0]
    large = Picture(tmp_path / "large.png", "large.png")
    with Image.open(small.path) as image:
        image.resize((image.width * 5, image.height * 5)).save(large.path)
    free = load_model(str(checkpoint))
    bound = load_model(str(checkpoint), max_pixels=90 * 45)
    assert bound.identity["max pixels"] == "4050"

    def left(model: Model, picture: Picture) -> tuple[float, int]:
        reply = answers(model, [Request("1", (picture, "where?"), {"A": "left"}, rank=True)])["1"]
        assert reply.likelihoods is not None
        return reply.likelihoods["A"].total, reply.input_tokens

    (before, many), (after, few) = left(free, large), left(bound, large)
    assert before != pytest.approx(after, abs=1e-6)
    if family == "qwen2_vl":  # 28 x 28 pixels make one token there
        assert many - few > 100
    else:  # as many tokens, but of a coarser picture
        scaled = Picture(tmp_path / "scaled.png", "scaled.png")
        with Image.open(large.path) as image:
            factor = (4050 / (image.width * image.height)) ** 0.5
            size = int(image.width * factor), int(image.height * factor)
            image.resize(size, Image.Resampling.BICUBIC).save(scaled.path)
        assert left(free, scaled)[0] == pytest.approx(after, abs=1e-6)


# Adapters


@pytest.fixture(scope="module")
def adapter(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA that changes what the model says."""
    import peft
    import torch

    network = Reference(built).network
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wrapped = peft.get_peft_model(network, config)
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.3)
    folder = tmp_path_factory.mktemp("adapter")
    wrapped.save_pretrained(folder)
    return folder


def test_an_adapter_is_merged(built: Path, adapter: Path, pictures: list[Picture]) -> None:
    import peft

    plain = load_model(str(built))
    tuned = load_model(str(built), adapter=str(adapter))
    reference = Reference(built)
    reference.network = peft.PeftModel.from_pretrained(reference.network, str(adapter)).eval()
    requests = ask(pictures)
    found = answers(tuned, requests)
    assert {key: reply.text for key, reply in found.items()} == {
        request.key: reference.write(request) for request in requests
    }
    assert found != answers(plain, requests)
    assert {**tuned.identity, "adapter": ""} == {**plain.identity, "adapter": ""}
    assert tuned.facts["adapter"] == str(adapter)


def test_an_adapter_is_its_content(built: Path, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    edit(copy / "adapter_config.json", base_model_name_or_path="elsewhere")
    first = load_model(str(built), adapter=str(adapter)).identity
    assert load_model(str(built), adapter=str(copy)).identity == first
    weights = load_file(copy / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] += 1
    save_file(weights, copy / "adapter_model.safetensors")
    assert load_model(str(built), adapter=str(copy)).identity["adapter"] != first["adapter"]


def test_an_adapter_for_another_model_gets_a_sentence(adapter: Path, tmp_path: Path) -> None:
    deeper = build_checkpoint(tmp_path / "deeper", "qwen2_vl", layers=3)
    wider = build_checkpoint(tmp_path / "wider", "qwen2_vl", hidden=256)
    other = build_checkpoint(tmp_path / "other", "llava")
    for base in (deeper, wider, other):
        with pytest.raises(ModelError, match=r"does not fit|was made for another model"):
            load_model(str(base), adapter=str(adapter))


def test_a_torn_adapter_gets_a_sentence(built: Path, adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    weights = copy / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="does not fit"):
        load_model(str(built), adapter=str(copy))
    weights.rename(copy / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is missing"):
        load_model(str(built), adapter=str(copy))


# Imports


def test_baselines_need_no_torch() -> None:
    program = (
        "import sys\n"
        "from spare.harness.models import load_model\n"
        "load_model('random'); load_model('majority')\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.strip() == "[]"
