"""Working ahead keeps order and bounds; windows bring together what belongs together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.harness.models.ahead import work_ahead
from spare.harness.models.types import Request
from spare.harness.models.windows import LARGEST, Group, pixels, read_groups
from spare.images import Picture


@given(
    weights=st.lists(st.integers(1, 5), max_size=300),
    limit=st.integers(1, 12),
    threads=st.integers(1, 4),
)
def test_results_come_whole_and_in_order(weights: list[int], limit: int, threads: int) -> None:
    results = work_ahead(enumerate(weights), lambda item: item, lambda r: r[1], limit, threads)
    assert list(results) == list(enumerate(weights))


def test_no_more_is_done_ahead_than_the_limit_allows() -> None:
    """One result may be begun per thread while the limit is not reached, so it is passed by no more
    than their weights."""
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    with contextlib.closing(work_ahead(iter(range(1000)), work, lambda r: 10, 50, 3)) as results:
        for taken in range(20):
            assert next(results) == taken
            time.sleep(0.01)  # time to run away, if they would
            assert len(begun) <= taken + 1 + 5 + 3


def test_a_result_heavier_than_the_limit_still_comes() -> None:
    assert list(work_ahead(iter(range(50)), lambda item: item, lambda r: 99, 1, 4)) == [*range(50)]


def test_work_goes_on_while_the_caller_is_busy() -> None:
    done = threading.Semaphore(0)

    def work(item: int) -> int:
        done.release()
        return item

    with contextlib.closing(work_ahead(iter(range(10)), work, lambda r: 1, 100, 1)) as results:
        next(results)
        for _ in range(10):  # all of it, and the caller has asked for one
            assert done.acquire(timeout=5)


def test_what_work_raises_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        return 10 // (3 - item)

    results = work_ahead(iter(range(9)), work, lambda r: 1, 100, 2)
    assert [next(results), next(results), next(results)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def grouped(requests: list[Request]) -> list[Group]:
    windows = read_groups(requests, lambda request: len(str(request.parts[-1])), threading.Event())
    return [group for window in windows for group in window]


def keys(groups: list[Group]) -> list[set[str]]:
    return [{request.key for request in group.requests} for group in groups]


def test_questions_about_one_picture_come_together(pictures: list[Picture]) -> None:
    one, two = pictures[:2]
    groups = grouped(
        [
            Request("a", (one, "x")),
            Request("b", (two, "xx")),
            Request("c", ("no picture",)),
            Request("d", (one, "xxx")),
            Request("e", ("no picture",)),
            Request("f", ("first", one, "x")),
            Request("g", (one, two, "x")),
            Request("h", (one, "x"), max_new_tokens=5),
            Request("i", (one, "x"), {"A": "y"}, rank=True),
            Request("j", (one, "x"), {"A": "z", "B": "y"}, rank=True, max_new_tokens=5),
        ]
    )
    # Nothing is shared where other words precede the picture, or the reply is of another kind.
    together = [{"a", "d"}, {"b"}, {"c"}, {"e"}, {"f"}, {"g"}, {"h"}, {"i", "j"}]
    assert sorted(keys(groups), key=min) == together


def test_a_text_cannot_pass_for_a_picture(pictures: list[Picture]) -> None:
    from spare.images import digest

    fake = f"picture {digest(pictures[0])}"
    groups = grouped([Request("a", (fake, pictures[1])), Request("b", (pictures[0], pictures[1]))])
    assert len(groups) == 2


def test_what_cannot_be_read_is_on_its_own(pictures: list[Picture], tmp_path: Path) -> None:
    gone = Picture(tmp_path / "gone.png", "gone.png")
    groups = grouped([Request("a", (pictures[0], "x")), Request("b", (gone, "x"))])
    assert {group.error for group in groups if group.requests[0].key == "a"} == {""}
    assert "gone.png" in next(group.error for group in groups if group.requests[0].key == "b")


@given(st.lists(st.tuples(st.integers(0, 3), st.text("ab", max_size=3)), max_size=400))
def test_every_request_is_in_one_group(asked: list[tuple[int, str]]) -> None:
    requests = [
        Request(str(number), (text,) * count, max_new_tokens=1 + count % 2)
        for number, (count, text) in enumerate(asked)
    ]
    groups = grouped([request for request in requests if request.parts])
    found = [request.key for group in groups for request in group.requests]
    assert sorted(found) == sorted(request.key for request in requests if request.parts)
    for group in groups:
        assert 1 <= len(group.requests) <= LARGEST
        assert len({request.max_new_tokens for request in group.requests}) == 1


def test_neighbours_are_of_like_length() -> None:
    lengths = [
        len(str(g.requests[0].parts[0]))
        for g in grouped([Request(str(n), ("x" * (n * 37 % 50),)) for n in range(60)])
    ]
    assert lengths == sorted(lengths)


def test_the_first_window_is_small() -> None:
    """So that the first replies come soon, however many requests follow."""
    read: list[int] = []

    def requests() -> Iterator[Request]:
        for number in range(10_000):
            read.append(number)
            yield Request(str(number), ("x",))

    windows = read_groups(requests(), lambda request: 1, threading.Event())
    next(windows)
    assert len(read) <= 64


def test_reading_ends_when_told() -> None:
    closed = threading.Event()
    windows = read_groups(
        (Request(str(number), ("x",)) for number in range(10**9)), lambda request: 1, closed
    )
    next(windows)
    closed.set()
    assert list(windows) == []


def test_pixels(pictures: list[Picture], tmp_path: Path) -> None:
    assert pixels(pictures[0]) == 112 * 84
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"\x89PNG\r\n\x1a\n nonsense")
    assert pixels(Picture(torn, "torn")) == 0
    assert pixels(Picture(tmp_path / "gone", "gone")) == 0
