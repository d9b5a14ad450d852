"""TRL's trainer with our batches, our progress, and sentences for what may befall a training."""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from spare.errors import SpareError
from spare.finetune.checkpoints import CURVE, cut_curve, mark_whole
from spare.finetune.faults import LostError, kept
from spare.finetune.network import OPTIMISERS
from spare.finetune.pairs import Pairs
from spare.finetune.plan import Batch, Plan
from spare.finetune.recipes import Recipe
from spare.finetune.sequences import IGNORED, Encoder, collate

if TYPE_CHECKING:
    import torch

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
        from torch.utils.data import get_worker_info

        if get_worker_info() is not None:
            sys.excepthook = _tell_of_worker
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


def _tell_of_worker(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A thread of a process that prepares batches hands tensors over. When the trainer is killed,
    it finds nobody there, and would write its stack trace over whatever is on the screen."""
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def trainer_settings(
    recipe: Recipe,
    plan: Plan,
    training: Path,
    bf16: bool,
    reports: Sequence[str],
    all_reached: bool,
) -> SFTConfig:
    """What TRL's trainer is told.

    Args:
        all_reached: every weight that is trained gets a gradient from every batch.
    """
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
        # TRL has it looked for, since its batches may have no picture. Ours always have one.
        ddp_find_unused_parameters=not all_reached,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        loss_type="nll",
        disable_tqdm=True,
        report_to=list(reports) or "none",
    )


class Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's, with a loss and an accuracy that are means over a step for every family, checkpoints
    that are sound and read as they were written, a clock for the time spent waiting for data, and
    no card of its own.

    Attributes:
        largest: the batch that weights are tried on.
        sound: the last step whose weights are known to give a loss; 0 is the base.
        waited: seconds spent waiting for data, by earlier calls as well.
    """

    def __init__(self, *settings: Any, largest: Mapping[str, torch.Tensor], **named: Any) -> None:
        super().__init__(*settings, **named)
        self.largest = largest
        self.sound = 0
        self.waited = 0.0
        # Some families (Qwen2.5-VL, Qwen3-VL) say that they take no number of tokens to divide
        # their own loss by. The loss is TRL's, which takes it; without, it would be a mean of the
        # batches' means, and depend on how a step is cut into batches.
        self.model_accepts_loss_kwargs = True

    def go_on_behind(self, line: Mapping[str, Any]) -> None:
        """Count on from a line of the curve, as if there had been no interruption."""
        self.waited = line["waited"]
        self._total_train_tokens = line["tokens"]

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *settings: Any, **named: Any) -> Any:
        """The batches of a step, timed; none if the training was stopped before this call."""
        if self.control.should_training_stop:
            return [], None
        started = time.monotonic()
        found = super().get_batch_samples(map(_copied, epoch_iterator), *settings, **named)
        self.waited += time.monotonic() - started
        return found

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """TRL's loss of a batch."""
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if num_items_in_batch is not None:
            # TRL takes the mean over a step's batches, as if each had as many tokens to learn.
            learnt = (inputs["labels"][:, 1:] != IGNORED).sum()
            share = self.accelerator.reduce(learnt) / num_items_in_batch
            weight = share.item() * self.current_gradient_accumulation_steps
            for name in ("mean_token_accuracy", "entropy"):
                self._metrics["train"][name][-1] *= weight
        return found

    def share_head(self) -> None:
        """Where FSDP2 has cut up the matrix that speaks the words, TRL puts it together by itself,
        and each device would keep the gradient of its own batch for its part: here it is the mean
        over all, as for any other weight."""
        from torch.distributed.tensor import DTensor, Partial

        weight = self.model.get_output_embeddings().weight
        if isinstance(weight, DTensor):
            mean = [Partial("avg")] * weight.device_mesh.ndim
            gather = functools.partial(weight.full_tensor, grad_placements=mean)
            weight.full_tensor = gather  # type: ignore[method-assign]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.require_sound()
        super()._save_checkpoint(model, trial)

    def require_sound(self) -> None:
        """Compute the gradient of the largest batch and forget it: what does not fit into the
        memory is known before the first step, and weights that can be neither used nor gone on
        from before they are written. (A step's own loss is of the weights before it.)

        Raises:
            SpareError: in all processes: there is no loss, no gradient, or a weight is no number.
        """
        import torch

        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        metrics = self._metrics["train"]
        seen = self._total_train_tokens
        self._metrics["train"] = collections.defaultdict(list)
        with torch.random.fork_rng(devices=devices):
            loss = self._rehearsed()
        self._metrics["train"], self._total_train_tokens = metrics, seen
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        broken = [_broken(values, loss.device) for values in ([loss], gradients, weights)]
        self.model_wrapped.zero_grad()
        # Where weights are shared out, a process sees its own part alone.
        broken = self.accelerator.reduce(torch.stack(broken)).tolist()
        step = self.state.global_step
        when = f"after step {step:,}" if step else "before the first step"
        if broken[0]:
            raise self.spoilt(f"The loss that the weights give {when} is {loss.item()}")
        if broken[1] or broken[2]:
            what = "weights" if broken[2] else "gradients that the weights give"
            raise self.spoilt(f"The {what} {when} are not all numbers")
        self.sound = step

    def _rehearsed(self) -> torch.Tensor:
        """The loss of the largest batch, with its gradients in the weights."""
        import torch

        batch = dict(self.largest)
        self.current_gradient_accumulation_steps = 1
        learnt = (batch["labels"][:, 1:] != IGNORED).sum().to(self.args.device)
        if self.is_deepspeed_enabled:  # its engine takes no gradient back
            with torch.no_grad(), self.compute_loss_context_manager():
                ready = self._prepare_inputs(batch)
                loss = self.compute_loss(self.model_wrapped, ready, num_items_in_batch=learnt)
        else:
            loss = self.training_step(self.model_wrapped, batch, learnt)
        found: torch.Tensor = loss.detach().float()
        return found

    def spoilt(self, what: str) -> SpareError:
        """The error for weights that give no loss."""
        if not self.state.global_step:
            bf16 = " or want precision=float32" if self.args.bf16 else ""
            return SpareError(f"{what}: the base's are broken{bf16}.")
        last = f"those of step {self.sound:,}" if self.sound else "the base's"
        precision = ", or precision=float32" if self.args.bf16 else ""
        return LostError(
            f"{what}, and nothing can be learnt from here on. The last sound weights were {last}. "
            f"{kept(Path(self.args.output_dir))} Try a lower lr, or more warmup_steps{precision}, "
            "in another --out."
        )

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


