"""Importing other harnesses, which are guests here: what they do to the process is undone."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator

from spare.errors import SpareError, install


def require_lm_eval() -> None:
    """Raises SpareError if lm-eval is not installed."""
    import importlib.util

    if importlib.util.find_spec("lm_eval") is None:
        raise SpareError(f"lm-eval is not installed: run {install('lm-eval')}.")


@contextlib.contextmanager
def as_guest() -> Iterator[None]:
    """What is imported and run inside leaves the environment, the random generators, the warning
    filters, the root logger and torch's settings as they were.

    lm-eval and what it imports set environment variables for the hub and for OpenMP, which child
    processes would inherit, draw from Python's generator, and add warning filters.
    """
    environment = dict(os.environ)
    filters, root = list(warnings.filters), logging.getLogger()
    level, handlers, state = root.level, list(root.handlers), random.getstate()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy:
        numpy_state = numpy.random.get_state()
    if torch:
        torch_state = torch.get_rng_state()
        threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
        learns = torch.is_grad_enabled()
    try:
        yield
    finally:
        # Only what differs: other threads read the environment, too.
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        warnings.filters[:] = filters  # type: ignore[index]
        root.setLevel(level)
        root.handlers[:] = handlers
        random.setstate(state)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.set_rng_state(torch_state)
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(learns)
