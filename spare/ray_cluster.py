"""Connecting to a Ray cluster: the one that is named, the one that runs here, or one of our own."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import threading
from pathlib import Path

from spare.errors import SpareError, install

MISSING = f"The engine ray needs Ray, which is not installed: run {install('ray')}."

REMEDY = (
    "Start one with `ray start --head` and name it in RAY_ADDRESS, or unset that to use this "
    "machine alone."
)

LEFT = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - where Ray puts it
"""Where `ray start` leaves the address of this machine's cluster."""

LONGEST = 300
"""Characters that are kept of what Ray says."""


ADMISSION = (
    "Where the cluster wants a token, ours must be the same: RAY_AUTH_MODE=token, and the token in "
    "RAY_AUTH_TOKEN or ~/.ray/auth_token."
)

_started_here = False
"""Whether the cluster that this process is connected to was started by it."""


def connect() -> bool:
    """Connect Ray to the cluster of RAY_ADDRESS, or to the one that runs on this machine; or to one
    that is started for it. Returns whether the cluster was started here, and is this machine alone.

    Raises:
        SpareError: it is not installed, no cluster answers, or it does not take our token.
    """
    global _started_here
    if importlib.util.find_spec("ray") is None:
        raise SpareError(MISSING)
    import ray

    if not ray.is_initialized():
        named, left = os.environ.get("RAY_ADDRESS", ""), _left()
        if named and (fault := _unheard(named)):
            raise SpareError(f"No Ray cluster is at {named} ({fault}). {REMEDY}")
        # One that has crashed leaves its address behind, where Ray would knock for minutes.
        address = None if named or not _unheard(left) else "local"
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address,
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,  # what it tells of itself is wider than a screen
            )
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            raise SpareError(_refusal(error, named or left)) from error
        _started_here = address == "local" or not (named or left)
        # It takes the signal for itself, and would end the process without a word of ours.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    return _started_here


def _refusal(error: Exception, address: str) -> str:
    """Why no cluster takes us, and what to do."""
    said = " ".join(str(error).split())
    if any(word in said for word in ("InvalidAuthToken", "Unauthenticated", "uthentication")):
        return (
            f"The Ray cluster at {address} does not take our token ({said[:LONGEST]}). {ADMISSION}"
        )
    if isinstance(error, ConnectionError) and address:
        # Somebody listens there. Of a wrong token Ray tells its log alone (InvalidAuthToken).
        return (
            f"The Ray cluster at {address} does not take us ({said[:LONGEST]}). {ADMISSION} "
            "Otherwise it is none of Ray's, or of another version."
        )
    return f"No Ray cluster takes us ({said[:LONGEST]}). {REMEDY}"


def _left() -> str:
    """The address of the cluster that was last started on this machine; "" if there is none."""
    try:
        return LEFT.read_text().strip()
    except OSError:
        return ""


def _unheard(address: str) -> str:
    """Why nobody is heard at HOST:PORT; "" if somebody is, or if it is another kind of address."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        return ""
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""
