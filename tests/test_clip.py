"""The engine `clip`: captions ranked as the dual encoder itself compares them with a picture, each
picture and each caption embedded once, and every fault at its own question.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_questions import answers, draw_pictures

import spare
from spare.cli import main
from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import write_world
from spare.errors import DataError, ModelError
from spare.harness.lines import read_log
from spare.harness.models import load_model
from spare.harness.models.ahead import QUEUE
from spare.harness.models.loading import find_checkpoint
from spare.harness.models.types import Request
from spare.harness.models.windows import LARGEST, WINDOW
from spare.images import Picture, open_picture
from spare.tasks import load_task
from spare.tasks.types import Reply, Sample
from spare.tasks.whatsup import CAPTION_REQUEST
from spare.torchvision_repair import repair_torchvision

THINGS = ("mug", "beer bottle", "sunglasses", "cap", "book")
PLACES = ("on", "under", "to the left of", "to the right of")
SIDE, PATCH = 56, 14


# Tiny checkpoints in the layouts of the published ones


def build_clip(folder: Path) -> None:
    """As openai/clip-vit-*: a byte-level BPE tokenizer, 77 positions, a centre crop."""
    import transformers

    ends = ("<|startoftext|>", "<|endoftext|>")
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), *ends]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    size = {"vocab_size": len(vocabulary), "max_position_embeddings": 77}
    ids = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1}
    config = transformers.CLIPConfig(
        text_config={**shape(), **size, **ids, "pad_token_id": ids["eos_token_id"]},
        vision_config={**shape(), "image_size": SIDE, "patch_size": PATCH},
        projection_dim=24,
    )
    pictures = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    save(folder, transformers.CLIPModel(config), transformers.CLIPProcessor(pictures, tokenizer))


def build_siglip(folder: Path) -> None:
    """As google/siglip2-base-patch16-224: kind `siglip`, and Gemma's tokenizer, which pads to no
    length and lowers no case by itself."""
    import transformers

    tokenizer = gemma(transformers.GemmaTokenizer)
    config = transformers.SiglipConfig(
        text_config={**shape(), "vocab_size": len(tokenizer), "max_position_embeddings": 64},
        vision_config={**shape(), "image_size": SIDE, "patch_size": PATCH},
    )
    pictures = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    save(
        folder, transformers.SiglipModel(config), transformers.SiglipProcessor(pictures, tokenizer)
    )


def build_siglip2(folder: Path) -> None:
    """As google/siglip2-base-patch16-naflex: pictures in their own proportions."""
    import transformers

    tokenizer = gemma(transformers.Siglip2Tokenizer)
    config = transformers.Siglip2Config(
        text_config={**shape(), "vocab_size": len(tokenizer), "max_position_embeddings": 64},
        vision_config={**shape(), "num_patches": 16, "patch_size": 16},
    )
    pictures = transformers.Siglip2ImageProcessor(patch_size=16, max_num_patches=16)
    processor = transformers.Siglip2Processor(pictures, tokenizer)
    save(folder, transformers.Siglip2Model(config), processor)


def shape() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }


def gemma(kind: Any) -> Any:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *map(chr, range(33, 127))]
    tokenizer = kind(
        vocab={name: number for number, name in enumerate(names)},
        merges=[],
        padding_side="right",
        model_max_length=64,
        model_input_names=["input_ids"],
    )
    tokenizer.add_bos_token, tokenizer.add_eos_token = False, True
    return tokenizer


def save(folder: Path, network: Any, processor: Any) -> None:
    import torch

    chance = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        # Louder than a beginner's weights, so that captions lie apart.
        if weight.ndim > 1:
            weight.data.normal_(std=0.3 if "embedding" in name else 0.15, generator=chance)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "clip": build_clip,
    "siglip": build_siglip,
    "siglip2": build_siglip2,
}


@functools.cache
def _built(folder: Path) -> Path:
    repair_torchvision()
    BUILDERS[folder.name](folder)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("built")
    return lambda kind: _built(folder / kind)


@pytest.fixture(scope="module", params=list(BUILDERS))
def checkpoint(request: pytest.FixtureRequest, built: Callable[[str], Path]) -> Path:
    return built(request.param)


@pytest.fixture(scope="module")
def clip(built: Callable[[str], Path]) -> Path:
    return built("clip")


def load(folder: Path, **options: Any) -> Any:
    return load_model(f"clip:{folder}", **options)


def captions(thing: str) -> dict[str, str]:
    texts = (f"A {thing} {place} a armchair" for place in PLACES)
    return dict(zip("ABCD", texts, strict=True))


def ask(pictures: list[Picture], each: int = 4) -> list[Request]:
    """1 to `each` questions about every picture, shuffled; things come back with other pictures."""
    requests = []
    for number, picture in enumerate(pictures):
        for turn in range(1 + number % each):
            options = captions(THINGS[(number + turn) % len(THINGS)])
            parts = (picture, CAPTION_REQUEST) if turn % 2 else (picture,)
            requests.append(Request(f"q{number}-{turn}", parts, options, rank=True))
    random.Random(0).shuffle(requests)
    return requests


def figures(reply: Reply) -> dict[str, float]:
    assert reply.error == ""
    assert reply.likelihoods is not None
    return {label: one.total for label, one in reply.likelihoods.items()}


def order(values: dict[str, float]) -> list[str]:
    return sorted(values, key=lambda label: -values[label])


# What is said


def reference(folder: Path, request: Request) -> dict[str, float]:
    """The checkpoint used as its documentation says: `logits_per_image`, without its temperature
    and bias."""
    import torch
    from transformers import AutoModel, AutoProcessor

    network: Any = AutoModel.from_pretrained(folder).eval()
    processor: Any = AutoProcessor.from_pretrained(folder)
    texts, settings = list(request.options.values()), {"padding": True}
    if folder.name != "clip":
        texts = [text.lower() for text in texts]
        settings = {"padding": "max_length", "max_length": 64}
    (picture,) = (part for part in request.parts if isinstance(part, Picture))
    inputs = processor(text=texts, images=open_picture(picture), return_tensors="pt", **settings)
    with torch.inference_mode():
        logits = network(**inputs).logits_per_image[0]
    bias = getattr(network, "logit_bias", torch.zeros(1))
    similarities = (logits - bias) / network.logit_scale.exp()
    return dict(zip(request.options, similarities.tolist(), strict=True))


def test_similarities_are_those_of_the_network_itself(
    checkpoint: Path, pictures: list[Picture]
) -> None:
    requests = ask(pictures)
    found = answers(load(checkpoint), requests)
    for request in requests:
        expected, ours = reference(checkpoint, request), figures(found[request.key])
        assert order(ours) == order(expected)
        assert ours == pytest.approx(expected, abs=1e-5)
        assert list(ours) == list(request.options)


def test_every_normalisation_gives_the_similarity(clip: Path, pictures: list[Picture]) -> None:
    (reply,) = answers(load(clip), ask(pictures)[:1]).values()
    assert reply.likelihoods is not None
    for likelihood in reply.likelihoods.values():
        assert -1.0 <= likelihood.total <= 1.0
        assert likelihood.by("mean") == likelihood.by("character") == likelihood.total


def test_siglip_reads_in_lower_case_and_to_the_full_length(
    built: Callable[[str], Path], pictures: list[Picture]
) -> None:
    """google-research/big_vision, SigLIP2_demo.ipynb: `lower|tok(length=64, ..., eos="sticky")`."""
    for kind in ("siglip", "siglip2"):
        encoders = load(built(kind)).encoders
        assert encoders.read("A Mug").tensors.keys() == {"input_ids"}
        tokens = encoders.read("A Mug").tensors["input_ids"][0].tolist()
        assert tokens == encoders.read("a mug").tensors["input_ids"][0].tolist()
        spelt = encoders._processor.tokenizer.convert_tokens_to_ids([*"a▁mug"])
        assert tokens == [*spelt, 1, *[0] * (64 - len(spelt) - 1)]


@pytest.mark.parametrize("batch_tokens", [1, 40, 100, 100_000])
def test_batches_do_not_matter(
    checkpoint: Path, pictures: list[Picture], batch_tokens: int
) -> None:
    requests = ask(pictures)
    expected = answers(load(checkpoint), requests)
    found = answers(load(checkpoint, batch_tokens=batch_tokens), requests)
    for key, reply in found.items():
        assert figures(reply) == pytest.approx(figures(expected[key]), abs=1e-6)
        assert order(figures(reply)) == order(figures(expected[key]))


def test_threads_do_not_matter(
    clip: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = ask(pictures)
    expected = answers(load(clip), requests)
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    for seed in range(3):
        random.Random(seed).shuffle(requests)
        for key, reply in answers(load(clip), requests).items():
            assert figures(reply) == pytest.approx(figures(expected[key]), abs=1e-6)


def rows_seen(model: Any) -> Counter[str]:
    """Counts the rows that the two encoders compute from now on."""
    rows: Counter[str] = Counter()

    def count(encoder: str) -> Callable[..., None]:
        def act(module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
            name = "pixel_values" if encoder == "pictures" else "input_ids"
            rows[encoder] += inputs[name].shape[0]

        return act

    network = model.encoders.network
    network.vision_model.register_forward_pre_hook(count("pictures"), with_kwargs=True)
    network.text_model.register_forward_pre_hook(count("texts"), with_kwargs=True)
    return rows


@pytest.mark.parametrize("batch_tokens", [1, None])
def test_each_picture_and_each_caption_is_embedded_once(
    checkpoint: Path, pictures: list[Picture], batch_tokens: int | None
) -> None:
    model = load(checkpoint, batch_tokens=batch_tokens)
    rows = rows_seen(model)
    requests = ask(pictures)
    assert len(requests) > len(pictures)
    texts = {text for request in requests for text in request.options.values()}
    assert 4 * len(requests) > len(texts)
    answers(model, requests)
    assert rows == {"pictures": len(pictures), "texts": len(texts)}


def test_captions_that_are_forgotten_are_embedded_again(
    clip: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = ask(pictures)
    expected = answers(load(clip), requests)
    monkeypatch.setattr("spare.harness.models.clip.KNOWN", 3)
    model = load(clip, batch_tokens=1)
    for key, reply in answers(model, requests).items():
        assert figures(reply) == pytest.approx(figures(expected[key]), abs=1e-6)
    assert len(model._known) == 3


# Ties


def test_options_of_one_text_tie_and_each_rule_set_has_its_own_way(
    clip: Path, pictures: list[Picture]
) -> None:
    """The reference takes the first maximum, and the right caption comes first; ours takes none."""
    texts = dict.fromkeys("ABCD", "A mug on a armchair")
    request = Request("1", (pictures[0], CAPTION_REQUEST), texts, rank=True)
    reply = answers(load(clip), [request])["1"]
    assert len(set(figures(reply).values())) == 1
    tags = {"relation": "on"}
    sample = Sample("1", request.parts, "A", texts, rank=True, tags=tags)
    task = load_task("whatsup_a")
    official, ours = task.judge(sample, reply, "official"), task.judge(sample, reply, "spare")
    assert (official.parsed, official.score) == ("A", 1.0)
    assert (ours.status, ours.score) == ("ambiguous", 0.0)


# Faults


def test_bad_requests_cost_only_themselves(
    clip: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].path.read_bytes()[:300])
    one, mug = (pictures[0], CAPTION_REQUEST), captions("mug")
    bad: dict[str, tuple[Request, str]] = {
        name: (Request(name, parts, options, rank), words)
        for name, parts, options, rank, words in (
            ("write", one, mug, False, "cannot write; choose a prompt that ranks captions"),
            ("missing", (Picture(tmp_path / "no.png", "no.png"),), mug, True, "no.png is missing"),
            ("torn", (Picture(torn, "torn.png"),), mug, True, "torn.png is damaged"),
            ("none", ("Which?",), mug, True, "with one picture, and here are 0"),
            ("two", (*one, pictures[1]), mug, True, "with one picture, and here are 2"),
            ("asks", (pictures[0], "Is it on?"), {"A": "yes", "B": "no"}, True, "the question"),
            ("empty", one, {"A": "a mug", "B": " "}, True, "option B is empty"),
            ("optionless", one, {}, True, "there are no options"),
            ("long", one, {"A": "mug " * 40}, True, "Option A is too long: 122 tokens"),
            ("sign", one, {"A": "<|endoftext|> a mug"}, True, "spells out <|endoftext|>"),
        )
    }
    good = ask(pictures)
    expected = answers(load(clip), good)
    mixed = [*good, *(request for request, _ in bad.values())]
    random.Random(1).shuffle(mixed)
    found = answers(load(clip), mixed)
    for key, (_, words) in bad.items():
        reply = found.pop(key)
        assert words in reply.error
        assert reply.error.endswith(".")
        assert reply.likelihoods is None
    for key, reply in found.items():
        assert figures(reply) == pytest.approx(figures(expected[key]), abs=1e-6)


@pytest.mark.parametrize(("kind", "most"), [("clip", 77), ("siglip", 64), ("siglip2", 64)])
def test_a_caption_as_long_as_the_encoder_holds_is_answered(
    built: Callable[[str], Path], pictures: list[Picture], kind: str, most: int
) -> None:
    """One token more and it is refused: a cut caption may have lost its relation."""
    signs = 2 if kind == "clip" else 1  # of its own: both ends, or one
    found = answers(
        load(built(kind)),
        [
            Request(str(more), (pictures[0],), {"A": "x" * (most - signs + more)}, rank=True)
            for more in (0, 1)
        ],
    )
    assert figures(found["0"]).keys() == {"A"}
    assert f"{most + 1} tokens, and the model's text encoder holds {most}." in found["1"].error


@pytest.mark.parametrize("encoder", ["vision_model", "text_model"])
def test_out_of_memory_halves_the_batch(clip: Path, tmp_path: Path, encoder: str) -> None:
    import torch

    requests = ask(draw_pictures(tmp_path, 40))
    expected = answers(load(clip), requests)
    model = load(clip)
    sizes: list[int] = []

    def act(module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
        text = encoder == "text_model"
        patches = (SIDE // PATCH) ** 2
        rows = inputs["input_ids" if text else "pixel_values"]
        sizes.append(rows.numel() if text else len(rows) * patches)
        if sizes[-1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    getattr(model.encoders.network, encoder).register_forward_pre_hook(act, with_kwargs=True)
    for key, reply in answers(model, requests).items():
        assert figures(reply) == pytest.approx(figures(expected[key]), abs=1e-6)
    assert max(sizes) > 100
    # Having run out once, it does not run into the same wall with every batch.
    assert not any(tokens > 100 for tokens in sizes[len(sizes) // 2 :])


def test_a_picture_too_large_for_the_memory_costs_only_its_questions(
    clip: Path, pictures: list[Picture]
) -> None:
    model = load(clip)
    huge = model.encoders.see(open_picture(pictures[3])).tensors["pixel_values"]

    def act(module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
        if any(row.equal(huge[0]) for row in inputs["pixel_values"]):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")

    model.encoders.network.vision_model.register_forward_pre_hook(act, with_kwargs=True)
    requests = ask(pictures)
    found = answers(model, requests)
    for request in requests:
        said = found[request.key].error
        assert ("Out of memory" in said) == (request.parts[0] == pictures[3])


def test_not_a_number_is_an_error_of_its_question(clip: Path, pictures: list[Picture]) -> None:
    model = load(clip)
    (poison,) = model.encoders._processor.tokenizer.convert_tokens_to_ids(["~</w>"])

    def spoil(module: Any, arguments: Any, inputs: dict[str, Any], output: Any) -> None:
        output.pooler_output[(inputs["input_ids"] == poison).any(dim=1)] = float("nan")

    model.encoders.network.text_model.register_forward_hook(spoil, with_kwargs=True)
    bad = Request("bad", (pictures[0],), {"A": "a mug", "B": "a bowl ~"}, rank=True)
    found = answers(model, [*ask(pictures), bad])
    assert "not a number" in found.pop("bad").error
    assert not any(reply.error for reply in found.values())


def test_what_reading_raises_is_raised_by_the_engine(clip: Path, pictures: list[Picture]) -> None:
    def torn() -> Iterator[Request]:
        yield from ask(pictures)
        raise DataError("not JSON", "questions.jsonl", 7)

    with pytest.raises(DataError, match=r"questions\.jsonl, row 7"):
        list(load(clip).answer(torn()))


def test_requests_are_not_read_further_ahead_than_promised(
    clip: Path, pictures: list[Picture]
) -> None:
    read = itertools.count()

    def endless() -> Iterator[Request]:
        for number in itertools.count():
            next(read)
            picture = pictures[number // 4 % len(pictures)]
            yield Request(str(number), (picture,), captions(f"mug {number}"), rank=True)

    responses = load(clip).answer(endless())
    assert len(list(itertools.islice(responses, 100))) == 100
    time.sleep(0.3)  # time to run away, if it would
    responses.close()
    assert next(read) <= 100 + WINDOW + QUEUE * LARGEST


def test_nothing_is_asked_of_nothing(clip: Path) -> None:
    assert answers(load(clip), []) == {}


# What is loaded, what it is called, and why something else is not


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_identity_is_content(clip: Path, tmp_path: Path) -> None:
    copy = copied(clip, tmp_path / "copy")
    edit(copy / "config.json", _name_or_path="/home/x/run-7", transformers_version="5.99.0")
    assert load(copy, batch_tokens=7).identity == load(clip).identity


def other_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"][0, 0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_crop(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"]["do_center_crop"] = False
    settings["image_processor"]["size"] = {"height": SIDE, "width": SIDE}
    edit(folder / "processor_config.json", **settings)


def other_config(folder: Path) -> None:
    edit(folder / "config.json", logit_scale_init_value=1.5)


@pytest.mark.parametrize(
    ("change", "differ"),
    [(other_weights, "weights"), (other_crop, "processor"), (other_config, "config")],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_changes_replies_changes_identity(
    clip: Path, tmp_path: Path, change: Callable[[Path], None], differ: str
) -> None:
    copy = copied(clip, tmp_path / "copy")
    change(copy)
    before, after = load(clip).identity, load(copy).identity
    assert {name for name in before | after if before.get(name) != after.get(name)} == {differ}


def test_options_that_change_replies_change_identity(clip: Path) -> None:
    plain = load(clip).identity.items()
    for name, options in {
        "dtype": {"dtype": "bfloat16"},
        "attention": {"attention": "eager"},
    }.items():
        assert {key for key, _ in plain ^ load(clip, **options).identity.items()} == {name}


def only_half(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())["vision_config"]
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "clip_vision_model"}))


def lost_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def no_picture_processor(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text())
    settings.pop("image_processor")
    (folder / "processor_config.json").write_text(json.dumps(settings))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (only_half, r"is no dual encoder .* 'clip_vision_model'.* leave out `clip:`"),
        (lost_weights, "lacks 1 of the model's weights, visual_projection.weight"),
        (no_picture_processor, "processor"),
        (no_tokenizer, "has no tokenizer"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_checkpoint_that_cannot_be_used_gets_a_sentence(
    clip: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    copy = copied(clip, tmp_path / "copy")
    spoil(copy)
    with pytest.raises(ModelError, match=words) as raised:
        load(copy)
    assert str(raised.value).endswith(".")


def test_a_model_that_writes_is_no_dual_encoder_and_the_other_way_round(
    clip: Path, tmp_path: Path
) -> None:
    """Each engine's refusal says how to name the checkpoint instead."""
    writer = build_checkpoint(tmp_path / "llava", "llava", hidden=32, layers=1, side=28)
    with pytest.raises(ModelError, match=r"is no dual encoder .*'llava'.* leave out `clip:`"):
        load(writer)
    with pytest.raises(ModelError, match=r"is a dual encoder \(clip\).* name it clip:"):
        load_model(str(clip))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adapter": "lora"}, "takes no adapter"),
        ({"max_pixels": 5000}, "leave out --max-pixels"),
        ({"dtype": "float8"}, "no dtype 'float8'"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_met(clip: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load(clip, **options)


def test_a_model_without_a_name() -> None:
    with pytest.raises(ModelError, match="No dual encoder was named"):
        load_model("clip:")


def test_a_network_that_compares_otherwise_is_refused(clip: Path) -> None:
    """Here, one to which the nearest is the farthest."""
    encoders = load(clip).encoders

    def turn(module: Any, arguments: Any, output: Any) -> None:
        output.logits_per_image = -output.logits_per_image

    encoders.network.register_forward_hook(turn)
    with pytest.raises(ModelError, match="finds other captions similar"):
        encoders.check(find_checkpoint(str(clip)))


# The command


def test_the_command_from_end_to_end(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    write_world(data, sets=3)
    arguments = ["eval", "--tasks", "whatsup_a", "--data", str(data), "--out", str(out)]
    arguments += ["--model", f"clip:{checkpoint}", "--prompt", "captions", "--rules", "all"]
    assert main([*arguments, "--limit", "5"]) == 0
    assert main(arguments) == 0
    assert "12 questions in whatsup_a: 5 answered, 7 to be asked." in capsys.readouterr().err
    lines = [line for _, line in read_log(out / "replies.jsonl")]
    assert len({line["id"] for line in lines}) == len(lines) == 12
    run = spare.load_run(out)
    assert run.manifest["model"]["engine"] == "clip"
    samples = {
        sample.id: sample for sample in load_task("whatsup_a").samples(data, prompt="captions")
    }
    for line in lines:
        sample = samples[line["id"]]
        request = Request(sample.id, sample.parts, sample.options, rank=True)
        ours = {label: one["total"] for label, one in line["likelihoods"].items()}
        assert ours == pytest.approx(reference(checkpoint, request), abs=1e-5)
    right = sum(
        order({label: one["total"] for label, one in line["likelihoods"].items()})[0] == "A"
        for line in lines
    )
    for score in run.scores:
        for figure in ("individual", "individual_mean", "individual_per_character"):
            assert score.metrics[figure]["value"] == pytest.approx(100 * right / 12)
    assert main(["show", str(out), "--by", "relation"]) == 0
    assert "whatsup_a" in capsys.readouterr().out


def test_a_prompt_that_does_not_rank_says_so(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path / "data", sets=1)
    arguments = ["eval", "--tasks", "whatsup_a", "--data", str(tmp_path / "data")]
    arguments += ["--model", f"clip:{clip}", "--out", str(tmp_path / "run")]
    assert main(arguments) != 0
    printed = capsys.readouterr()
    assert "choose --prompt whatsup_a=captions" in printed.err
    assert not (tmp_path / "run/manifest.json").exists()
