"""The scores of a run as the hub's evaluation metadata, for a model card."""

from __future__ import annotations

from spare.errors import SpareError
from spare.harness.run import Run, Score
from spare.leaderboards.collection import model_name
from spare.tasks import LISTED, load_task


def model_card(run: Run) -> str:
    """The YAML that stands between two lines of dashes at the top of a model's README.

    Every figure carries its version, prompt and rules, since without them it is no figure.

    Raises:
        SpareError: the run has no score of a whole benchmark.
    """
    from huggingface_hub import EvalResult, ModelCardData

    whole = [score for score in run.scores if score.limit is None]
    if not whole:
        raise SpareError(f"{run.path} has no score of a whole benchmark to put on a card.")
    results = [
        EvalResult(
            task_type="visual-question-answering",
            task_name="Visual question answering",
            dataset_type=_dataset(score),
            dataset_name=score.task,
            dataset_split=score.split,
            metric_type=score.headline,
            metric_name=f"{score.headline} (prompt {score.prompt}, rules {score.rules})",
            metric_value=round(float(figure["value"]), 4),
            metric_args={
                "version": score.version,
                "layout": score.layout,
                "prompt": score.prompt,
                "rules": score.rules,
                **({"judge": score.judge} if score.judge else {}),
                "samples": score.samples,
                "errors": score.errors,
                "low": figure["low"],
                "high": figure["high"],
            },
        )
        for score in whole
        if (figure := score.metrics.get(score.headline)) and figure["value"] is not None
    ]
    name = model_name(run).rstrip("/").rsplit("/", 1)[-1]
    card = ModelCardData(model_name=name, eval_results=results)
    return f"---\n{card.to_yaml()}\n---\n"


def _dataset(score: Score) -> str:
    """The benchmark's repository on the hub, or else our name for it."""
    if score.task not in LISTED:
        return score.task.removeprefix("custom:").rsplit("/", 1)[-1]
    sources = load_task(score.task).sources
    return next((source.repo for source in sources if source.repo), score.task)
