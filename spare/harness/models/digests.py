"""What makes a checkpoint the same checkpoint: digests of everything in it that can change a reply.

Content alone counts. A copied, moved or renamed checkpoint is the same one; a retrained checkpoint
at the old place is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PROCESSOR_FILES = (
    "added_tokens.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""What a processor may be loaded from. Chat templates lie elsewhere too and are digested apart."""

MODEL_FILES = (
    "adapter_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
)
"""What else a model may be loaded from, beside its weights."""

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")

READ = (*WEIGHTS, *MODEL_FILES, *PROCESSOR_FILES, "*.py")
"""What of a folder counts in `digest_folder`."""

PROVENANCE = frozenset(
    ("_name_or_path", "name_or_path", "base_model_name_or_path", "revision", "transformers_version")
)
"""Keys of JSON files that say where a checkpoint came from or what saved it, not what it is."""


def digest_text(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_files(files: Sequence[Path]) -> str:
    """SHA-256 over the digests of files, read side by side, in the order given; names do not
    count."""
    with ThreadPoolExecutor(4, "digest") as pool:
        digests = list(pool.map(_digest_file, files))
    return digests[0] if len(digests) == 1 else digest_text(" ".join(digests))


def digest_settings(files: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of those of `files` that exist. JSON is compared by
    value, less `PROVENANCE`."""
    contents = {path.name: _settings(path) for path in files if path.exists()}
    return digest_text(json.dumps(contents, sort_keys=True))


def digest_folder(folder: Path) -> str:
    """SHA-256 over all that a folder's model may be loaded from: weights of any format, settings,
    and code."""
    weights = sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))
    settings = [folder / name for name in (*MODEL_FILES, *PROCESSOR_FILES)]
    code = sorted(folder.glob("*.py"))
    return digest_text(digest_files(weights) + digest_settings([*settings, *code]))


def holds_model(folder: Path) -> bool:
    """Whether a path is a folder with anything in it that a model may be loaded from."""
    return folder.is_dir() and any(True for pattern in READ for _ in folder.glob(pattern))


def _settings(path: Path) -> Any:
    if path.suffix == ".json":
        value = json.loads(path.read_bytes())
        if isinstance(value, dict):
            value = {key: value[key] for key in value if key not in PROVENANCE}
        return value
    return _digest_file(path)


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
