"""OpenAI's chat protocol: what a server is sent, and what its bodies come to. No network here.

Servers take different parts of it. A `Dialect` is what one has shown to take: it begins with what
this project wants to say, and every refusal that names a field takes that field away.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from spare.harness.models.decoding import NOT_A_NUMBER
from spare.harness.models.types import INSTEAD_OF_RANKING, Request
from spare.tasks.types import Likelihood, Reply

NO_LIKELIHOODS = (
    "The server does not say how likely the first token of a reply was (logprobs), so options "
    f"cannot be ranked; {INSTEAD_OF_RANKING}."
)
NOT_WORDS = (
    "A server tells how likely the first token of a reply is, and these options are not single "
    f"words that it could tell apart; {INSTEAD_OF_RANKING}."
)
UNHEARD = (
    "None of the options is among the likeliest first tokens that the server names; "
    f"{INSTEAD_OF_RANKING}."
)
SHORTEST_TOP = 5
"""Some servers name no more tokens than this."""

LONGEST_MESSAGE = 300
"""Characters of a server's own message that are shown."""

_TOO_LONG = re.compile(r"context|too long|too large|reduce the length")
_NOT_TAKEN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|extra_"
)
_SPARE_KEYWORDS = ("minItems", "maxItems", "minLength", "maxLength", "pattern", "uniqueItems")
"""Of JSON schema; what OpenAI's strict mode does not or not always take."""


_FINISHES: Mapping[Any, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


class GarbledError(Exception):
    """A body that is no reply. Asking again may help. The message names what came instead."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server takes, as far as it has shown.

    Attributes:
        bound: the field that bounds a reply.
        dropped: fields that it refused.
        top: how many of the likeliest tokens it is asked to name.
        wraps: schemas are put into an object and lose their bounds, as OpenAI's strict mode wants
            it.
    """

    bound: str = "max_tokens"
    dropped: frozenset[str] = frozenset()
    top: int = 20
    wraps: bool = False

    def without(self, request: Request, refusal: str) -> Dialect:
        """The dialect without what a refusal of a request names; itself if nothing helps.

        A prompt that is too long is no matter of fields, although such messages name max_tokens.
        """
        said = refusal.lower()
        if request.rank and "logprobs" in said:
            return replace(self, top=min(self.top, SHORTEST_TOP))
        if _TOO_LONG.search(said):
            return self
        if request.schema and ("schema" in said or "response_format" in said):
            return replace(self, wraps=True)
        if not _NOT_TAKEN.search(said):
            return self
        if "max_completion_tokens" in said:
            return replace(self, bound="max_completion_tokens")
        for name in ("temperature", "seed", "repetition_penalty", "n"):
            if re.search(rf"['\"`]{name}['\"`]" if name == "n" else rf"\b{name}\b", said):
                return replace(self, dropped=self.dropped | {name})
        return self


def body(
    model: str, request: Request, content: Any, dialect: Dialect, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """What is posted for a request.

    Args:
        content: of the user's turn, as the protocol has it.
        extra: fields that are not the protocol's, where the server is known to take them.
    """
    asked: dict[str, Any] = {"temperature": 0, "seed": 0, "n": 1}
    asked |= {"extra_body": {name: extra[name] for name in extra if name not in dialect.dropped}}
    asked = {name: value for name, value in asked.items() if name not in dialect.dropped}
    asked |= {"model": model, "messages": [{"role": "user", "content": content}]}
    if request.rank:
        return asked | {dialect.bound: 1, "logprobs": True, "top_logprobs": dialect.top}
    asked[dialect.bound] = request.max_new_tokens
    if request.schema:
        schema = json.loads(request.schema)
        if dialect.wraps:
            schema = _wrapped(schema)
        shape = {"name": "reply", "strict": True, "schema": schema}
        asked["response_format"] = {"type": "json_schema", "json_schema": shape}
    return asked


def _wrapped(schema: Any) -> Any:
    schema = _loosened(schema)
    if schema.get("type") == "object":
        return schema
    return {
        "type": "object",
        "properties": {"pairs": schema},
        "required": ["pairs"],
        "additionalProperties": False,
    }


def _loosened(schema: Any) -> Any:
    """A schema without its bounds. Names of properties are no keywords, whatever they are."""
    if isinstance(schema, list):
        return [_loosened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: _loosened(one) for key, one in value.items()}
        if name == "properties"
        else _loosened(value)
        for name, value in schema.items()
        if name not in _SPARE_KEYWORDS
    }


def unrankable(request: Request) -> str:
    """Why the first token cannot rank a request's options, or ""."""
    if not request.rank:
        return ""
    texts = [text.strip() for text in request.options.values()]
    if not texts or "" in texts:
        return "The options cannot be ranked: there are none, or one is empty."
    single = all(len(text.split()) == 1 for text in texts)
    distinct = len({text if len(text) == 1 else text.casefold() for text in texts}) == len(texts)
    return "" if single and distinct else NOT_WORDS


# Replies


def parse(data: bytes) -> dict[str, Any]:
    """The body of a reply, which has a choice with a message in it. Raises GarbledError."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise GarbledError("what is no whole JSON") from None
    if not isinstance(found, dict):
        raise GarbledError("JSON that is no reply")
    if found.get("error"):  # routers pass on the errors of others with status 200
        raise GarbledError(f"an error: {message_of(found)}")
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise GarbledError("JSON without a reply in it")
    return found


def reply_of(found: Mapping[str, Any], request: Request, dialect: Dialect) -> Reply:
    """What a parsed body says to a request. Token counts are 0 where the server names none."""
    choice = found["choices"][0]
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    read, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if request.rank:
        likelihoods = _ranked(choice.get("logprobs"), request.options)
        if isinstance(likelihoods, str):
            return Reply(error=likelihoods)
        return Reply(likelihoods=likelihoods, input_tokens=read, output_tokens=written)
    ended = str(choice.get("finish_reason"))
    if ended == "content_filter":
        return Reply(error="The server's content filter withheld the reply.")
    text = _text(choice["message"])
    if request.schema and dialect.wraps:
        text = _unwrapped(text)
    return Reply(
        text=text, finish=_FINISHES.get(ended, ""), input_tokens=read, output_tokens=written
    )


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0  # True is no number of tokens


def _text(message: Mapping[str, Any]) -> str:
    """What a message says. A refusal is said, too; thoughts are not."""
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # some models answer in parts
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _unwrapped(text: str) -> str:
    """The list in the object that `_wrapped` asks for; a text that was cut off stays as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict) and set(found) == {"pairs"}:
        return json.dumps(found["pairs"], ensure_ascii=False)
    return text


