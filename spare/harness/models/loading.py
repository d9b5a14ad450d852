"""From a path or hub id to a model and its processor, or a sentence about why not."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import ModelError, install
from spare.harness.models import Options
from spare.torchvision_repair import repair_torchvision

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
"""What is fetched of a repository on the hub beside its weights."""

VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
"""Where a tokenizer keeps its tokens; one of these must be there."""

PICTURE_SETTINGS = ("processor_config.json", "preprocessor_config.json")
"""Where a picture processor keeps its settings; one of these must be there."""

LINEAGE = "lineage.json"
"""What a folder of weights may say about where they come from; see `read_lineage`."""

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's files.

    Attributes:
        name: as the user called it.
        folder: where its files are.
        weights: its safetensors files.
        config: what its `config.json` says.
        revision: the hub's commit, or "".
    """

    name: str
    folder: Path
    weights: tuple[Path, ...]
    config: dict[str, Any]
    revision: str = ""

    def error(self, problem: str) -> ModelError:
        """A ModelError that names the checkpoint."""
        return ModelError(f"Checkpoint {self.name} {problem}")


def require_packages(engine: str = "transformers") -> None:
    """Raises ModelError if the engine's packages are not installed."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"The {engine} engine needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            f"run {install('transformers')}."
        )


def find_checkpoint(name: str, trust_remote_code: bool = False) -> Checkpoint:
    """The checkpoint at a path, or fetched from the hub. Only looks at files; loads nothing.

    Raises:
        ModelError: it is not there, or lacks what a checkpoint needs.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _check_files(name, folder, "")
    if folder.exists():
        raise ModelError(f"{name} is a file; give the folder of a checkpoint.")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(f"There is no folder {name}, and it is no hub id (owner/name) either.")
    return _fetch(name, trust_remote_code)


def _fetch(name: str, trust_remote_code: bool) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.errors import HTTPError as HubError  # type: ignore[attr-defined]

    patterns = [*SMALL_FILES, *(["*.py"] if trust_remote_code else [])]
    try:
        folder = Path(snapshot_download(name, allow_patterns=patterns))
        if (folder / "config.json").is_file():
            # Only now is it known which files hold the weights: some repositories have them twice.
            weights = _indexed(folder) or ["model.safetensors"]
            folder = Path(snapshot_download(name, allow_patterns=[*patterns, *weights]))
    except HFValidationError:
        raise ModelError(
            f"There is no folder {name}, and it is no hub id (owner/name) either."
        ) from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"There is no folder {name}; it is not in the hub's local cache either, "
            "and the hub cannot be reached."
        ) from None
    except (HubError, OSError) as error:
        raise ModelError(
            f"There is no folder {name}, and fetching it from the hub failed: {first_line(error)}"
        ) from None
    return _check_files(name, folder, folder.name)


def _indexed(folder: Path) -> list[str]:
    """The weight files that the index names; empty if there is no index."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    return sorted(set(_read_json(index)["weight_map"].values()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}): fetch or save it again.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object: fetch or save it again.")
    return value


def _check_files(name: str, folder: Path, revision: str) -> Checkpoint:
    if (folder / "adapter_config.json").is_file():
        if (folder / "config.json").is_file():
            # transformers would put the adapter on without a word.
            raise ModelError(
                f"{name} holds a checkpoint and an adapter; keep them in two folders, and give the "
                "first as the model and the second as the adapter."
            )
        raise ModelError(f"{name} is an adapter; give its base as the model and it as the adapter.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name} is not a checkpoint: it has no config.json.")
    config = _read_json(folder / "config.json")
    weights = [folder / file for file in _indexed(folder) or ["model.safetensors"]]
    absent = [path.name for path in weights if not path.is_file()]
    if absent:
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
            raise ModelError(
                f"Checkpoint {name} has its weights only as pickles, which can run any code when "
                "they are opened; save it with `save_pretrained`, which writes safetensors."
            )
        raise ModelError(f"Checkpoint {name} is not whole: {', '.join(absent)} is missing.")
    return Checkpoint(name, folder, tuple(weights), config, revision)


def read_lineage(folder: Path) -> dict[str, Any]:
    """Where a checkpoint or an adapter comes from, as its trainer wrote it: "base" and "data" (each
    with a "name" and a digest), "recipe", "seed" ... Empty if the folder does not say.

    Raises:
        ModelError: the file is no JSON object.
    """
    path = folder / LINEAGE
    return _read_json(path) if path.is_file() else {}


def load_network(
    checkpoint: Checkpoint, options: Options, kind: str = "AutoModelForImageTextToText"
) -> Any:
    """The checkpoint's network, ready to compute on its device.

    Args:
        kind: the class of transformers that knows which network it is.

    Raises:
        ModelError: its weights do not fit its configuration, or an option does not fit.
    """
    repair_torchvision()
    import torch
    import transformers

    if options.dtype not in DTYPES:
        raise ModelError(f"There is no dtype {options.dtype!r}; there are {', '.join(DTYPES)}.")
    attentions = ["eager", *transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS.keys()]
    # A name with a slash is a kernel on the hub.
    if options.attention and "/" not in options.attention and options.attention not in attentions:
        raise ModelError(
            f"There is no attention implementation {options.attention!r}; there are "
            f"{', '.join(attentions)}."
        )
    with quiet(), _sentences(checkpoint, "cannot be loaded"):
        network, report = getattr(transformers, kind).from_pretrained(
            checkpoint.folder,
            dtype=options.dtype if options.dtype == "auto" else getattr(torch, options.dtype),
            attn_implementation=options.attention or None,
            device_map=_device_map(options.device),
            trust_remote_code=options.trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        # transformers would make random numbers up for them.
        names = sorted(report["missing_keys"])
        raise checkpoint.error(f"lacks {len(names)} of the model's weights, {names[0]} among them.")
    if network.config.is_encoder_decoder:
        raise checkpoint.error(
            f"is an encoder-decoder ({checkpoint.config['model_type']}), which this engine does "
            "not run."
        )
    network.requires_grad_(False)
    return network.eval()


def _device_map(device: str) -> str:
    import torch

    if device == "auto":
        if not torch.accelerator.is_available():
            return "cpu"
        # Fills one accelerator before it begins the next, so a model that fits stays on one.
        return "sequential"
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ModelError(f"There is no device {device!r}; try cpu, cuda or cuda:1.") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"There is no device {device!r}: torch sees no CUDA here; try cpu.")
    return str(found)


def check_kind(checkpoint: Checkpoint, trust_remote_code: bool) -> None:
    """Raises ModelError if it is no vision-language model that transformers can load, or needs code
    of its own that is not trusted."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    )

    kind = checkpoint.config.get("model_type")
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return
    if kind in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise checkpoint.error(
            f"is a dual encoder ({kind}): it can compare a picture with texts, but not write; name "
            f"it clip:{checkpoint.name}, and choose a prompt that ranks captions."
        )
    if "auto_map" in checkpoint.config and kind not in CONFIG_MAPPING_NAMES:
        if trust_remote_code:
            return
        raise checkpoint.error(
            "brings Python code of its own, which is not run unless you allow it; read the code, "
            "then trust it with --trust-remote-code."
        )
    if kind in CONFIG_MAPPING_NAMES:
        raise checkpoint.error(f"is no vision-language model: a {kind} does not read pictures.")
    raise checkpoint.error(
        f"is of the kind {kind!r}, which the installed transformers does not know; update it."
    )


