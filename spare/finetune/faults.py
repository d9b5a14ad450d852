"""Sentences for what may befall a training, and no others from the libraries under it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from spare.disk import disk_error
from spare.errors import PictureError, SpareError
from spare.finetune.checkpoints import last_whole, step_of
from spare.harness.models.transformers import NO_MEMORY

NO_ROOM = ("No space left", "PytorchStreamWriter", "inline_container", "unexpected pos")
"""What safetensors and torch say of a disk that is full."""


class LostError(SpareError):
    """A training has come to nothing by what it learnt; another seed may not."""


def kept(training: Path) -> str:
    """A sentence about the last whole checkpoint."""
    last = last_whole(training)
    if last is None:
        return "No checkpoint was due before that."
    return f"The checkpoint of step {step_of(last)} is whole, in {last}."


@contextlib.contextmanager
def sentences(training: Path) -> Iterator[None]:
    """Turns what may befall a training into a SpareError that says what is left."""
    import torch

    try:
        yield
    except (RuntimeError, SafetensorError, OSError) as error:
        memory = isinstance(error, torch.OutOfMemoryError)
        if memory or any(words in str(error) for words in NO_MEMORY):
            raise SpareError(
                f"The memory is not enough. {kept(training)} Lower batch_tokens or max_pixels, set "
                "gradient_checkpointing=true, or train an adapter (weights=lora)."
            ) from None
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        full = full or any(words in str(error) for words in NO_ROOM)
        if full:
            problem = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise SpareError(f"{disk_error(training, problem)} {kept(training)}") from None
        raise
    except ValueError as error:
        if "transformer layer class" not in str(error):
            raise
        # Some models name layers that they do not have.
        raise SpareError(
            f"accelerate does not know where to cut this model for FSDP ({error}) Name its layers "
            "to `accelerate launch`: --fsdp_transformer_layer_cls_to_wrap LlamaDecoderLayer,..."
        ) from None
    except PictureError as error:  # of a process that prepares batches, or our own
        raise SpareError(f"{_of_worker(str(error)) or error} {kept(training)}") from None
    except SpareError as error:
        found = _of_worker(str(error))
        if found:
            raise SpareError(f"{found} {kept(training)}") from None
        raise


def _of_worker(text: str) -> str:
    """The sentence at the end of the stack trace that torch makes of an error in a process which
    prepares batches; "" if there is no stack trace."""
    for line in reversed(text.strip().splitlines()) if text.startswith("Caught ") else ():
        name, _, sentence = line.partition(": ")
        if name.startswith("spare.errors."):
            return sentence
    return ""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No bars, reports and advice of the libraries' own inside: what matters in them is raised."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    names = ("trl", "accelerate", "torch.distributed", "peft")
    levels = {name: logging.getLogger(name).level for name in names}
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()
        for name, was in levels.items():
            logging.getLogger(name).setLevel(was)
