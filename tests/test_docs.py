"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_of_benchmarks_is_what_the_tasks_say() -> None:
    page = runpy.run_path(str(DOCS / "benchmarks.py"))["page"]
    written = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert written == page(), "run python docs/benchmarks.py"


def test_every_task_has_a_row() -> None:
    from spare.tasks import LISTED

    written = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in written for name in LISTED)
