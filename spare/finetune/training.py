"""TRL's trainer with our batches, our progress, and sentences for what may befall a training."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from spare.disk import disk_error
from spare.errors import PictureError, SpareError
from spare.finetune.checkpoints import CURVE, last_whole, mark_whole, step_of
from spare.finetune.network import OPTIMISERS
from spare.finetune.pairs import Pairs
from spare.finetune.plan import Batch, Plan
from spare.finetune.recipes import Recipe
from spare.finetune.sequences import Encoder, collate
from spare.harness.models.transformers import NO_MEMORY

if TYPE_CHECKING:
    import torch

NO_ROOM = ("No space left", "PytorchStreamWriter", "inline_container", "unexpected pos")
"""What safetensors and torch say of a disk that is full."""

KEPT = 2
"""Checkpoints that are kept: while one is written, the one before is whole."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: done of `steps`; before: done by earlier calls.
        loss: of the last step, per token that is learnt.
        pace: steps per second of this call.
    """

    step: int
    steps: int
    before: int
    loss: float
    pace: float


Event = str | Progress


class Batches:
    """Makes the batches of a plan. The trainer's data set holds no more than their numbers, one for
    a row, and its batch size is 1; this is its collator."""

    def __init__(
        self, plan: Plan, data: Sequence[Pairs], encoder: Encoder, padding: int, shared: bool
    ) -> None:
        self._order = [batch for step in plan.steps for batch in step]
        self._data, self._encoder = data, encoder
        self._padding, self._shared = padding, shared

    def numbers(self) -> Any:
        """The trainer's data set."""
        import datasets

        return datasets.Dataset.from_dict({"number": range(len(self._order))})

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        (row,) = rows
        return self.make(self._order[row["number"]])

    def make(self, batch: Batch) -> dict[str, torch.Tensor]:
        """A batch's tensors. Raises SpareError if a picture is no longer what it was."""
        sequences = []
        for piece in batch:
            pairs = self._data[piece.data]
            place = pairs.pictures[piece.picture]
            assert not isinstance(place, str), "the survey leaves these out"
            texts = [pairs.texts(pair) for pair in piece.pairs]
            sequences += self._encoder.encode(place, texts, self._shared)
        return collate(sequences, self._padding, self._shared)


def check_reports(report_to: str) -> list[str]:
    """The names in a list by commas. Raises SpareError if one of them is not to be had."""
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    names = [name.strip() for name in report_to.split(",") if name.strip()]
    there = get_available_reporting_integrations()
    for name in names:
        if name not in there:
            have = f"here are {', '.join(there)}" if there else "none is installed here"
            raise SpareError(f"--report-to knows no {name}: {have}. `pip install {name}` may help.")
    return names


def trainer_settings(
    recipe: Recipe, plan: Plan, training: Path, bf16: bool, report_to: str
) -> SFTConfig:
    """What TRL's trainer is told."""
    import torch

    return SFTConfig(
        output_dir=str(training),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=plan.accumulation,
        num_train_epochs=1,  # of our batches, which hold all epochs
        train_sampling_strategy="sequential",
        learning_rate=recipe.lr,
        warmup_steps=recipe.warmup_steps,
        lr_scheduler_type="constant_with_warmup"
        if recipe.schedule == "constant"
        else recipe.schedule,
        optim=OPTIMISERS[recipe.optimiser],
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.beta2,
        max_grad_norm=recipe.clip,
        bf16=bf16,
        use_cpu=not torch.accelerator.is_available(),
        gradient_checkpointing=recipe.gradient_checkpointing,
        seed=recipe.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=recipe.save_steps,
        save_total_limit=KEPT,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        average_tokens_across_devices=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        loss_type="nll",
        disable_tqdm=True,
        report_to=check_reports(report_to) or "none",
    )


class Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's, with a loss that is a mean over a step for every family, checkpoints that are read as
    they were written, a clock for the time spent waiting for data, and no card of its own."""

    def __init__(self, *settings: Any, **named: Any) -> None:
        super().__init__(*settings, **named)
        self.waited = 0.0
        # Some families (Qwen2.5-VL, Qwen3-VL) say that they take no number of tokens to divide
        # their own loss by. The loss is TRL's, which takes it; without, it would be a mean of the
        # batches' means, and depend on how a step is cut into batches.
        self.model_accepts_loss_kwargs = True

    def get_batch_samples(self, *settings: Any, **named: Any) -> Any:
        """The batches of a step, timed."""
        started = time.monotonic()
        found = super().get_batch_samples(*settings, **named)
        self.waited += time.monotonic() - started
        return found

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # A checkpoint is written under the names that published files have, and read under those
        # that the modules have. Where these differ, as in most vision-language models, the trainer
        # would go on from the base's weights without a word.
        with _own_names(self.model):
            super()._save(output_dir, state_dict)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        state = self.model.state_dict()
        missing = set(load_result.missing_keys)
        there = {value.data_ptr() for name, value in state.items() if name not in missing}
        lost = [name for name in missing if state[name].data_ptr() not in there]  # not tied
        if lost or load_result.unexpected_keys:
            name = min([*lost, *load_result.unexpected_keys])
            raise SpareError(
                f"The checkpoint has other weights than the model ({name}, for one). Take it away, "
                "and training goes on from the one before."
            )

    def create_model_card(self, *settings: Any, **named: Any) -> None:
        """Nothing: the card is `outputs.card`."""

    def rehearse(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Compute the gradient of a batch and forget it: what does not fit into the memory is
        known before the first step."""
        import torch

        if self.is_deepspeed_enabled:  # its engine takes no gradient back
            return
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            self.current_gradient_accumulation_steps = 1
            learnt = (batch["labels"][:, 1:] != -100).sum().to(self.args.device)
            self.training_step(self.model_wrapped, dict(batch), learnt)
        self.model_wrapped.zero_grad()
        self._metrics["train"].clear()
        self._total_train_tokens = 0


@contextlib.contextmanager
def _own_names(network: Any) -> Iterator[None]:
    """Inside, `save_pretrained` of a network writes its weights under its modules' names."""
    from transformers import PreTrainedModel

    if not isinstance(network, PreTrainedModel):  # adapters have one set of names
        yield
        return
    network.save_pretrained = functools.partial(network.save_pretrained, save_original_format=False)
    try:
        yield
    finally:
        del network.save_pretrained


class Watch(TrainerCallback):  # type: ignore[misc]
    """Writes the curve, tells progress, stops at a loss that is no number, marks checkpoints."""

    def __init__(
        self, trainer: Trainer, largest: Mapping[str, Any], on_event: Callable[[Event], None]
    ) -> None:
        self.trainer, self.largest, self.on_event = trainer, largest, on_event
        self.training = Path(trainer.args.output_dir)
        self.started, self.before = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Try the largest batch, and go on with the curve behind the checkpoint."""
        self.trainer.rehearse(self.largest)
        self.started, self.before = time.monotonic(), state.global_step
        if args.should_save:
            _cut(self.training / CURVE, self.before)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """A step's line. Raises SpareError if its loss is not a number."""
        if "loss" not in (logs or {}):
            return
        loss, norm = logs["loss"], logs.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "loss" if not math.isfinite(loss) else "gradient's norm"
            raise SpareError(
                f"The {what} of step {state.global_step} is {loss if what == 'loss' else norm}: "
                f"nothing can be learnt from here on. {kept(self.training)} Try a lower lr, more "
                "warmup_steps, or precision=float32, in another --out."
            )
        seconds = time.monotonic() - self.started
        if args.should_save:
            line = {
                "step": state.global_step,
                "loss": loss,
                "grad_norm": norm,
                "lr": logs.get("learning_rate"),
                "token_accuracy": logs.get("mean_token_accuracy"),
                "tokens": logs.get("num_tokens"),
                "seconds": round(seconds, 3),
                "waited": round(self.trainer.waited, 3),
            }
            with (self.training / CURVE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        done = state.global_step
        pace = (done - self.before) / seconds if seconds else 0.0
        self.on_event(Progress(done, state.max_steps, self.before, loss, pace))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All processes have written their part: the checkpoint is whole."""
        self.trainer.accelerator.wait_for_everyone()
        if args.should_save:
            mark_whole(self.training / f"checkpoint-{state.global_step}")


def _cut(path: Path, step: int) -> None:
    """Take away the lines behind a step, and one that was torn."""
    lines = []
    if path.exists():
        for line in path.read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                if json.loads(line)["step"] <= step:
                    lines.append(line + "\n")
    path.write_text("".join(lines), "utf-8")


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

    advice = (
        f"The memory is not enough. {kept(training)} Lower batch_tokens or max_pixels, set "
        "gradient_checkpointing=true, or train an adapter (weights=lora)."
    )
    try:
        yield
    except torch.OutOfMemoryError:
        raise SpareError(advice) from None
    except (RuntimeError, SafetensorError, OSError) as error:
        if any(words in str(error) for words in NO_MEMORY):
            raise SpareError(advice) from None
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        full = full or any(words in str(error) for words in NO_ROOM)
        if full:
            problem = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise SpareError(f"{disk_error(training, problem)} {kept(training)}") from None
        raise
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
