"""One picture from an address in a data set, got from a server that may be broken or hostile."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

from spare.generation.addresses import RefusedError, Resolve, Target, resolve, target

if TYPE_CHECKING:
    import urllib3

HOPS = 5
CHUNK = 65_536
LONGEST_WAIT = 60.0
"""Seconds that a server may make us wait; one that wants more is asked another day."""

HEADERS = {
    "User-Agent": "spare (training data from captions; asks for each picture once)",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}
UNWANTED = frozenset(("noai", "noimageai", "noindex", "noimageindex"))
"""What a server says in X-Robots-Tag of pictures that are not for this."""

REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may take.

    Attributes:
        size: bytes. connect, idle, total: seconds to connect, between two packets, and in all.
        tries: how often it is asked for. private: hosts that may be in a private network.
    """

    size: int = 30_000_000
    connect: float = 10.0
    idle: float = 15.0
    total: float = 60.0
    tries: int = 3
    private: frozenset[str] = frozenset()


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        status: "ok"; "transient" (may be had another day); "gone", "refused", "broken" (never).
        code: of HTTP; 0 if there was no answer.
        error: why it is not "ok", a sentence.
        wait: seconds that the server wants to be left alone; 0 if it does not say.
    """

    status: str
    data: bytes = b""
    code: int = 0
    error: str = ""
    wait: float = 0.0


def fetch(url: str, limits: Limits, look_up: Resolve = resolve) -> tuple[Outcome, int]:
    """The bytes at an address, and how many tries it took. What may pass is tried again."""
    outcome = Outcome("transient", error="It was not tried.")
    for attempt in range(1, limits.tries + 1):
        outcome = _try(url, limits, look_up)
        if outcome.status != "transient" or outcome.wait > LONGEST_WAIT:
            return outcome, attempt
        if attempt < limits.tries:
            pause = outcome.wait or 0.5 * 2**attempt
            time.sleep(min(LONGEST_WAIT, pause * random.uniform(0.75, 1.25)))
    return outcome, limits.tries


def _try(url: str, limits: Limits, look_up: Resolve) -> Outcome:
    """One try: every hop is looked at before it is taken."""
    import urllib3

    deadline = time.monotonic() + limits.total
    for _ in range(HOPS + 1):
        try:
            place = target(url, private=limits.private, look_up=look_up)
        except RefusedError as error:
            return Outcome("refused", error=str(error))
        except (OSError, UnicodeError) as error:
            return Outcome("transient", error=f"Its host cannot be found ({error}).")
        try:
            with _pool(place, limits, deadline) as pool:
                answer = pool.request(
                    "GET",
                    place.path,
                    headers={**HEADERS, "Host": _host(place)},
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    decode_content=False,
                )
                location = answer.headers.get("Location", "")
                if answer.status in REDIRECTS and location:
                    url = urljoin(url, location)
                    continue
                return _read(answer, limits, deadline)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return Outcome("transient", error=f"The server broke off ({type(error).__name__}).")
    return Outcome("gone", error=f"It leads on and on, after {HOPS} redirects.")


def _pool(place: Target, limits: Limits, deadline: float) -> urllib3.HTTPConnectionPool:
    """A connection to the address that was looked at, and to no other."""
    import urllib3

    timeout = urllib3.Timeout(
        connect=limits.connect, read=max(0.1, min(limits.idle, deadline - time.monotonic()))
    )
    common: dict[str, Any] = {"port": place.port, "timeout": timeout, "maxsize": 1}
    if place.scheme == "http":
        return urllib3.HTTPConnectionPool(place.address, **common)
    # The certificate must be the name's, though the connection is to its address.
    names: dict[str, Any] = {"server_hostname": place.host, "assert_hostname": place.host}
    return urllib3.HTTPSConnectionPool(place.address, **common, **names)


def _host(place: Target) -> str:
    from spare.generation.addresses import PORTS

    name = f"[{place.host}]" if ":" in place.host else place.host
    return name if place.port == PORTS[place.scheme] else f"{name}:{place.port}"


def _read(answer: Any, limits: Limits, deadline: float) -> Outcome:
    code = int(answer.status)
    if code == 429 or code >= 500:
        wait = _wait(answer.headers)
        later = f"; it asks for {wait:,.0f} seconds" if wait else ""
        return Outcome(
            "transient", code=code, error=f"The server answers {code}{later}.", wait=wait
        )
    if code != 200:
        if 200 <= code < 300:
            return Outcome(
                "broken", code=code, error=f"The server answers {code}, with no picture."
            )
        return Outcome("gone", code=code, error=f"The server answers {code}.")
    tags = answer.headers.get("X-Robots-Tag", "").lower()
    if UNWANTED.intersection(word.strip(" :") for part in tags.split(",") for word in part.split()):
        return Outcome("refused", code=code, error=f"Its owner does not want this ({tags}).")
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity"):
        return Outcome("broken", code=code, error=f"It comes packed ({encoding}), unasked.")
    parts, size = [], 0
    # Packet by packet: a server that drips must not hide behind a buffer.
    while part := answer.read1(CHUNK):
        size += len(part)
        if size > limits.size:
            return Outcome("broken", code=code, error=f"It has more than {limits.size:,} bytes.")
        if time.monotonic() > deadline:
            return Outcome("transient", code=code, error=f"It takes over {limits.total:.0f} s.")
        parts.append(part)
    if not size:
        return Outcome("broken", code=code, error="It is empty.")
    return Outcome("ok", b"".join(parts), code)


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds that Retry-After asks for, as a number or as a date; 0 if it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
