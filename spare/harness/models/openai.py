"""The engine `openai`: any server that speaks OpenAI's chat protocol (vllm serve, SGLang, LMDeploy,
Ollama, llama.cpp, the vendors).

    spare eval --model openai:Qwen/Qwen2-VL-2B-Instruct --base-url http://localhost:8000/v1 ...

The key is read from OPENAI_API_KEY and goes nowhere but to the server. Replies are asked for as
greedy as the protocol allows. What weights a server runs cannot be checked; its name for them can,
in its list of models and in every reply.

A bounded number of requests are in flight at any time (`inflight`). What may pass (429, 5xx,
time-outs, closed connections, bodies that are cut or no reply) is tried again, later and later;
what will not pass is an error at once. The official client would try again, too, but not for a bad
body, and not where it is told to wait for days; so its own retries are off.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import importlib.util
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spare.errors import ModelError, PictureError, install
from spare.harness.models import Options, chat
from spare.harness.models.inflight import in_flight
from spare.harness.models.listing import (
    Listing,
    address_of,
    hidden,
    key_of,
    read_listing,
    words_of,
)
from spare.harness.models.prompts import scale
from spare.harness.models.types import Request, Response
from spare.images import Picture, digest, open_picture
from spare.tasks.types import Reply

if TYPE_CHECKING:
    import openai

MISSING = (
    f"The engine openai needs the package openai, which is not installed: run {install('openai')}."
)

TIMEOUT = 600.0
"""Seconds for one try, from its first byte to the last."""

TRIES = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second try, about; and at most before any, whatever the server asks for."""

IN_A_ROW = 64
"""So many questions that fail one after another, with no reply in between, end the run."""

KEPT = 8
"""Pictures that are kept as sent, since questions about one come in a row."""

TRANSIENT = (408, 409, 425, 429)


def load(name: str, options: Options) -> Served:
    """The model that a server calls `name`.

    Raises:
        ModelError: no server answers, it refuses the key, or it does not serve the model; or an
            option makes no sense for it.
    """
    if importlib.util.find_spec("openai") is None:
        raise ModelError(MISSING)
    if not name:
        raise ModelError("Name the model as its server does, behind `openai:`.")
    if options.adapter:
        raise ModelError("A server applies adapters itself; leave out --adapter and name its own.")
    address = address_of(options.base_url)
    key = key_of(address)
    listing = read_listing(name, address, key)
    return Served(
        name,
        address,
        key,
        listing,
        concurrency=options.concurrency,
        max_pixels=options.max_pixels,
    )