def is_language_model(checkpoint: Checkpoint) -> bool:
    """Whether transformers knows it as a model that writes and reads no pictures."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    kind = checkpoint.config.get("model_type")
    known = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return known and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


class TextProcessor:
    """A tokenizer in the place of a processor: what is asked has text alone."""

    image_processor = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.chat_template = tokenizer.chat_template

    def apply_chat_template(self, messages: Any, **settings: Any) -> Any:
        """As a processor does, of messages whose contents are lists of texts. Raises ValueError if
        there is a picture among them."""
        if any(part["type"] != "text" for message in messages for part in message["content"]):
            raise ValueError("a language model does not read pictures")
        plain = [
            {**message, "content": "".join(part["text"] for part in message["content"])}
            for message in messages
        ]
        return self.tokenizer.apply_chat_template(plain, **settings)


def load_tokenizer(checkpoint: Checkpoint, options: Options) -> TextProcessor:
    """The tokenizer of a language model. Raises ModelError if it is missing or damaged, or has no
    chat template."""
    _require_vocabulary(checkpoint)
    import transformers

    with quiet(), _sentences(checkpoint, "has no tokenizer that can be loaded"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            checkpoint.folder,
            trust_remote_code=options.trust_remote_code,
            local_files_only=True,
        )
    _require_template(checkpoint, tokenizer)
    return TextProcessor(tokenizer)


def _require_vocabulary(checkpoint: Checkpoint) -> None:
    if not any((checkpoint.folder / file).is_file() for file in VOCABULARIES):
        # transformers would make an empty one up.
        raise checkpoint.error(f"has no tokenizer: no {' or '.join(VOCABULARIES)}.")


def _require_template(checkpoint: Checkpoint, holder: Any) -> None:
    if not holder.chat_template:
        raise checkpoint.error(
            "has no chat template, so it is not known how a question is put to it; write one into "
            "its folder as chat_template.jinja."
        )


def load_processor(checkpoint: Checkpoint, options: Options, chat: bool = True) -> Any:
    """The checkpoint's own processor: chat template, tokenizer and picture processor in one.

    Args:
        chat: it must have a chat template.

    Raises:
        ModelError: its files are missing or damaged, or it has no chat template.
    """
    _require_vocabulary(checkpoint)
    if not any((checkpoint.folder / file).is_file() for file in PICTURE_SETTINGS):
        raise checkpoint.error(f"has no picture processor: no {' or '.join(PICTURE_SETTINGS)}.")
    repair_torchvision()
    import transformers

    with quiet(), _sentences(checkpoint, "has no processor that can be loaded"):
        processor = transformers.AutoProcessor.from_pretrained(
            checkpoint.folder,
            trust_remote_code=options.trust_remote_code,
            local_files_only=True,
        )
    if not hasattr(processor, "image_processor"):
        raise checkpoint.error("has no picture processor: preprocessor_config.json is missing.")
    if chat:
        _require_template(checkpoint, processor)
    return processor


def dtype_of(network: Any) -> str:
    """What a network's weights are ("bfloat16")."""
    return str(network.dtype).removeprefix("torch.")


def device_of(network: Any) -> str:
    """Where a network is, and what that is, for a person."""
    import torch

    device = network.device
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


@contextlib.contextmanager
def _sentences(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    """Turns what transformers raises about a user's files or installation into a ModelError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError) as error:
        raise checkpoint.error(f"{what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and reports of transformers' own inside: what matters in them is raised."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
