"""Models of VLMEvalKit's zoo: `vlmevalkit:NAME,SETTING=VALUE,...`, and wrappers of one's own as
`vlmevalkit:MODULE:CLASS,SETTING=VALUE,...`. For what it runs and we do not.

Importing VLMEvalKit turns off the checks of certificates, switches gradients off, seeds torch, and
sets up logging, and its wrappers do whatever they do. So it lives in a process of its own
(`vlmevalkit_child`), which is sent questions and sends back texts, one line of JSON each; nothing
of it is imported here. Pictures travel as files: PNG of the pixels that every engine sees.

A wrapper is handed our question as a message of VLMEvalKit's. What it makes of that is its own:

- Its length bound, sampling, system prompt and finishing touches stay; ours are not told to it.
  They are settings ("max_new_tokens=16"), if the wrapper takes them, and part of the identity.
- It only writes: it ranks no options, holds no reply to a schema, and does not say why one ended.
- A wrapper that says of itself that it looks at the first picture only gets no question with more.
- torch's, numpy's and Python's generators are seeded before each question, so that a wrapper that
  samples says the same in whatever order it is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spare import images
from spare.errors import ModelError, PictureError, excerpt
from spare.harness.models import Options
from spare.harness.models.digests import PROCESSOR_FILES, digest_files, digest_folder, holds_model
from spare.harness.models.listing import hidden, refuse_key
from spare.harness.models.loading import read_lineage
from spare.harness.models.types import INSTEAD_OF_RANKING, Request, Response
from spare.images import Picture
from spare.tasks.types import Reply

KEPT = 16
"""Pictures that stay written down, since questions about one come in a row."""

GRACE = 5.0
"""Seconds that the process may take to end by itself."""

NO_RANKING = f"VLMEvalKit's models only write, so they rank no options; {INSTEAD_OF_RANKING}."

DECIDED = {"adapter": "", "dtype": "auto", "device": "auto", "max_pixels": None, "attention": ""}
DECIDED |= {"batch_tokens": None}
"""Options that the wrapper decides on itself, and their values if nobody chose."""

LOADED = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".ckpt", ".model", ".py", ".jinja"}
LOADED |= {".json", ".yaml", ".yml", ".toml"}
"""Endings of files that a setting may name for a wrapper to load. Other files, such as a log, may
be its output: were they known by their content, the same command would not go on."""

FLAGS = {"max_pixels": "max-pixels", "attention": "attn", "batch_tokens": "batch-tokens"}


def load(name: str, options: Options) -> VlmEvalKit:
    """The model that VLMEvalKit calls so, or the wrapper.

    Raises:
        ModelError: VLMEvalKit is not installed, or cannot load it.
    """
    name, _, rest = name.partition(",")
    if not name:
        raise ModelError(
            "Name a model of VLMEvalKit's, too: vlmevalkit:Qwen2-VL-2B-Instruct, or a wrapper: "
            "vlmevalkit:MODULE:CLASS,SETTING=VALUE."
        )
    for option, default in DECIDED.items():
        if getattr(options, option) != default:
            raise ModelError(
                f"--{FLAGS.get(option, option)} does nothing here, since VLMEvalKit's wrapper "
                f"decides; if it has such a setting, write it behind the name: {name},NAME=VALUE."
            )
    return VlmEvalKit(name, settings_of(rest), options.seed)


def settings_of(rest: str) -> dict[str, Any]:
    """What stands behind the name. Values are JSON if they can be, else texts."""
    settings: dict[str, Any] = {}
    for piece in filter(None, rest.split(",")):
        setting, mark, value = piece.partition("=")
        if not mark:
            raise ModelError(f"{piece!r} is no SETTING=VALUE; a comma parts them.")
        refuse_key(setting)
        try:
            settings[setting] = json.loads(value)
        except ValueError:
            settings[setting] = {"True": True, "False": False, "None": None}.get(value, value)
    return settings


def search_path() -> str:
    """Where VLMEvalKit's process finds what it imports: where we do, and wrappers of one's own also
    in this folder."""
    return os.pathsep.join([*filter(None, sys.path), os.getcwd()])


class VlmEvalKit:
    """A model of VLMEvalKit's, in a process of its own. See `Model` for what the attributes mean.

    Args:
        name: as VLMEvalKit calls it, or MODULE:CLASS.
        settings: given to its wrapper, over those that VLMEvalKit has for it.
        seed: of the generators, before each question.
    """

    identity: Mapping[str, str]
    facts: Mapping[str, str]
    lineage: Mapping[str, Any]

    def __init__(self, name: str, settings: Mapping[str, Any], seed: int) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="spare-vlmevalkit-")
        self._log = Path(self._folder.name) / "log"
        self._shown: dict[str, Path] = {}  # digest -> file, the one used last at the end
        self._asked = 0
        self._heard = 0  # bytes of the log that were about starting
        self._secrets = _secrets()
        self._process = self._start()
        self._end = weakref.finalize(self, _stop, self._process, self._folder)
        hello = {"name": name, "settings": dict(settings), "seed": seed}
        self._send({**hello, "folder": self._folder.name})
        made = self._receive("loading the model")
        if made.get("error"):
            raise ModelError(f"VLMEvalKit cannot load {name}: {made['error']}")
        self._heard = self._log.stat().st_size
        self._interleaves = bool(made["interleaves"])
        self.identity = {
            "engine": "vlmevalkit",
            "wrapper": made["wrapper"],
            "code": made["code"],
            "seed": str(seed),
            **_identity(made["settings"]),
        }
        paths = [Path(one) for one in made["settings"].values() if isinstance(one, str) and one]
        folders = [path for path in paths if holds_model(path)]
        self.lineage = read_lineage(folders[0]) if len(folders) == 1 else {}
        self.facts = {"model": name, **made["versions"]}

    def objection(self, request: Request) -> str:
        """Why no request of this kind can be answered, or ""."""
        if request.rank:
            return NO_RANKING
        if request.schema:
            return "VLMEvalKit holds no reply to a JSON schema."
        return ""

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, in order. Raises ModelError if the process dies."""
        for request in requests:
            yield Response(request.key, self._reply(request))

    def _reply(self, request: Request) -> Reply:
        pictures = [part for part in request.parts if isinstance(part, Picture)]
        error = self.objection(request)
        if len(pictures) > 1 and not self._interleaves:
            error = error or (
                f"VLMEvalKit's wrapper of {self.name} looks at the first picture only, and this "
                "question has more."
            )
        if error:
            return Reply(error=error)
        try:
            message = [self._part(part) for part in request.parts]
        except PictureError as fault:
            return Reply(error=str(fault))
        self._asked += 1
        self._send({"number": self._asked, "message": message})
        words = next((part for part in request.parts if isinstance(part, str)), "")
        reply = self._receive(f"it was asked {excerpt(words, 80)!r}")
        self._forget()
        if reply.get("error"):
            return Reply(error=f"VLMEvalKit's wrapper failed at the question: {reply['error']}")
        return Reply(text=reply["text"])

    # Pictures

    def _part(self, part: str | Picture) -> dict[str, str]:
        if isinstance(part, str):
            return {"type": "text", "value": part}
        return {"type": "image", "value": str(self._file(part))}

    def _file(self, picture: Picture) -> Path:
        """Where a picture's pixels lie. Raises PictureError."""
        digest = images.digest(picture)
        path = self._shown.pop(digest, None)
        if path is None:
            path = Path(self._folder.name) / f"{digest[:32]}.png"
            images.open_picture(picture).save(path, "PNG", compress_level=1)
        self._shown[digest] = path
        return path

    def _forget(self) -> None:
        while len(self._shown) > KEPT:
            self._shown.pop(next(iter(self._shown))).unlink()

    # The process

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "spare.harness.models.vlmevalkit_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": search_path()},
                # Ctrl-C is for us; we end it.
                start_new_session=True,
            )

    def _send(self, line: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, and `_receive` says how
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _receive(self, doing: str) -> dict[str, Any]:
        """The line that answers what was sent last. Raises ModelError if there is none."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found: dict[str, Any] = json.loads(line)
            for name in {"text", "error"} & found.keys():
                found[name] = self._hide(found[name])
            # One that was given up (Ctrl-C) may still be answered.
            if found.get("number", self._asked) == self._asked:
                return found
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ModelError(
            f"VLMEvalKit's process {how} while {doing}. {self._last_words()} "
            "Every reply so far is kept; the same command goes on."
        )

    def _last_words(self) -> str:
        """As a sentence. What it said while it started is noise, once it has started."""
        with self._log.open("rb") as log:
            log.seek(max(self._heard, self._log.stat().st_size - 4096))
            lines = log.read().decode("utf-8", "replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if not said:
            return "It said nothing."
        return f"At last it said: {self._hide(said)[-300:].rstrip('.')}."

    def _hide(self, text: str) -> str:
        """A text without the keys of servers, which wrappers print."""
        for secret in self._secrets:
            text = hidden(text, secret)
        return text


def _secrets() -> list[str]:
    """What may be the key of a server."""
    return [value for name, value in os.environ.items() if name.endswith(("KEY", "TOKEN"))]


def _stop(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    """End the process: it goes when there are no more questions, or it is made to."""
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    folder.cleanup()


def _identity(settings: Mapping[str, Any]) -> dict[str, str]:
    """What could change a reply: folders and files that a model may be loaded from by their
    content, models of the hub by name and revision, all else as it was written."""
    identity = {}
    for name, value in sorted(settings.items()):
        identity[name] = _content(value)
        if revision := _revision(value):
            identity[f"{name} revision"] = revision
    return identity


def _content(value: object) -> str:
    path = Path(value) if isinstance(value, str) and value else None
    if path and holds_model(path):
        return digest_folder(path)
    loaded = path and (path.suffix in LOADED or path.name in PROCESSOR_FILES)
    return digest_files([path]) if path and loaded and path.is_file() else str(value)


def _revision(value: object) -> str:
    """The commit of a model of the hub that lies in its cache, or ""."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if not isinstance(value, str) or value.count("/") != 1 or Path(value).exists():
        return ""
    mark = Path(HF_HUB_CACHE) / f"models--{value.replace('/', '--')}" / "refs" / "main"
    return mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
