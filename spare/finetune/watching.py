"""The callback that evaluates a network while it is trained; see `evaluations`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback

from spare.errors import SpareError
from spare.finetune import outputs
from spare.finetune.checkpoints import last_whole, step_of
from spare.finetune.evaluations import (
    FOLDER,
    POINTS,
    Evaluations,
    best_folder,
    best_step,
    keep_best,
    read,
    write,
)
from spare.harness.models import Options
from spare.harness.models.loading import Checkpoint, load_processor

if TYPE_CHECKING:
    from spare.harness.run import Run


class Evaluate(TrainerCallback):  # type: ignore[misc]
    """Evaluates the network as it is, keeps the best weights, and ends a training that forgets."""

    def __init__(
        self,
        trainer: Any,
        asked: Evaluations,
        checkpoint: Checkpoint,
        max_pixels: int | None,
        adapter: bool,
        say: Callable[[str], None],
    ) -> None:
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise SpareError(
                "Evaluations while training need the whole network on one device, which FSDP and "
                "DeepSpeed do not leave there; evaluate the finished checkpoint instead."
            )
        self.trainer, self.asked, self.checkpoint = trainer, asked, checkpoint
        self.max_pixels, self.adapter, self.say = max_pixels, adapter, say
        self.training = Path(trainer.args.output_dir)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate the base; or forget what was found behind the step that is gone on from, and
        train no further if that is where the training was stopped."""
        stopped = False
        if args.should_save:
            # The base's is made anew: before the first step all may have been set otherwise.
            before = read(self.training) if state.global_step else []
            lines = [line for line in before if line["step"] <= state.global_step]
            write(self.training, lines)
            stopped = bool(lines and lines[-1]["regressions"])
        if self._told_to_all(stopped):
            control.should_training_stop = True
        if state.global_step == 0:
            self._evaluate(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate every so many steps, before a checkpoint is written."""
        if state.global_step % self.asked.every == 0 or state.global_step == state.max_steps:
            self.trainer.require_sound()
            self._evaluate(state, control)

    def _told_to_all(self, value: Any) -> Any:
        """What the first process has found, in all of them."""
        from accelerate.utils import broadcast_object_list

        found = [value]
        if self.trainer.args.world_size > 1:
            found = broadcast_object_list(found)
        return found[0]

    def _evaluate(self, state: Any, control: Any) -> None:
        first = self.trainer.args.should_save
        line = self._told_to_all(self._scored(state.global_step) if first else None)
        # Not TRL's own, which would take the step's other figures along.
        due = control.should_log
        Trainer.log(self.trainer, {"spatial": line["spatial"], **line["scores"]})
        control.should_log = due  # which logging has taken back
        for sentence in line["notes"]:
            self.say(sentence)
        if line["regressions"]:
            control.should_training_stop = control.should_save = True

    def _scored(self, step: int) -> dict[str, Any]:
        """Evaluate, and keep the weights if they are the best so far."""
        import torch

        network = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        network.eval()
        try:
            with torch.random.fork_rng(devices=devices), _settings_kept(_plain(network)):
                spatial = self._run(network, step, "spatial", self.asked.spatial)
                runs = [spatial]
                if self.asked.general:
                    runs.append(self._run(network, step, "general", self.asked.general))
        finally:
            network.train()
        scores = {
            score.task: float(score.metrics[score.headline]["value"])
            for run in runs
            for score in run.scores
        }
        values = [scores[score.task] for score in spatial.scores]
        if max(values) > 100:  # of a task that says nothing about chance
            raise SpareError(POINTS)
        mean = sum(values) / len(values)
        regressions = self._regressions(step) if step and self.asked.general else []
        lines = read(self.training)
        told = ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
        notes = [*_unread(runs, step), f"After step {step}: {told}."]
        if regressions:
            worse = "; ".join(regressions)
            notes.append(f"Stopped after step {step}, since general tasks got worse: {worse}.")
        line = {"step": step, "spatial": mean, "scores": scores, "regressions": regressions}
        line["notes"] = notes
        if step and best_step([*lines, line]) == step:
            folder = best_folder(self.training, step)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            state = network.state_dict()
            state = state if self.adapter else outputs.cast(state, self.checkpoint)
            outputs.save(network, state, folder, self.checkpoint, self.adapter)
        write(self.training, [*lines, line])
        saved = last_whole(self.training)
        keep_best(self.training, step_of(saved) if saved else 0)
        return line

    def _run(self, network: Any, step: int, kind: str, tasks: str) -> Run:
        from spare.harness.evaluate import evaluate
        from spare.harness.models.transformers import Transformers
        from spare.tasks import expand, load_task

        out = self.training / FOLDER / f"{step}-{kind}"
        shutil.rmtree(out, ignore_errors=True)  # of weights that are gone, after a kill
        model = Transformers(
            _plain(network),
            load_processor(self.checkpoint, Options()),
            self.checkpoint,
            {"engine": "transformers", "weights": f"in training, after step {step}"},
            Options(max_pixels=self.max_pixels),
        )
        model.lineage = {}
        out.parent.mkdir(exist_ok=True)
        names = [load_task(name).name for name in expand(tasks)]
        prompt = {name: one for name, one in self.asked.prompt.items() if name in names}
        return evaluate(
            model, tasks, data=self.asked.data, out=out, prompt=prompt, limit=self.asked.limit
        )

    def _regressions(self, step: int) -> list[str]:
        from spare.harness.comparison import compare

        places = [self.training / FOLDER / f"{one}-general" for one in (0, step)]
        found = compare(*places, max_drop=self.asked.max_drop)
        return [f"{one.score.task} by {-one.difference.value:.1f}" for one in found.regressions]


def _unread(runs: Iterable[Run], step: int) -> list[str]:
    """A sentence for each task whose way of asking does not suit the model."""
    return [
        f"After step {step} no reply to {score.task} could be read: its prompt {score.prompt} asks "
        "for what this model does not say. Choose another."
        for run in runs
        for score in run.scores
        if score.unread == score.asked
    ]


def _plain(network: Any) -> Any:
    """The network without what PEFT puts around it; an adapter stays in its layers."""
    import peft

    return network.get_base_model() if isinstance(network, peft.PeftModel) else network


@contextlib.contextmanager
def _settings_kept(network: Any) -> Iterator[None]:
    """The engine changes how a network generates; training saves it as it was."""
    kept = network.generation_config
    try:
        yield
    finally:
        network.generation_config = kept
