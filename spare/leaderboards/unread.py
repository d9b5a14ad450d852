"""Replies that no answer was read from, by why, with the reply."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from spare.harness.lines import ReplyLog, reply_of
from spare.harness.rescoring import said
from spare.harness.run import Run, Score

STATUSES = ("error", "empty", "unparsed", "ambiguous")
"""In the order shown; errors are replies that never came."""

SHOWN = 20
"""Replies that are shown per score and status."""

REPLY = 300
"""Characters of a reply that are shown."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A reply that no answer was read from.

    Attributes:
        finish: "length" if the reply was cut off where --prompt's bound ended it.
    """

    score: Score
    status: str
    id: str
    target: str
    reply: str
    finish: str


def unread(run: Run) -> Iterator[Unread]:
    """All unread replies of a run, score by score, by status, in the benchmark's order."""
    with contextlib.closing(ReplyLog(run.path / "replies.jsonl")) as log:
        for score in run.scores:
            for status in STATUSES:
                if not score.statuses.get(status):
                    continue
                for line in run.verdict_lines(score):
                    if line["status"] == status:
                        reply = reply_of(log.behind(line))
                        yield Unread(
                            score, status, line["id"], line["target"], said(reply), reply.finish
                        )


def print_unread(run: Run) -> None:
    """The first unread replies of every score and status, and how many there are."""
    from spare.leaderboards.tables import add_row, heading, print_table, table

    found = False
    for (score, status), group in itertools.groupby(
        unread(run), key=lambda one: (one.score, one.status)
    ):
        found = True
        grid = table("id", "truth", "reply", title=f"{heading(score)}: {_count(score, status)}")
        for one in itertools.islice(group, SHOWN):
            reply = one.reply if len(one.reply) <= REPLY else f"{one.reply[: REPLY - 3]}..."
            cut = " (cut off at the bound on its length)" if one.finish == "length" else ""
            add_row(grid, one.id, one.target, (repr(reply) if status == "empty" else reply) + cut)
        print_table(grid)
    if not found:
        print(f"Every reply of {run.path} was read.")


def _count(score: Score, status: str) -> str:
    count = score.statuses[status]
    more = f", the first {SHOWN} (--json has all)" if count > SHOWN else ""
    return f"{count:,} of {score.asked:,} {status}{more}"
