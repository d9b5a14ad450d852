"""Where a server is, with what key, and what it says about its models (`/models`)."""

from __future__ import annotations

import importlib.util
import os
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from spare.errors import ModelError
from spare.harness.models import chat

if TYPE_CHECKING:
    import openai

OPENAI = "https://api.openai.com/v1"

NO_KEY = "EMPTY"
"""What servers without a key are sent, since the client wants one."""

SECRET = re.compile(r"(key|(^|api_|auth_|access_|hf_)token)$", re.IGNORECASE)
"""Names of settings that hold a key. A token may also be what a text is made of (eos_token)."""

PROXIES = frozenset({"http", "https", "all"})

SHOWN = 8
"""Models that an error names."""

WITHOUT_A_LIST = (403, 404, 405, 501)
"""Answers of servers that have no list of models, or show it to others only."""

PENALISING = ("vllm", "sglang", "lmdeploy")
"""Servers that apply the repetition penalty that a checkpoint ships, unless they are told not to;
by what they write as a model's owner."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a server says about a model.

    Attributes:
        names: what else it calls the model.
        weights: what tells the model's weights from others', for its identity.
        facts: what else it says; extra: fields that it should get with each request.
    """

    names: frozenset[str] = frozenset()
    weights: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, float] = field(default_factory=dict)

    def is_name(self, asked: str, said: str) -> bool:
        """Whether a server that was asked for `asked` means it by `said`."""
        return said in self.names or chat.is_version(asked, said)


def address_of(given: str) -> str:
    """The base URL: the one given, or that of OPENAI_BASE_URL, or OpenAI's.

    Raises:
        ModelError: it is none, or it has a secret in it.
    """
    address = (given or os.environ.get("OPENAI_BASE_URL", "")).strip() or OPENAI
    if set(address) & set("@?#"):
        raise ModelError(
            "The base URL has a password or a query in it, which would end up in files; give a "
            "plain one, and a key in the environment variable OPENAI_API_KEY."
        )
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is no number
        sound = False
    if not sound:
        raise ModelError(
            f"{address!r} is no base URL; one looks like http://localhost:8000/v1 (--base-url)."
        )
    return address.rstrip("/")


def refuse_address(given: str, models: Sequence[str]) -> None:
    """Raises ModelError if an address is given and no model is behind a server."""
    if given and not any(one.removeprefix("shuffled:").startswith("openai:") for one in models):
        raise ModelError(
            "--base-url is for a model behind a server, named openai:NAME, and "
            f"{' and '.join(models)} is none; leave it out."
        )