class _Passing(Exception):
    """A try failed for a reason that may pass. `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Stranger(_Passing):
    """Another model has answered: a router may fall back on one while it is busy."""


class _Refused(Exception):
    """The server will not answer this request, and says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Served:
    """A model behind a server. See `Model` for what the attributes mean.

    Args:
        name: as asked for; address: base URL; key: sent to it.
        listing: what the server says about the model.
        concurrency: most requests in flight.
        max_pixels: pictures with more pixels are scaled down to this many, if set.
        timeout, tries, first_wait, longest_wait, in_a_row: see the constants.
    """

    identity: Mapping[str, str]
    facts: Mapping[str, str]

    def __init__(
        self,
        name: str,
        address: str,
        key: str,
        listing: Listing,
        *,
        concurrency: int = 16,
        max_pixels: int | None = None,
        timeout: float = TIMEOUT,
        tries: int = TRIES,
        first_wait: float = FIRST_WAIT,
        longest_wait: float = LONGEST_WAIT,
        in_a_row: int = IN_A_ROW,
    ) -> None:
        self._name, self._address, self._key, self._listing = name, address, key, listing
        self._concurrency, self._max_pixels = concurrency, max_pixels
        self._timeout, self._tries = timeout, tries
        self._first_wait, self._longest_wait = first_wait, longest_wait
        self._in_a_row = in_a_row
        self._dialect = chat.Dialect()
        self._answered = False  # has this server ever given a reply?
        self._failed = self._repeated = 0  # questions in a row: tried in vain; refused alike
        self._refusal = ""
        self._shown = functools.lru_cache(maxsize=KEPT)(self._encode)
        greedy = "temperature 0, seed 0, as far as the server takes them"
        self.identity = {
            "engine": "openai",
            "model": name,
            **listing.weights,
            "max pixels": str(max_pixels or "as they are"),
            "decoding": ", ".join(
                [greedy, *(f"{name} {value:g}" for name, value in listing.extra.items())]
            ),
        }
        self.facts = {
            "server": address,
            **listing.facts,
            "concurrency": str(concurrency),
            "openai": importlib.metadata.version("openai"),
        }

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, as they come. What reading the requests raises is raised here,
        when what was under way has been answered.

        Raises:
            ModelError: the server refuses the key, does not know the model, answers for another
                one, or has failed so often in a row that it must be down.
        """
        return in_flight(iter(requests), self._connect, self._respond, self._concurrency)

    def _connect(self) -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._address,
            max_retries=0,
            timeout=openai.Timeout(self._timeout, connect=min(10.0, self._timeout)),
        )

    async def _respond(
        self, client: openai.AsyncOpenAI, request: Request, ended: asyncio.Event
    ) -> Response | None:
        reply = await self._reply(client, request, ended)
        return None if reply is None else Response(request.key, reply)

    async def _reply(
        self, client: openai.AsyncOpenAI, request: Request, ended: asyncio.Event
    ) -> Reply | None:
        """The reply to a request; None if the run has ended before there was one."""
        error = _unaskable(request) or chat.unrankable(request)
        if error:
            return Reply(error=error)
        try:
            content = await self._content(request)
        except PictureError as fault:
            return Reply(error=str(fault))
        tries = 0
        while True:
            dialect = self._dialect
            tries += 1
            try:
                reply = await self._ask(client, request, content, dialect)
            except _Refused as refused:
                adapted = dialect.without(request, str(refused))
                if self._dialect == dialect:
                    self._speak(adapted)
                if self._dialect != dialect:  # a refusal costs nothing, so it is no try
                    tries -= 1
                    continue
                return self._note_refusal(request, refused)
            except _Passing as passing:
                if tries >= self._tries:
                    if isinstance(passing, _Stranger):  # these tries are paid for
                        raise ModelError(
                            f"{self._address} was asked for {self._name} {tries} times in a row, "
                            f"and {passing}. Every reply so far is kept; run the same command when "
                            "it answers for the right one."
                        ) from None
                    return self._note_failure(passing)
                wait = self._wait(tries, passing.wait)
                if ended.is_set():
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), wait)
                    return None
                continue
            if reply.error:
                return self._note_refusal(request, _Refused(200, reply.error))
            self._answered = True
            self._failed = self._repeated = 0
            return reply

    async def _ask(
        self, client: openai.AsyncOpenAI, request: Request, content: Any, dialect: chat.Dialect
    ) -> Reply:
        """One try."""
        import openai

        asked = chat.body(self._name, request, content, dialect, self._listing.extra)
        try:
            async with asyncio.timeout(self._timeout):
                raw = await client.chat.completions.with_raw_response.create(**asked)
            found = chat.parse(raw.content)
        except (openai.APITimeoutError, TimeoutError):
            raise _Passing(f"it did not answer within {self._timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise _Passing(f"the connection failed ({self._clean(words_of(error))})") from None
        except chat.GarbledError as error:
            raise _Passing(f"it sent {self._clean(str(error))}") from None
        except openai.APIStatusError as error:
            raise self._judged(error) from None
        self._check_name(found.get("model"))
        reply = chat.reply_of(found, request, dialect)
        # A server that repeats our key must not get it into a file.
        return replace(
            reply, text=hidden(reply.text, self._key), error=hidden(reply.error, self._key)
        )

    def _speak(self, dialect: chat.Dialect) -> None:
        if "temperature" in dialect.dropped - self._dialect.dropped:
            warnings.warn(
                f"{self._address} takes no temperature, so replies are not greedy.", stacklevel=2
            )
        self._dialect = dialect

    def _judged(self, error: openai.APIStatusError) -> _Passing | _Refused | ModelError:
        """What an HTTP error means: for this try, for this request, or for the run."""
        said = self._clean(words_of(error))
        status = error.status_code
        if status == 401 or (status in (403, 404) and not self._answered):
            what = "the model" if status == 404 else "the key"
            remedy = (
                "--base-url usually ends in /v1, and openai:MODEL is the server's own name."
                if status == 404
                else "The environment variable OPENAI_API_KEY holds the key."
            )
            return ModelError(f"{self._address} refuses {what}: {said}. {remedy}")
        if error.code == "insufficient_quota":
            return ModelError(
                f"{self._address} answers no more, since the quota is used up: {said}."
            )
        if status in TRANSIENT or status >= 500:
            return _Passing(f"it answered {said}", _asked_wait(error.response.headers))
        return _Refused(status, said)

    def _check_name(self, said: object) -> None:
        """Raises ModelError if the server answers for another model; once it has answered for the
        right one, that passes (routers fall back on others when they are busy)."""
        if not isinstance(said, str) or not said or self._listing.is_name(self._name, said):
            return
        said = self._clean(said)
        if self._answered:
            raise _Stranger(f"it answered for another model, {said}")
        raise ModelError(
            f"{self._address} was asked for {self._name} and answers for {said}. Name the model "
            f"that is meant; it may be openai:{said}."
        )

    def _note_failure(self, passing: _Passing) -> Reply:
        self._failed += 1
        error = f"The server failed {self._tries} times, at last so: {passing}."
        if self._failed >= self._in_a_row:
            raise ModelError(
                f"{self._address} has failed at {self._failed} questions in a row, at last so: "
                f"{passing}. Every reply so far is kept; run the same command when it is well."
            )
        return Reply(error=error)

    def _note_refusal(self, request: Request, refused: _Refused) -> Reply:
        """An error; or the end, if the server says just this to everything."""
        self._failed = 0
        error = str(refused)
        if refused.status != 200:
            error = f"The server refuses the question: {refused}."
            if request.rank and "logprobs" in error:
                error = f"{chat.NO_LIKELIHOODS} It says: {refused}."
        self._repeated = self._repeated + 1 if error == self._refusal else 1
        self._refusal = error
        if self._repeated >= self._in_a_row:
            raise ModelError(
                f"{self._address} gave {self._repeated} questions in a row the same error: {error}"
            )
        return Reply(error=error)

    def _wait(self, tries: int, asked: float) -> float:
        """Seconds until the next try. Not earlier than the server asks for, within reason; and not
        all requests at once."""
        own = self._first_wait * 2.0 ** (tries - 1) * random.uniform(0.5, 1.0)
        wait = min(max(own, asked), self._longest_wait)
        return wait + random.uniform(0.0, self._first_wait)

    def _clean(self, text: str) -> str:
        return hidden(text, self._key).rstrip(". ")

    # Pictures

    async def _content(self, request: Request) -> list[dict[str, Any]]:
        """The user's turn as the protocol has it. Raises PictureError."""
        content: list[dict[str, Any]] = []
        for part in request.parts:
            if isinstance(part, Picture):
                url = await asyncio.to_thread(self._url, part)
                content.append({"type": "image_url", "image_url": {"url": url}})
            else:
                content.append({"type": "text", "text": part})
        return content

    def _url(self, picture: Picture) -> str:
        return self._shown(picture, digest(picture))

    def _encode(self, picture: Picture, _: str) -> str:
        """A picture as a data URL: the pixels that every engine sees, upright, as PNG. The file's
        own bytes would be turned, converted and coloured by whatever the server opens them with,
        and may tell where a photograph was taken."""
        import base64
        import io

        image = open_picture(picture)
        if self._max_pixels:
            image = scale(image, self._max_pixels)
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=1)
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _unaskable(request: Request) -> str:
    """Why a request cannot be written as JSON, or ""."""
    texts = [part for part in request.parts if isinstance(part, str)]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return "The question holds half a character (a lone surrogate); change the data."
    return ""


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait; 0 if it does not."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util.retry import Retry

    try:
        wait = Retry().parse_retry_after(headers.get("retry-after", ""))
    except InvalidHeader:
        return 0.0
    return float(wait)
