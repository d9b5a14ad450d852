"""Looking ahead over a bounded window of requests: questions about one picture come together, and
neighbours are of like length.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from spare.errors import PictureError
from spare.harness.models.types import Request
from spare.images import FORMATS, Picture, digest

WINDOW = 1024
"""Most requests that are held back to find those that share a picture."""

LARGEST = 16
"""Most requests in a group, so that a queue of groups is bounded; beyond, sharing gains little."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Requests that see the same pictures after the same words, or begin with the same words, and
    may be answered together.

    Attributes:
        requests: one to `LARGEST`; all rank or all write, and write with the same bound.
        error: why none of them can be answered (their picture cannot be read), or "".
    """

    requests: tuple[Request, ...]
    error: str = ""


def read_groups(
    requests: Iterable[Request], length: Callable[[Request], float], closed: threading.Event
) -> Iterator[list[Group]]:
    """The groups of one window after another; ends early when `closed` is set.

    Windows grow from a few requests to `WINDOW`, so that the first replies come soon.

    Args:
        length: about how long a request is, in tokens; groups of like length become neighbours.
    """
    iterator = iter(requests)
    size = 64
    while not closed.is_set():
        window = list(_until_closed(islice(iterator, size), closed))
        if not window:
            return
        yield _group(window, length, closed)
        size = min(4 * size, WINDOW)


def _until_closed(requests: Iterator[Request], closed: threading.Event) -> Iterator[Request]:
    for request in requests:
        yield request
        if closed.is_set():
            return


def _group(
    window: list[Request], length: Callable[[Request], float], closed: threading.Event
) -> list[Group]:
    found: dict[object, list[Request]] = {}
    faulty: list[Group] = []
    for number, request in enumerate(_until_closed(iter(window), closed)):
        try:
            seen = _seen(request)
        except PictureError as error:
            faulty.append(Group((request,), str(error)))
            continue
        # A text in one part shares nothing with others.
        key = (_kind(request), seen or number)
        found.setdefault(key, []).append(request)
    groups = [
        Group(tuple(requests[start : start + LARGEST]))
        for requests in found.values()
        for start in range(0, len(requests), LARGEST)
    ]
    groups.sort(
        key=lambda group: (
            _kind(group.requests[0]),
            len(group.requests) > 1,
            length(group.requests[0]),
        )
    )
    return faulty + groups


def _kind(request: Request) -> tuple[bool, int, str]:
    """Requests of different kinds are never answered in one batch."""
    return request.rank, 0 if request.rank else request.max_new_tokens, request.schema


def _seen(request: Request) -> tuple[str, ...]:
    """The parts up to the last picture, pictures by the digest of their bytes; of a text, all parts
    but the last. Empty if there are none. Raises PictureError if one cannot be read."""
    pictures = [i for i, part in enumerate(request.parts) if isinstance(part, Picture)]
    last = pictures[-1] if pictures else len(request.parts) - 2
    return tuple(
        # The mark keeps a picture apart from a text that spells out its digest.
        f"picture {digest(part)}" if isinstance(part, Picture) else f"text {part}"
        for part in request.parts[: last + 1]
    )


def pixels(picture: Picture) -> int:
    """Pixels that a picture's header claims; 0 if it cannot be read."""
    import PIL.Image

    try:
        source = picture.path if picture.cell is None else io.BytesIO(picture.read())
        with PIL.Image.open(source, formats=[name.upper() for name in FORMATS]) as image:
            return image.width * image.height
    except (PictureError, OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return 0  # opening it in earnest will say what is wrong
