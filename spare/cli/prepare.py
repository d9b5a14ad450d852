"""`spare prepare`: fetch the published files of tasks and check them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from spare.cli.validate import print_text

if TYPE_CHECKING:
    from spare.harness.prepare import Prepared, Wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", help="tasks and suites; see `spare tasks`")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--split", default="", help="split to check; the default one otherwise")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be fetched; fetch nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.harness.prepare import prepare
    from spare.tasks import expand

    ok = True
    for name in expand(",".join(arguments.tasks)):
        done = prepare(
            name,
            arguments.data,
            arguments.split,
            dry_run=arguments.dry_run,
            on_progress=_progress(),
        )
        ok &= done.ok or arguments.dry_run
        _print(name, done, arguments.data)
    return 0 if ok else 1


def _print(name: str, done: Prepared, data: str) -> None:
    state = "ready" if done.ok else "NOT READY"
    free = f"{done.free / 1e9:,.0f} GB"
    print_text(f"{done.task}: {state}. Licence: {done.licence}. Free on this disk: {free}.", "")
    lines = [("fetched", str(path)) for path in done.fetched]
    lines += [("unpacked", str(path)) for path in done.unpacked]
    if not done.ok:
        lines += [(wanted.state, _wanted(wanted)) for wanted in done.wanted]
        lines += [("problem", problem) for problem in done.problems]
        checks = done.report.checks if done.report else ()
        lines += [
            ("failed", f"{one.name}: {one.detail}") for one in checks if one.outcome == "failed"
        ]
    for what, text in lines:
        print_text(text, first=f"  {what:<8} ")
    if not done.ok and done.report and done.report.samples:
        print_text(f"`spare validate {name} --data {data}` says more.", first="  ")


def _wanted(wanted: Wanted) -> str:
    source = wanted.source
    size = f" ({source.size})" if source.size else ""
    where = f"hub dataset {source.repo}" if source.repo else f"from {source.url}"
    return f"{source.about}{size}: {where}, into {wanted.folder}"


def _progress() -> Callable[[str, int, int], None]:
    """Counts on a terminal with what is left; a line per thing elsewhere."""
    started: dict[str, float] = {}

    def show(what: str, done: int, total: int) -> None:
        first = what not in started
        start = started.setdefault(what, time.monotonic())
        if not sys.stderr.isatty():
            if first:
                print(f"  {what} ...", file=sys.stderr, flush=True)
            return
        left = ""
        if 0 < done < total:
            left = f", {(time.monotonic() - start) * (total - done) / done:.0f} s to go"
        end = "\n" if done == total else "\r"
        of = f" of {total:,}" if total else ""
        print(f"\033[K  {done:,}{of} {what}{left}", end=end, file=sys.stderr, flush=True)

    return show
