"""What the demo came to: its figures, whether it kept its promises, and both as tables, for the
screen and for the first page of its site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spare.harness.comparison import Comparison
from spare.harness.run import Run, Score
from spare.leaderboards.grids import Column, Grid

SPATIAL, STATEMENTS, GENERAL = "demo_whatsup", "demo_vsr", "custom:objects"
"""The tasks: where is it, is it so, and what is there?"""

MOST_BEFORE, LEAST_AFTER = 35.0, 80.0
"""What is promised of the four-way task, in per cent: before (and of the control), and after."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo came to.

    Attributes:
        pairs: of the data set.
        base: the run of the base; seeds: of the checkpoints trained on spatial pairs; control: of
            the one trained on pairs about names.
        comparisons: of each seed, then of the control, with the base.
        shortcuts: layout -> accuracy in per cent of the best guess from the thing's place alone,
            and from the furniture's.
        site: its first page.
    """

    pairs: int
    base: Run
    seeds: Sequence[Run]
    control: Run
    comparisons: Sequence[Comparison]
    shortcuts: Mapping[str, tuple[float, float]]
    site: Path

    @property
    def runs(self) -> list[Run]:
        """The base's, each seed's, and the control's."""
        return [self.base, *self.seeds, self.control]

    @property
    def spatial(self) -> list[float]:
        """Four-way accuracy in per cent of the base, of each seed, and of the control."""
        return self._accuracies(SPATIAL)

    @property
    def general(self) -> list[float]:
        """The same of the general task."""
        return self._accuracies(GENERAL)

    @property
    def statements(self) -> list[float]:
        """The same of statements that are right or not."""
        return self._accuracies(STATEMENTS)

    @property
    def chances(self) -> list[float]:
        """What guessing gets of these three, in per cent."""
        scores = [_score(self.base, task) for task in (SPATIAL, GENERAL, STATEMENTS)]
        return [score.chance[score.headline] for score in scores]

    def _accuracies(self, task: str) -> list[float]:
        scores = [_score(run, task) for run in self.runs]
        return [float(score.metrics[score.headline]["value"]) for score in scores]

    def missed(self) -> list[str]:
        """A sentence about every promise of the demo that was not kept."""
        before, *after, control = self.spatial
        found = []
        if before > MOST_BEFORE:
            found.append(f"The base knows where things are already: {before:.1f} %.")
        for number, reached in enumerate(after):
            if reached < LEAST_AFTER:
                found.append(f"Seed {number} reached {reached:.1f} %, not {LEAST_AFTER:.0f}.")
        if control > MOST_BEFORE:
            found.append(f"The control is not near chance: {control:.1f} %.")
        for number, one in enumerate(self.comparisons[: len(after)]):
            for change in one.tasks:
                lower = change.difference.value < 0 and change.p < one.alpha
                if change.score.task == GENERAL and lower:
                    found.append(
                        f"Seed {number} is significantly lower in the general task: "
                        f"{change.difference.value:+.1f} points."
                    )
        return found

    def outcome(self) -> list[str]:
        """The same, or that all was kept."""
        return self.missed() or [
            f"All that the demo promises was shown: at most {MOST_BEFORE:.0f} % for the base and "
            f"the control, at least {LEAST_AFTER:.0f} % for each seed, and none of the seeds "
            "significantly lower than the base in what is there."
        ]


def _score(run: Run, task: str) -> Score:
    return next(score for score in run.scores if score.task == task)


def tables(story: Story) -> list[Grid]:
    """The models beside a guesser and the shortcuts, then the shortcuts in every layout."""
    return [_models(story), _shortcuts(story)]


def _models(story: Story) -> Grid:
    seeds = [f"seed {number}" for number in range(len(story.seeds))]
    names = ["base", *seeds, "control"]
    figures = zip(names, story.spatial, story.general, story.statements, strict=True)
    rows = [(name, *(f"{one:.1f}" for one in told)) for name, *told in figures]
    thing, furniture = story.shortcuts["What's Up"]
    rows = [
        *rows,
        ("the thing's place alone", f"{thing:.1f}", "-", "-"),
        ("the furniture's place alone", f"{furniture:.1f}", "-", "-"),
        ("guessing", *(f"{chance:.1f}" for chance in story.chances)),
    ]
    return Grid(
        "Where is it, and what is there?",
        [
            Column("model"),
            *(Column(name, numeric=True) for name in ("where", "what", "is it so")),
        ],
        rows,
        [
            "where: What's Up's layout, four answers ranked. what: names of what is in the same "
            "pictures. is it so: VSR's layout, yes or no to a statement. Of the last nothing is "
            "promised: from being told where, so small a model does not learn to say whether.",
            f"The seeds were trained on {story.pairs:,} pairs made of captions, the control on as "
            "many about names. No thing stands with a furniture in a test that it was trained "
            "with. The places alone are no models: the best guess from where one of the two is.",
            *_unread(story, names),
            *story.outcome(),
        ],
        strong=frozenset(range(1, 1 + len(seeds))),
    )


def _unread(story: Story, names: Sequence[str]) -> Iterator[str]:
    for name, run in zip(names, story.runs, strict=True):
        for score in run.scores:
            if score.unread:
                yield (
                    f"{name}, {score.task}: {score.unread:,} of {score.asked:,} replies are no "
                    "answer to what was asked, and count as wrong."
                )


def _shortcuts(story: Story) -> Grid:
    rows = [
        (layout, f"{thing:.1f}", f"{furniture:.1f}")
        for layout, (thing, furniture) in story.shortcuts.items()
    ]
    return Grid(
        "What one object's place alone gives away",
        [Column("layout"), Column("thing's", numeric=True), Column("furniture's", numeric=True)],
        rows,
        ["Accuracy of the best guess from it, learnt from the training scenes; four relations."],
    )