def key_of(address: str) -> str:
    """The key in OPENAI_API_KEY. Raises ModelError if there is none for OpenAI's own server."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ModelError("OPENAI_API_KEY holds characters that no key has; set it anew.")
    if not key and address == OPENAI:
        raise ModelError(
            "OpenAI wants a key in the environment variable OPENAI_API_KEY; another server is "
            "named by --base-url, or by the environment variable OPENAI_BASE_URL."
        )
    return key or NO_KEY


def hidden(text: str, key: str) -> str:
    """A text without the key. Made-up keys of local servers ("EMPTY", "none") are words, which a
    reply may well be made of, and no secrets."""
    secret = len(key) >= 20 or (len(key) >= 8 and not key.isalpha())
    return text.replace(key, "[key]") if secret else text


def refuse_key(setting: str) -> None:
    """Raises ModelError if a model's setting of this name would hold a key of a server: what is
    written in a command is kept in the run."""
    if SECRET.search(setting):
        raise ModelError(
            f"A command's words are kept in the run, so {setting} has no place there; put it into "
            "the environment variable that the model reads (mostly OPENAI_API_KEY or HF_TOKEN)."
        )


def _proxy(address: str) -> str:
    """The environment variable with the proxy that an address is asked through; "" without one.

    Raises:
        ModelError: no proxy of the environment may be such that a client cannot even be made.
    """
    proxies = urllib.request.getproxies()
    for kind in PROXIES & proxies.keys():
        name = f"{kind.upper()}_PROXY"
        try:
            parts = urlsplit(proxies[kind] if "://" in proxies[kind] else f"http://{proxies[kind]}")
            sound = parts.scheme in ("http", "https", "socks5", "socks5h") and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise ModelError(
                f"The environment variable {name} names no proxy; it should be like "
                "http://host:port."
            )
        if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
            raise ModelError(
                f"The environment variable {name} names a SOCKS proxy, which needs a package: run "
                "`pip install socksio`, or unset it."
            )
    wanted = urlsplit(address)
    if urllib.request.proxy_bypass(wanted.hostname or ""):
        return ""
    used = next((kind for kind in (wanted.scheme, "all") if kind in proxies), "")
    return f"{used.upper()}_PROXY" if used else ""


def read_listing(name: str, address: str, key: str) -> Listing:
    """What a server says about a model.

    Raises:
        ModelError: it is not there, refuses the key, or has no such model.
    """
    import openai

    def clean(text: str) -> str:
        return hidden(text, key).rstrip(". ")

    proxy = _proxy(address)
    try:
        client = openai.OpenAI(api_key=key, base_url=address, max_retries=2, timeout=30.0)
    except OSError as error:  # a file that is not there, or holds none
        raise ModelError(
            f"SSL_CERT_FILE or SSL_CERT_DIR names no certificates ({error.strerror or error}); set "
            "it anew, or unset it."
        ) from None
    try:
        with client:
            raw = client.models.with_raw_response.list()
            entries = _entries(raw.content)
            headers = raw.headers
    except openai.APIConnectionError as error:
        words = clean(words_of(error))
        remedy = "Start it, or name another with --base-url."
        if proxy:
            remedy += f" It was asked through {proxy}; NO_PROXY names hosts that need none."
        if "CERTIFICATE_VERIFY_FAILED" in words:
            remedy = "Its certificate can be put into a file that SSL_CERT_FILE names."
        raise ModelError(f"No server answers at {address}: {words}. {remedy}") from None
    except openai.APIStatusError as error:
        if error.status_code in WITHOUT_A_LIST:
            return Listing()
        key_hint = " The environment variable OPENAI_API_KEY holds the key."
        raise ModelError(
            f"{address} shows no models: {clean(words_of(error))}."
            + (key_hint if error.status_code == 401 else "")
        ) from None
    if entries is None:
        raise ModelError(
            f"{address} answers with something that is no list of models; --base-url usually ends "
            "in /v1."
        )
    if not entries:
        return Listing(facts=_facts({}, headers))
    entry = _find(name, entries)
    if entry is None:
        names = [clean(str(one["id"])) for one in entries]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ModelError(
            f"{address} serves no {name}; it serves {', '.join(names[:SHOWN])}{more}. Name one of "
            "them behind `openai:`."
        )
    root, owner = entry.get("root"), entry.get("owned_by")
    names = [one["id"] for one in entries if root and one.get("root") == root]
    weights = {key: clean(str(entry[key])) for key in ("root", "parent") if entry.get(key)}
    return Listing(
        frozenset([entry["id"], *names, *([root] if isinstance(root, str) else [])]),
        weights,
        _facts(entry, headers),
        {"repetition_penalty": 1.0} if owner in PENALISING else {},
    )


def _entries(data: bytes) -> list[Mapping[str, Any]] | None:
    """The models of a list; None if it is no list of models."""
    import json

    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict):
        found = found.get("data")
    if not isinstance(found, list):
        return None
    return [one for one in found if isinstance(one, dict) and isinstance(one.get("id"), str)]


def _find(name: str, entries: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    for entry in entries:
        if entry["id"] == name:
            return entry
    return next((entry for entry in entries if chat.is_version(name, entry["id"])), None)


def _facts(entry: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    told = {"software": headers.get("server"), "protocol": headers.get("openai-version")}
    told |= {"owner": entry.get("owned_by")}
    if type(entry.get("max_model_len")) is int:  # which is counted with
        told["context"] = entry["max_model_len"]
    return {name: str(value)[:200] for name, value in told.items() if value}


def words_of(error: openai.APIError) -> str:
    """What went wrong, in one line: the status and the server's words, or the connection's."""
    import openai

    if isinstance(error, openai.APIStatusError):
        said = chat.message_of(error.body)
        reason = error.response.reason_phrase
        status = f"{error.status_code} {reason}".strip()
        return f"{status} ({said})" if said else status
    cause = error.__cause__ or error
    return " ".join(str(cause).split())[: chat.LONGEST_MESSAGE] or type(cause).__name__
