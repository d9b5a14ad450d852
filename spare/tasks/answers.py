"""Reading replies by our own rules: strict where a reference accepts by accident, tolerant where it
rejects a plain answer, never a guess. The readers that copy other harnesses are in `references.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from spare.tasks.types import Status


class Reading(NamedTuple):
    """What a reply says: a label or text, and how it was read ("" unless the status is "ok")."""

    answer: str
    status: Status