def _ranked(logprobs: Any, options: Mapping[str, str]) -> dict[str, Likelihood] | str:
    """Likelihood of each option's first token, or why there is none.

    Counted for an option are all first tokens that begin its text and no other's ("Y" of "Yes"),
    or that hold its text and something that ends a word ("Yes."), with blanks in front or without,
    and of options of more than one letter in any case (" yes", "YES"). Their probabilities are
    added up. An option that no token begins is less likely than the least likely token that the
    server named; it is taken for half as likely as that one, which is a bound and no likelihood.
    """
    tokens = _first_tokens(logprobs)
    if not tokens:
        return NO_LIKELIHOODS
    if any(math.isnan(value) for _, value in tokens):
        return NOT_A_NUMBER
    found: dict[str, list[float]] = {label: [] for label in options}
    undecided = -math.inf
    for token, value in tokens:
        begun = [label for label, text in options.items() if _begins(token, text)]
        if len(begun) == 1:
            found[begun[0]].append(value)
        elif begun:
            undecided = max(undecided, value)
    sums = {label: _log_sum(values) for label, values in found.items() if values}
    if not sums:
        return UNHEARD
    if undecided > max(sums.values()):
        return NOT_WORDS
    bound = min(value for _, value in tokens) - math.log(2)
    return {
        label: Likelihood(sums.get(label, bound), 1, len(text)) for label, text in options.items()
    }


def _first_tokens(logprobs: Any) -> list[tuple[str, float]]:
    """The first token's alternatives and their log-probabilities; some may look alike."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict):
        return []
    top = first.get("top_logprobs")
    tokens = [_token(one) for one in top] if isinstance(top, list) else []
    chosen = _token(first)  # usually one of them
    return [one for one in tokens if one] + ([chosen] if chosen and chosen not in tokens else [])


def _token(value: Any) -> tuple[str, float] | None:
    if not isinstance(value, dict):
        return None
    token, logprob = value.get("token"), value.get("logprob")
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None
    return token, float(logprob)


def _begins(token: str, text: str) -> bool:
    # Some servers show tokens raw, with their tokenizer's own sign for a blank.
    said, text = token.strip(" \n\t▁Ġ\"'(*"), text.strip()
    if len(text) > 1:
        said, text = said.casefold(), text.casefold()
    if not said:
        return False
    rest = said.removeprefix(text)
    return text.startswith(said) or (rest != said and not rest[0].isalnum())


def _log_sum(values: Sequence[float]) -> float:
    most = max(values)
    return most + math.log(sum(math.exp(value - most) for value in values))


# Names and messages


def is_version(asked: str, said: str) -> bool:
    """Whether a server that was asked for one model and names another means the same: a dated
    version of it, a tag, or its name with or without its owner's."""
    asked, said = asked.lower(), said.lower()
    asked, said = asked.removesuffix("-latest"), said.removesuffix("-latest")
    if asked.endswith("/" + said) or said.endswith("/" + asked):
        return True
    return re.fullmatch(re.escape(asked) + r"([-@:]v?\d{3,}[-.\d]*|[:@]latest)?", said) is not None


def message_of(found: Any) -> str:
    """A server's own words about an error, in one line; "" if it has none."""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    if isinstance(found, dict | list):
        found = json.dumps(found)
    words = " ".join(str(found or "").split())
    if words.startswith("<"):  # a page of some proxy's
        return ""
    return words if len(words) <= LONGEST_MESSAGE else f"{words[:LONGEST_MESSAGE]} ..."
