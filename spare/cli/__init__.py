"""The command `spare`: one thin file per verb that parses, calls and prints.

Exit codes: 0 done; 1 done, but something is wrong with the data or some samples failed; 2 the
request cannot be met (the message says why); 130 stopped by Ctrl-C, 143 by SIGTERM; 141 the reader
of the output has gone.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence
    from typing import Any

VERBS = {
    "tasks": "what can be scored; for one task: its figures, files, prompts and rules",
    "prepare": "fetch the published files of tasks and check them",
    "validate": "check the files of tasks without a model",
    "eval": "score a model",
    "score": "judge saved replies again, ours or another harness's",
    "export-tasks": "write tasks down for another harness, which then gives our scores",
    "diff-harness": "where and why another harness differs over one checkpoint",
    "show": "the scores of a run, also by relation or any other tag",
    "errors": "the failures of a run laid out for a person, on a page",
    "leaderboard": "many runs side by side",
    "compare": "is the retrained model better, worse, or merely luckier? With an exit code",
    "report": "many runs as a static site",
    "captions": "read hyper-detailed captions, to make training data of",
    "images": "fetch the pictures that captions are about",
    "generate": "make spatial question-answer pairs of captions, and filter them",
    "relations": "how spatial a data set is: its relations against SpaRE's",
    "review": "have a person check a sample of the pairs, and count what is wrong",
    "ablate": "several generators of pairs side by side, as in the paper's ablations",
    "publish": "write the pairs that were kept as a data set with its card",
    "finetune": "train a checkpoint on a data set",
    "cycle": "evaluate, train, evaluate again and compare, in one go",
    "merge": "put an adapter into its base's weights, and check that it is the same model",
    "doctor": "what is installed, which engines work here, and what is known to clash",
    "demo": "the whole thing offline, on rendered scenes and a tiny model",
}

GO_ON = ("prepare", "eval", "images", "generate", "finetune", "cycle", "demo")
"""Verbs that go on where they were stopped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    # Imports take long enough to be stopped, too: there are none before this.
    try:
        return _run(argv)
    except KeyboardInterrupt as stop:
        import signal

        # We are done: the interpreter need not be asked a second time while it cleans up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        hint = "; the same command goes on from here" if argv[:1] and argv[0] in GO_ON else ""
        print(f"spare: stopped{hint}.", file=sys.stderr)
        return 143 if stop.args == (TERMINATED,) else 130


TERMINATED = "terminated"


def _terminate(*_: object) -> None:
    # What cleans up after Ctrl-C cleans up after this, too.
    raise KeyboardInterrupt(TERMINATED)


def _run(argv: Sequence[str]) -> int:
    import os
    import signal
    import threading

    from spare.errors import SpareError

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # What models write may be no text (half of a surrogate pair), or none that a locale has.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = _parser(argv)
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    arguments = parser.parse_args(argv)
    try:
        run = _module(arguments.verb).run
        code: int = run(arguments)
        sys.stdout.flush()
    except SpareError as error:
        print(_sentence(f"spare: {error}"), file=sys.stderr)
        return 2
    except ImportError as error:
        said = f"A package cannot be imported: {error}. `spare doctor` says what is broken."
        print(_sentence(f"spare: {said}"), file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has gone (`spare tasks | head`). Python would write what is
        # left at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is not None:
            print(_sentence(f"spare: {error.filename}: {error.strerror}."), file=sys.stderr)
            return 2
        print(f"spare: the output cannot be written: {error.strerror}.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return code


def _module(verb: str) -> Any:
    import importlib

    return importlib.import_module(f"spare.cli.{verb.replace('-', '_')}")


def _sentence(text: str) -> str:
    """A terminal breaks lines in the middle of words; a log keeps a sentence on its line."""
    if not sys.stderr.isatty():
        return text
    from spare.leaderboards.screen import wrap

    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines += wrap(line.lstrip(), first=indent, rest=f"{indent}  ")
    return "\n".join(lines)


def _parser(argv: Sequence[str]) -> ArgumentParser:
    import argparse

    from spare import __version__

    parser = argparse.ArgumentParser(
        prog="spare",
        description="Score vision-language models on spatial understanding.",
        epilog="`spare VERB --help` says more about one of them. To try it out: `spare demo`.",
    )
    parser.add_argument("--version", action="version", version=f"spare {__version__}")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for name, about in VERBS.items():
        verb = verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        if name in argv[:1]:  # only the verb in use is imported
            _module(name).add_arguments(verb)
    return parser
