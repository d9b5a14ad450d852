"""Tiny checkpoints with random weights, built on the spot in the layout of the real ones.

They take a fraction of a second, need no network and load like any published checkpoint, so the
tests and the demo exercise the real path. They know nothing until they are trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from spare.harness.models.loading import quiet
from spare.torchvision_repair import repair_torchvision

Family = Literal["llava", "qwen2_vl", "qwen2_5_vl", "qwen2"]
"""Architectures; the last one reads text only."""

HEAD = 32
"""Width of an attention head; other engines support 32 but nothing smaller."""

END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"
SPECIAL_TOKENS = (
    "<|im_start|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<image>",
)

SENTENCES = (
    "Is the mug on the left of the table? Answer with True or False.",
    "A bowl to the right of an armchair. A lamp under a chair. The cat is behind the sofa.",
    "Where is the book in relation to the table? A. on B. under C. left of D. right of",
    "Answer with the letter of the right option. Answer with yes or no. What colour is it?",
)
"""What a tokenizer is trained on if nothing better is given."""

_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.role == 'assistant' -%}"
    # Training masks everything outside `generation`; the end of the turn has to be learnt too.
    "{%- generation -%}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}{{- part.text -}}{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>' -}}"
    "{%- endgeneration -%}"
    "{%- elif message.content is string -%}{{- message.content + '<|im_end|>' -}}"
    "{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- 'PICTURE' -}}{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_end|>' -}}"
    "{%- endif -%}"
    "{{- '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def build_checkpoint(
    folder: Path | str,
    family: Family = "llava",
    *,
    sentences: Iterable[str] = SENTENCES,
    hidden: int = 128,
    layers: int = 2,
    patch: int = 14,
    side: int = 56,
    vocabulary: int = 2048,
    seed: int = 0,
) -> Path:
    """Write a checkpoint of `family` with random weights into `folder`.

    Args:
        sentences: texts that the tokenizer learns its words from.
        hidden: width of the language model and of the picture encoder; a multiple of 32.
        layers: layers of each of the two.
        patch: side of the squares that a picture is cut into, in pixels.
        side: LLaVA scales every picture to a square of this side, in pixels. Qwen-VL takes pictures
            as they are, up to 1,003,520 pixels.
        vocabulary: most tokens that the tokenizer may have.
        seed: of the weights. The global random state of torch is left as it was.

    Returns:
        `folder`, which `AutoModelForImageTextToText` and `AutoProcessor` can load; of a language
        model `AutoModelForCausalLM` and `AutoTokenizer`.
    """
    if family not in get_args(Family):
        raise ValueError(f"family {family!r} is none of {', '.join(get_args(Family))}")
    repair_torchvision()
    import torch

    tokenizer = _tokenizer(sentences, vocabulary)
    build = {"llava": _llava, "qwen2": _language}.get(family, _qwen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = build(family, tokenizer, hidden, layers, patch, side)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    folder = Path(folder)
    with quiet():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    if family == "llava":
        _name_as_published(folder / "model.safetensors")
    return folder


def _name_as_published(path: Path) -> None:
    """Give the weights of a LLaVA the names that published ones have. Of one that was made and not
    loaded, transformers 5 writes other names for the picture encoder's, which vLLM 0.32 does not
    know; of one that was loaded, those it was loaded from."""
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    tower = "vision_tower."
    named = {
        name.replace(tower, f"{tower}vision_model.", 1) if name.startswith(tower) else name: value
        for name, value in weights.items()
    }
    save_file(named, path, {"format": "pt"})


def _tokenizer(sentences: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer: every text has tokens, and frequent words have one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PADDING, END_OF_TURN, *SPECIAL_TOKENS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        extra_special_tokens=[*SPECIAL_TOKENS],
        padding_side="left",
    )


def _text_shape(tokenizer: Any, hidden: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "num_key_value_heads": max(1, hidden // HEAD // 2),
        "max_position_embeddings": 4096,
        "initializer_range": 0.05,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _llava(
    family: Family, tokenizer: Any, hidden: int, layers: int, patch: int, side: int
) -> tuple[Any, Any]:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    config = LlavaConfig(
        text_config=LlamaConfig(**_text_shape(tokenizer, hidden, layers)),
        vision_config=CLIPVisionConfig(
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // HEAD,
            image_size=side,
            patch_size=patch,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(side // patch) ** 2,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    # Trained from nothing, a picture's places drown under its colours unless they start out loud.
    model.model.vision_tower.embeddings.position_embedding.weight.data.normal_(std=0.5)
    processor = LlavaProcessor(
        # The whole picture is squeezed into the square: a crop could cut off what is asked about.
        CLIPImageProcessor(
            size={"height": side, "width": side},
            do_center_crop=False,
            image_mean=[0.9] * 3,
            image_std=[0.3] * 3,
        ),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE.replace("PICTURE", "<image>"),
    )
    return model, processor


def _language(
    family: Family, tokenizer: Any, hidden: int, layers: int, patch: int, side: int
) -> tuple[Any, Any]:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**_text_shape(tokenizer, hidden, layers), tie_word_embeddings=False)
    tokenizer.chat_template = _TEMPLATE.replace("PICTURE", "")
    return Qwen2ForCausalLM(config), tokenizer


def _qwen(
    family: Family, tokenizer: Any, hidden: int, layers: int, patch: int, side: int
) -> tuple[Any, Any]:
    import transformers

    tokens = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{text}|>")
        for name, text in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    text = _text_shape(tokenizer, hidden, layers) | {
        # Half a head's channels, shared out to time, height and width.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [HEAD // 8, HEAD * 3 // 16, HEAD * 3 // 16],
        }
    }
    vision: dict[str, Any] = {
        "depth": layers,
        "num_heads": hidden // HEAD,
        "patch_size": patch,
        "initializer_range": 0.05,
    }
    if family == "qwen2_vl":
        vision |= {"embed_dim": hidden, "hidden_size": hidden, "mlp_ratio": 2}
        name = "Qwen2VL"
    else:
        vision |= {
            "hidden_size": hidden,
            "out_hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "window_size": 8 * patch,
            "fullatt_block_indexes": [layers - 1],
        }
        name = "Qwen2_5_VL"
    config = getattr(transformers, f"{name}Config")(
        text_config=text, vision_config=vision, tie_word_embeddings=False, **tokens
    )
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    pictures = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
    processor = getattr(transformers, f"{name}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}, **pictures
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(**pictures),
        chat_template=_TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return model, processor
