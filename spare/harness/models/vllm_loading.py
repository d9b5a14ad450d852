"""Starting vLLM, or a sentence about why not."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import ModelError, install
from spare.harness.models import Options
from spare.harness.models.digests import digest_files, digest_settings, digest_text
from spare.harness.models.loading import DTYPES, Checkpoint, first_line
from spare.harness.models.vllm_processes import begin
from spare.torchvision_repair import repair_torchvision

OLDEST = (0, 32)
"""Versions before it lack `SamplingParams.logprob_token_ids`, or what `vllm_prompts` calls."""

QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # on the standard output are our tables
    "VLLM_NO_USAGE_STATS": "1",  # it would report the machine and the model to its makers
}
"""Set in the environment before vLLM is imported, where the user has not; none moves a reply."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Bounds on an adapter's rank that vLLM takes."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter's folder, its rank, and the digest of its weights and settings."""

    folder: Path
    rank: int
    digest: str


def import_vllm() -> Any:
    """The package vLLM. Raises ModelError if it is not installed, or too old."""
    if importlib.util.find_spec("vllm") is None:
        raise ModelError(
            f"The engine vllm needs vLLM: run {install('vllm')}, in an environment of its own."
        )
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    repair_torchvision()
    try:
        import vllm
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"The installed vLLM cannot be imported: {first_line(error)} Does it fit the installed "
            "torch? `pip check` says."
        ) from error
    version = tuple(int(part) for part in vllm.__version__.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ModelError(
            f"The engine vllm needs vLLM {wanted} or newer, and {vllm.__version__} is installed: "
            f'run `pip install "vllm>={wanted}"`.'
        )
    return vllm


def check_options(options: Options) -> None:
    """Raises ModelError if an option is set that vLLM does not take."""
    if options.device != "auto":
        raise ModelError(
            "vLLM takes the devices that it finds; leave out --device, and choose among GPUs by "
            "the environment variable CUDA_VISIBLE_DEVICES."
        )
    if options.attention:
        raise ModelError("vLLM chooses its attention by itself; leave out --attn.")
    if options.dtype not in DTYPES:
        raise ModelError(f"There is no dtype {options.dtype!r}; there are {', '.join(DTYPES)}.")
    if options.tensor_parallel < 1:
        raise ModelError(f"A model cannot be spread over {options.tensor_parallel} devices.")


def read_adapter(name: str, sees: bool) -> Adapter:
    """The LoRA adapter in a folder.

    Args:
        sees: it is for a vision-language model.

    Raises:
        ModelError: there is none that vLLM takes.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(name).expanduser()
    settings, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not settings.is_file():
        raise ModelError(f"{name} is no adapter: it has no adapter_config.json.")
    if not weights.is_file():
        raise ModelError(f"Adapter {name} is not whole: {weights.name} is missing.")
    try:
        config = json.loads(settings.read_bytes())
        kind, rank = config["peft_type"], int(config["r"])
        # Single modules may have ranks of their own.
        rank = max([rank, *(config.get("rank_pattern") or {}).values()])
        with safe_open(weights, "numpy") as file:
            places = list(file.keys())
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{name} holds no LoRA adapter ({error}).") from None
    strange = [place for place in places if not _is_language(place)] if sees else []
    if strange:
        raise ModelError(
            f"Adapter {name} changes {strange[0]}, and vLLM would leave out without a word what is "
            "not in the language model; merge it into its base, or name the model transformers:..."
        )
    if kind != "LORA" or rank > RANKS[-1]:
        raise ModelError(
            f"vLLM takes LoRA adapters of rank {RANKS[-1]} at most, and {name} is {kind} of rank "
            f"{rank}; merge it into its base, or name the model transformers:..."
        )
    return Adapter(folder, rank, digest_text(digest_files([weights]) + digest_settings([settings])))


def _is_language(place: str) -> bool:
    """Whether a weight of an adapter belongs to the language model of a vision-language model."""
    name = place.removeprefix("base_model.model.").removeprefix("model.")
    return name.startswith(("language_model.", "layers.", "lm_head", "embed_tokens"))


def put_on(engine: Any, adapter: Adapter) -> Any:
    """What vLLM is to be given with every request so that the adapter is on. Raises ModelError if
    it does not fit the model in the engine."""
    from vllm.lora.request import LoRARequest

    request = LoRARequest("adapter", 1, str(adapter.folder.resolve()))
    try:
        engine.add_lora(request)
    except Exception as error:  # what vLLM's process raises arrives as nothing narrower
        reason = first_line(error).rpartition("failed with error '")[2].partition("', please")[0]
        raise ModelError(f"Adapter {adapter.folder} does not fit the model: {reason}.") from error
    return request


def start(
    vllm: Any,
    checkpoint: Checkpoint,
    options: Options,
    adapter: Adapter | None,
    processing: Mapping[str, Any] | None,
) -> Any:
    """vLLM's `LLM` with a checkpoint in it.

    Args:
        processing: settings of the picture processor; None if the model sees no pictures.

    Raises:
        ModelError: vLLM does not know the architecture, finds no device, or has no memory for it.
    """
    from vllm.platforms import current_platform

    settings: dict[str, Any] = {
        "dtype": options.dtype if options.dtype != "auto" else saved_dtype(checkpoint),
        "load_format": "safetensors",
        "trust_remote_code": options.trust_remote_code,
        "tensor_parallel_size": options.tensor_parallel,
        "enable_prefix_caching": options.share,
        "max_model_len": -1,  # what the model has, or less if the memory holds no more
        # Else the checkpoint's own temperatures and penalties would be what a request starts from.
        "generation_config": "vllm",
        # The library and the settings of the engine `transformers`, so masks are the same.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "use_tqdm_on_load": False,
    }
    if processing is not None:
        settings |= {"limit_mm_per_prompt": {"video": 0, "audio": 0}}
        settings |= {"mm_processor_kwargs": dict(processing)} if processing else {}
    if adapter is not None:
        bound = next(rank for rank in RANKS if rank >= adapter.rank)
        settings |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": bound}
    if options.batch_tokens is not None:
        settings["max_num_batched_tokens"] = options.batch_tokens
    if current_platform.is_cpu():
        settings["enforce_eager"] = True  # compiling takes minutes and needs a compiler
        # Else it wants nearly all of the machine's memory to be free, as if it were a GPU's.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        settings["kv_cache_memory_bytes"] = max(2**30, memory // 8)
    try:
        return begin(lambda: vllm.LLM(str(checkpoint.folder), **settings))
    except (ValueError, RuntimeError, NotImplementedError, OSError, ImportError) as error:
        raise _failure(checkpoint, options, error) from error


def saved_dtype(checkpoint: Checkpoint) -> str:
    """What the weights were saved as; vLLM's own "auto" makes 16 bits of 32."""
    config = checkpoint.config
    text = config.get("text_config") or {}
    for holder in (config, text):
        for key in ("dtype", "torch_dtype"):
            if holder.get(key) in DTYPES:
                return str(holder[key])
    return "auto"


def _failure(checkpoint: Checkpoint, options: Options, error: Exception) -> ModelError:
    text = str(error)
    if "are not supported for now" in text:
        kinds = ", ".join(checkpoint.config.get("architectures") or ["?"])
        return checkpoint.error(
            f"is a {kinds}, which the installed vLLM does not run; name it "
            f"transformers:{checkpoint.name}, or update vLLM."
        )
    if "Device string must not be empty" in text or "Failed to infer device" in text:
        return ModelError(
            "vLLM finds no device that it was built for: the build of vLLM and the machine do not "
            f"fit. Name the model transformers:{checkpoint.name}, or install the right build."
        )
    if "out of memory" in text.lower() or "KV cache" in text:
        return checkpoint.error(
            f"does not fit into the memory that vLLM found: {first_line(error)} Free the device, "
            "spread the model by --tensor-parallel, or choose a smaller one."
        )
    if "initialization failed" in text:
        parts = options.tensor_parallel
        devices = f" on {parts} devices" if parts > 1 else ""
        often = (
            f"{parts} devices are not there, or their memory is too small"
            if parts > 1
            else "the memory is too small (then free the device, or use --tensor-parallel)"
        )
        if str(checkpoint.config.get("model_type")).startswith("llava"):
            often = (
                "vLLM 0.32 does not read a LLaVA that transformers 5 saved (then name it "
                f"transformers:{checkpoint.name}), or {often}"
            )
        return checkpoint.error(
            f"could not be started by vLLM{devices}. Its own process says why, above; most often "
            f"{often}."
        )
    # pydantic puts the reason on a line of its own, behind the name of what it was building.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[1].partition("[type=")[0].strip() if len(lines) > 2 else first_line(error)
    return checkpoint.error(f"cannot be run by vLLM: {reason.removeprefix('Value error, ')}")