def _copied(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch in memory of this process' own. What another process has made holds an open file for
    every tensor, and the trainer keeps all batches of a step at once."""
    return {
        name: value.clone() if value.device.type == "cpu" else value
        for name, value in batch.items()
    }


def _broken(values: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """How many of some tensors have anything but finite numbers in the part that is here."""
    import torch

    count = torch.zeros((), device=device)
    for value in values:
        mine = value.to_local() if hasattr(value, "to_local") else value
        count += (~mine.isfinite().all()).to(count)
    return count


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
    """Writes the curve, tells progress, stops at a loss that is no number, marks checkpoints.

    Attributes:
        before: steps of earlier calls.
        spent: seconds that these took, as far as they are gone on from.
    """

    def __init__(self, trainer: Trainer, on_event: Callable[[Event], None]) -> None:
        self.trainer, self.on_event = trainer, on_event
        self.training = Path(trainer.args.output_dir)
        self.started, self.before, self.spent = 0.0, 0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Try the largest batch, and go on with the curve behind the checkpoint."""
        self.trainer.share_head()
        self.trainer.require_sound()
        self.started, self.before = time.monotonic(), state.global_step
        if args.should_save:
            lines = cut_curve(self.training, self.before)
            if lines:
                self.spent = lines[-1]["seconds"]
                self.trainer.go_on_behind(lines[-1])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """A step's line. Raises SpareError if its loss is not a number."""
        if "loss" not in (logs or {}):
            return
        loss, norm = logs["loss"], logs.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "loss" if not math.isfinite(loss) else "gradient's norm"
            raise self.trainer.spoilt(
                f"The {what} of step {state.global_step} is {loss if what == 'loss' else norm}"
            )
        self.trainer.sound = state.global_step - 1
        seconds = time.monotonic() - self.started
        if args.should_save:
            line = {
                "step": state.global_step,
                "loss": loss,
                "grad_norm": norm,
                "lr": logs.get("learning_rate"),
                "token_accuracy": logs.get("mean_token_accuracy"),
                "tokens": logs.get("num_tokens"),
                "seconds": round(self.spent + seconds, 3),
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
