"""One training, of one seed: from a recipe that is settled to the finished checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.disk import locked, write_json
from spare.errors import SpareError, counted
from spare.finetune import outputs
from spare.finetune.checkpoints import last_whole, read_curve, step_of
from spare.finetune.checks import Ready
from spare.finetune.faults import LostError
from spare.finetune.folders import SIZES, agree
from spare.finetune.network import (
    computes_in_bf16,
    load_for_training,
    lora_config,
    prompts_of,
    reaches_all,
)
from spare.finetune.pairs import Pairs
from spare.finetune.plan import Material, Plan, plan
from spare.finetune.recipes import Recipe
from spare.harness.models import Options
from spare.harness.models.digests import digest_files
from spare.harness.models.loading import LINEAGE, load_processor

if TYPE_CHECKING:
    from spare.finetune.training import Event

RESULT = "training.json"

EVALUATION = datetime.timedelta(hours=6)
"""How long processes wait for the first one, which evaluates; torch's own is 10 minutes."""


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What a training came to.

    Attributes:
        folder: of the checkpoint or the adapter.
        adapter: it is an adapter.
        seed: that it was trained with.
        result: steps, losses, seconds and the like; see docs/finetune.md.
        command: evaluates it.
    """

    folder: Path
    adapter: bool
    seed: int
    result: Mapping[str, Any]
    command: str


class Job:
    """One training.

    Args:
        ready: what it needs, looked at.
        recipe: with its own seed.
        out: its folder; shelf: the one that it has in common with other seeds, or `out` itself.
        on_event: receives sentences and progress.
    """

    def __init__(
        self,
        ready: Ready,
        recipe: Recipe,
        out: Path,
        shelf: Path,
        on_event: Callable[[Event], None],
    ) -> None:
        self.recipe, self.checkpoint, self.out = recipe, ready.base, out
        self.sets, self.reports, self.evaluations = ready.sets, ready.reports, ready.evaluations
        self.training = out / "training"
        # Seeds have one list of pictures.
        self.shelf = self.training if shelf == out else shelf
        self.adapter = recipe.weights == "lora"
        self.folder = out / "adapter" if self.adapter else out
        self.notes: list[str] = []
        self.first = os.environ.get("RANK", "0") == "0"
        self._on_event = on_event

    def say(self, event: Event) -> None:
        """Tell an event, once for all processes."""
        if self.first:
            self._on_event(event)

    def note(self, sentence: str) -> None:
        """Tell a sentence that the card repeats."""
        self.notes.append(sentence)
        self.say(sentence)

    def run(self) -> FineTuned:
        """Train, or go on, or return what is finished."""
        with self._held() as weights:
            if (self.folder / LINEAGE).is_file():
                self.say(f"{self.folder} is finished already.")
            else:
                self._train(weights)
            if self.first:  # and not before the result is whole
                for kind in ("checkpoint-*", "best-*"):
                    for path in self.training.glob(kind):
                        shutil.rmtree(path)
        result = json.loads((self.training / RESULT).read_bytes())
        return FineTuned(self.folder, self.adapter, self.recipe.seed, result, result["command"])

    def look(self, data: bool) -> None:
        """Raises SpareError if a training would, for its folder's sake or for that of its data:
        a picture's or a text's."""
        from spare.finetune.faults import undisturbed
        from spare.finetune.sequences import Encoder

        with self._held(), undisturbed():
            if not data or (self.folder / LINEAGE).is_file():
                return
            processor, preparer = prompts_of(self.checkpoint, self.recipe)
            encoder = Encoder(preparer, [processor.tokenizer.eos_token_id])
            for number, pairs in enumerate(self.sets):
                self._material(_spread(), number, pairs, encoder, processor)

    @contextlib.contextmanager
    def _held(self) -> Iterator[str]:
        """Hold the folder, which is of this training and no other; the digest of the base."""
        if self.out.resolve() == self.checkpoint.folder.resolve():
            raise SpareError(f"{self.out} is the base itself; choose another --out.")
        weights = digest_files(self.checkpoint.weights)
        asked: dict[str, Any] = {
            "base": weights,
            "data": [pairs.digest for pairs in self.sets],
            "recipe": dataclasses.asdict(self.recipe),
            "evaluations": self._asked(),
        }
        with locked(self.out) if self.first else contextlib.nullcontext():
            agree(self.out, self.training, asked, self.first)
            yield weights

    def _asked(self) -> dict[str, Any] | None:
        """The evaluations as JSON has them."""
        if self.evaluations is None:
            return None
        data = str(self.evaluations.data.resolve())  # however it is spelled
        return {**dataclasses.asdict(self.evaluations), "data": data}

    def _train(self, weights: str) -> None:
        from spare.finetune.faults import undisturbed

        with undisturbed():
            spread = _spread()
            bf16 = computes_in_bf16(self.recipe, self.note)
            network, processor, preparer, ends = load_for_training(
                self.checkpoint, self.recipe, bf16, self.note
            )
            self._fit(spread, bf16, network, processor, preparer, ends, weights)

    def _fit(
        self,
        spread: Any,
        bf16: bool,
        network: Any,
        processor: Any,
        preparer: Any,
        ends: list[int],
        weights: str,
    ) -> None:
        """Everything between a loaded network and a finished one."""
        from transformers import set_seed

        from spare.finetune import evaluations, faults, training, watching
        from spare.finetune.branches import see_branches
        from spare.finetune.sequences import Encoder
        from spare.finetune.survey import blank_batch

        encoder = Encoder(preparer, ends)
        materials = [
            self._material(spread, number, pairs, encoder, processor)
            for number, pairs in enumerate(self.sets)
        ]
        left_out = sum(material.beginnings.count(0) for material in materials)
        see_branches(network)
        recipe = self._layout(network, encoder, materials)
        whole = plan(materials, recipe, spread.num_processes)
        self._tell(whole, recipe)
        padding = processor.tokenizer.pad_token_id or 0
        batches = training.Batches(whole, self.sets, encoder, padding, recipe.layout == "shared")
        # An adapter is in the language tower, all of whose layers speak.
        all_reached = self.adapter or spread.num_processes == 1
        all_reached = all_reached or reaches_all(network, blank_batch(encoder))
        set_seed(recipe.seed)
        with faults.sentences(self.training):
            trainer = training.Trainer(
                network,
                training.trainer_settings(
                    recipe, whole, self.training, bf16, self.reports, all_reached
                ),
                largest=batches.make(whole.largest),
                train_dataset=batches.numbers(),
                data_collator=batches,
                # One of its own: it saves it, and ours remembers pictures.
                processing_class=load_processor(self.checkpoint, Options()),
                peft_config=lora_config(network, recipe) if self.adapter else None,
            )
            from transformers.trainer_callback import PrinterCallback

            trainer.remove_callback(PrinterCallback)
            watch = training.Watch(trainer, self.say)
            trainer.add_callback(watch)
            if self.evaluations is not None:
                pixels = recipe.max_pixels or None
                trainer.add_callback(
                    watching.Evaluate(
                        trainer, self.evaluations, self.checkpoint, pixels, self.adapter, self.say
                    )
                )
            if os.environ.get("ACCELERATE_USE_FSDP") == "true" and not trainer.is_fsdp_enabled:
                self.note(
                    "accelerate shards no weights here: each process has all (FSDP is for GPUs)."
                )
            self._require_fit()
            last = last_whole(self.training, remove=self.first)
            if last is not None:
                self.say(f"Going on from step {step_of(last)}.")
            told = trainer.train(resume_from_checkpoint=str(last) if last else None)
            state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            trained = trainer.accelerator.unwrap_model(trainer.model_wrapped)
            if self.first:
                self._require_fit()
                folder = self.folder
                folder.mkdir(parents=True, exist_ok=True)
                if not self.adapter:
                    state = outputs.cast(state, self.checkpoint)
                outputs.save(trained, state, folder, self.checkpoint, self.adapter)
                lines = evaluations.read(self.training)
                self.notes += [note for line in lines for note in line.get("notes", ())]
                last_step = trainer.state.global_step
                step = evaluations.best_step(lines) or last_step
                if step != last_step:
                    self.note(f"The weights are those of step {step}, the best at spatial tasks.")
                    for path in evaluations.best_folder(self.training, step).iterdir():
                        if path.is_file():
                            shutil.copyfile(path, folder / path.name)
        if self.first:
            seconds = watch.spent + told.metrics["train_runtime"]
            result = self._result(whole, trainer, step, seconds)
            write_json(self.training / RESULT, result)
            done = dataclasses.replace(recipe, precision="bf16" if bf16 else "float32")
            lineage = outputs.lineage(self.checkpoint, weights, self.sets, done, left_out)
            if asked := self._asked():
                # Scores at these tasks are of weights that were chosen by them.
                lineage["chosen by"] = {key: asked[key] for key in asked if key != "data"}
                lineage["step"] = step
            outputs.finish(self.folder, lineage, self.notes, result)
        trainer.accelerator.wait_for_everyone()

    def _require_fit(self) -> None:
        """Raises SpareError if the training has ended before any weights were fit to be kept."""
        from spare.finetune import evaluations

        lines = evaluations.read(self.training)
        if lines and lines[-1]["regressions"] and not evaluations.best_step(lines):
            raise LostError(
                f"General tasks got worse ({'; '.join(lines[-1]['regressions'])} after step "
                f"{lines[-1]['step']}) before any weights were fit to be kept, so no checkpoint is "
                "written. Train with a lower lr or more general data, into another --out."
            )

    def _material(
        self, spread: Any, number: int, pairs: Pairs, encoder: Any, processor: Any
    ) -> Material:
        """A data set looked at from its first picture to its last."""
        from spare.finetune.survey import Lengths, refuse_signs, survey, usable_pictures

        refuse_signs(pairs, processor)
        total = len(pairs.pictures)
        self.say(f"{pairs.name}: {len(pairs):,} pairs about {counted(total, 'picture')}.")
        sizes = survey(
            pairs,
            self.shelf / (f"general-{SIZES}" if number else SIZES),
            spread,
            lambda done: self.say(f"Opened {min(done, total):,} of {total:,} pictures."),
        )
        lengths = Lengths(pairs, encoder)
        tokens = usable_pictures(pairs, sizes, lengths, self.recipe.bad_pictures, self.note)
        context = encoder.preparer.context
        for pair, picture in enumerate(pairs.picture_of):
            if tokens[picture] and tokens[picture] + lengths.asked[pair] > context:
                path, row = pairs.place(pair)
                raise SpareError(
                    f"{path}, row {row}: picture, question and answer are "
                    f"{tokens[picture] + lengths.asked[pair]} tokens, more than the model's "
                    f"context of {context}. Lower max_pixels, or leave the pair out."
                )
        used = [picture if tokens[picture] else -1 for picture in pairs.picture_of]
        return Material(used, pairs.weights, lengths.asked, tokens)

    def _layout(self, network: Any, encoder: Any, materials: Sequence[Material]) -> Recipe:
        """The recipe, with a layout that the network can be trained in."""
        from spare.finetune.branches import refuses_pictures

        if self.recipe.layout == "pairs":
            return self.recipe
        reason = refuses_pictures(network, encoder, self.sets[0], materials[0])
        if not reason:
            return self.recipe
        self.note(f"Each pair gets a sequence of its own: for this model, {reason}.")
        return dataclasses.replace(self.recipe, layout="pairs")

    def _tell(self, whole: Plan, recipe: Recipe) -> None:
        steps = len(whole.steps)
        self.say(
            f"{steps:,} steps of {recipe.batch} pairs, layout {recipe.layout}, in "
            f"{whole.accumulation} per device and step of up to {whole.tokens:,} tokens."
        )
        if whole.tokens > recipe.batch_tokens:
            self.note(
                f"A pair with its picture has up to {whole.tokens:,} tokens, more than "
                f"batch_tokens={recipe.batch_tokens}: it is a batch alone."
            )
        if recipe.batch > whole.epoch:
            self.note(
                f"A step takes {recipe.batch:,} pairs, and an epoch has {whole.epoch:,}: a pair "
                "comes several times in a step. Lower batch."
            )
        if recipe.warmup_steps >= steps:
            self.note(
                f"The warm-up ({recipe.warmup_steps:,} steps) outlasts the training: lr ends at "
                f"{recipe.lr * (steps - 1) / recipe.warmup_steps:.2g}, not {recipe.lr:.2g}; set "
                "warmup_steps."
            )

    def _result(self, whole: Plan, trainer: Any, step: int, seconds: float) -> dict[str, Any]:
        """What a training came to whose kept weights are those of a step."""
        curve = read_curve(self.training)
        losses = {line["step"]: line["loss"] for line in curve}
        return {
            "steps": trainer.state.global_step,
            "kept_step": step,
            "pairs": trainer.state.global_step * self.recipe.batch,
            "accumulation": whole.accumulation,
            "largest_batch_tokens": whole.tokens,
            "first_loss": curve[0]["loss"] if curve else math.nan,
            "kept_loss": losses.get(step, math.nan),
            "last_loss": curve[-1]["loss"] if curve else math.nan,
            "seconds": seconds,
            "waited_seconds": trainer.waited,
            "devices": trainer.args.world_size,
            "peak_memory": _peak_memory(),
            "notes": self.notes,
            "command": outputs.command(self.folder, self.recipe, self.checkpoint.name),
        }


def _spread() -> Any:
    """The processes of this training."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available(), timeout=EVALUATION)


def _peak_memory() -> int | None:
    """Bytes of this process' GPU that tensors took at most; None without one."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
