"""Public data sets on the Hugging Face hub: list their files, and download one so that it can be
stopped anywhere and goes on where it stopped.

`huggingface_hub` resolves names, addresses and errors. The transfer is ours because its
`snapshot_download` (2.4) begins a file again from its first byte after a stop, waits for the files
under way before it obeys Ctrl-C, and hands out a half-filled folder if the hub cannot be reached.
No token is ever sent: what `spare prepare` fetches is public.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from spare.disk import disk_error
from spare.errors import SpareError
from spare.tasks.types import Source

CHUNK = 2**20
TRIES = 4
"""Connections in a row that may bring nothing before a download is given up."""


class HubError(SpareError):
    """The hub did not give what was asked. Another source may do."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a data set at one commit. `sha256` is that of its content if it is a large file,
    else "" and `blob` is git's id of it."""

    commit: str
    name: str
    size: int
    sha256: str
    blob: str


def list_files(source: Source) -> list[HubFile]:
    """The files of `source.repo` that `source.patterns` want, at the commit that the revision names
    now. Raises HubError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        info = HfApi(token=False).dataset_info(
            source.repo, revision=source.revision, files_metadata=True, timeout=30
        )
    except (HTTPError, ConnectionError) as error:
        # The hub's own errors are both HTTPError (httpx's or httpx2's, whichever it uses) and
        # OSError; being told to stay offline is a ConnectionError.
        raise _hub_error(source, error) from None
    files = [
        HubFile(
            info.sha or source.revision,
            one.rfilename,
            one.size or 0,
            one.lfs.sha256 if one.lfs else "",
            one.blob_id or "",
        )
        for one in info.siblings or []
    ]
    patterns = source.patterns or ("*",)
    wanted = [file for file in files if any(fnmatchcase(file.name, one) for one in patterns)]
    if not wanted:
        raise HubError(
            f"The hub data set {source.repo} has no files like {', '.join(patterns)} at "
            f"revision {source.revision}; its publisher may have renamed them."
        )
    for file in wanted:
        if file.name.startswith("/") or ".." in file.name.split("/") or "\\" in file.name:
            raise HubError(
                f"The hub data set {source.repo} has a file called {file.name!r}, which leads out "
                "of its folder; nothing of it was fetched."
            )
    return wanted


def download(
    source: Source, file: HubFile, path: Path, on_bytes: Callable[[int], None] = lambda done: None
) -> None:
    """Put `file` at `path`, whole and checked, by way of `path`.part, which a later call goes on
    with.

    Args:
        on_bytes: receives how many bytes are there.

    Raises:
        HubError: the hub cannot be reached, or sends something else; what arrived is kept, unless
            it is wrong.
        SpareError: the disk is full, or the like.
    """
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        failures = 0
        while (before := part.stat().st_size) != file.size:
            if before > file.size:
                part.unlink()
                part.touch()
                continue
            problem: Exception | None = None
            try:
                _receive(source, file, part, on_bytes)
            except (HTTPError, ConnectionError) as error:
                problem = error
            failures = 0 if part.stat().st_size > before else failures + 1
            if failures and (failures == TRIES or not _is_passing(problem)):
                raise _hub_error(source, problem)
            time.sleep(0.5 * failures)
        if not is_same(part, file):
            part.unlink()
            raise HubError(
                f"{file.name} of the hub data set {source.repo} arrived damaged and was thrown "
                "away; run the same command again."
            )
        part.replace(path)
    except OSError as error:
        raise disk_error(part, error) from None


def _receive(source: Source, file: HubFile, part: Path, on_bytes: Callable[[int], None]) -> None:
    """Append what is missing of `part`, as far as one connection brings it."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(source.repo, file.name, repo_type="dataset", revision=file.commit)
    have = part.stat().st_size
    # Without "identity" a small text file may come compressed, and a range of that is no use.
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=headers, timeout=60) as response:
        hf_raise_for_status(response)
        goes_on = response.status_code == 206  # a server may answer 200 with the whole file
        with part.open("ab" if goes_on else "wb") as stream:
            # As it comes: pieces of a fixed size would be lost when the line breaks.
            for chunk in response.iter_raw():
                stream.write(chunk)
                on_bytes(stream.tell())


def is_same(path: Path, file: HubFile) -> bool:
    """Whether the file at `path` has the published content."""
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as stream:
        if file.sha256:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
        # Git's id of a blob: SHA-1 of a header and the content.
        blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        while chunk := stream.read(CHUNK):
            blob.update(chunk)
    return blob.hexdigest() == file.blob


def _is_passing(problem: Exception | None) -> bool:
    """Whether trying again may help: the line broke, or the hub is busy."""
    response = getattr(problem, "response", None)
    return response is None or response.status_code in (408, 429) or response.status_code >= 500


def _hub_error(source: Source, problem: Exception | None) -> HubError:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = f"https://huggingface.co/datasets/{source.repo}"
    what = f"The hub data set {source.repo}"
    if isinstance(problem, OfflineModeIsEnabled):
        return HubError(
            f"{what} cannot be fetched because HF_HUB_OFFLINE is set; unset it, or put its files "
            f"into {source.folder} under the data folder by hand."
        )
    if isinstance(problem, GatedRepoError):
        return HubError(
            f"{what} wants its terms agreed to and cannot be fetched without an account: open "
            f"{place}, agree, and put its files into {source.folder} under the data folder."
        )
    if isinstance(problem, RevisionNotFoundError):
        return HubError(f"{what} has no revision {source.revision} any more; see {place}.")
    if isinstance(problem, RepositoryNotFoundError):
        return HubError(
            f"{what} is not public, or there is none of that name any more; see {place}."
        )
    if isinstance(problem, HfHubHTTPError):
        return HubError(
            f"{what} cannot be fetched: the hub answers {problem.response.status_code}; run the "
            "same command again later, it goes on where it stopped."
        )
    return HubError(
        f"{what} cannot be fetched: the hub cannot be reached or the connection broke"
        f"{f' ({problem})' if str(problem or '') else ''}; run the same command again when there "
        "is a network, it goes on where it stopped."
    )
