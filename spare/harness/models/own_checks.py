"""What a user's model says of itself, looked at before it is believed; and what it raises, as a
sentence with the lines of the user's file."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spare.errors import ModelError, SpareError
from spare.harness.models.types import Model, Request
from spare.tasks.types import Sample

RAISED = (Exception, SystemExit)
"""What a user's code may raise without meaning to end everything."""

FRAMES = 3
"""Last lines of a traceback that are shown."""


@dataclass(frozen=True, slots=True)
class About:
    """A user's model and what it has. See `Model` for what the attributes mean.

    Attributes:
        model: what the user's class made.
        name: how it was asked for, without its argument.
        objection, study: the model's, watched; None if it has none.
    """

    model: Model
    name: str
    identity: Mapping[str, str]
    facts: Mapping[str, str]
    writes: bool
    lineage: Mapping[str, Any]
    objection: Callable[[Request], str] | None
    study: Callable[[Iterable[Sample]], str] | None


def look_at(model: Any, name: str) -> About:
    """What a model has. Raises ModelError if it lacks something, or has what cannot be used."""
    if not callable(_got(model, name, "answer")):
        raise ModelError(
            f"{name} has no method answer(requests), which gives a Response for every Request."
        )
    identity = _texts(
        model,
        name,
        "identity",
        "all that could change a reply, such as a digest or the name of its weights",
    )
    if not identity:
        raise ModelError(
            f"The identity of {name} is empty, and replies of other weights would pass for its "
            'own; give it something, such as {"weights": "v1"}.'
        )
    facts = _texts(model, name, "facts", "what else is worth knowing; it may be empty")
    writes = _got(model, name, "writes", True)
    if not isinstance(writes, bool):
        raise ModelError(
            f"The attribute writes of {name} is {short(writes)}; it is True, or False if the model "
            "only ranks options."
        )
    return About(
        model,
        name,
        identity,
        facts,
        writes,
        _lineage(model, name),
        _watched(model, name, "objection"),
        _watched(model, name, "study"),
    )


def _got(model: Any, name: str, attribute: str, default: object = None) -> Any:
    """An attribute, which may be a property that raises."""
    try:
        return getattr(model, attribute, default)
    except SpareError:
        raise
    except RAISED as error:
        raise ModelError(f"The attribute {attribute} of {name} fails: {told(error)}") from error


def _texts(model: Any, name: str, attribute: str, about: str) -> dict[str, str]:
    said = _got(model, name, attribute)
    if not isinstance(said, Mapping) or not all(
        isinstance(one, str) for pair in said.items() for one in pair
    ):
        raise ModelError(
            f"{name} needs an attribute {attribute}, names and texts ({about}); it has "
            f"{short(said)}."
        )
    return dict(said)


def _lineage(model: Any, name: str) -> dict[str, Any]:
    said = _got(model, name, "lineage", {})
    try:
        if not isinstance(said, Mapping) or not all(isinstance(key, str) for key in said):
            raise TypeError("it is no mapping from names")
        found: dict[str, Any] = json.loads(json.dumps(dict(said)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"The attribute lineage of {name} is {short(said)}, which JSON cannot hold as an "
            f'object ({error}); it tells where the weights come from, such as {{"base": "NAME"}}.'
        ) from None
    return found


def _watched(model: Any, name: str, attribute: str) -> Callable[[Any], str] | None:
    """A method that gives a text or None, which is no text. What it raises becomes a ModelError."""
    method = _got(model, name, attribute)
    if method is None:
        return None
    if not callable(method):
        raise ModelError(f"The attribute {attribute} of {name} is {short(method)} and no method.")

    def call(given: Any) -> str:
        try:
            said = method(given)
        except SpareError:
            raise
        except RAISED as error:
            raise ModelError(f"The method {attribute} of {name} fails: {told(error)}") from error
        if said is None:
            return ""
        if not isinstance(said, str):
            raise ModelError(
                f"The method {attribute} of {name} gave {short(said)}; it is to give a text, which "
                "may be empty."
            )
        return said

    return call


def told(error: BaseException) -> str:
    """What was raised, and the last lines of its traceback that are not ours."""
    lines = [
        f"  {Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
        for frame in _frames(error)
    ]
    return "\n".join([f"{_raised(error)}.", *lines])


def told_in_a_line(error: BaseException) -> str:
    """The same for a reply's error."""
    places = [
        f"{Path(frame.filename).name} line {frame.lineno} in {frame.name}"
        for frame in _frames(error)
    ]
    where = f" ({', '.join(places)})" if places else ""
    return f"{_raised(error)}{where}."


def _raised(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    found = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in found if not _is_ours(frame.filename)]
    return theirs[-FRAMES:]


def _is_ours(file: str) -> bool:
    ours = Path(__file__)
    return file in (str(ours), str(ours.with_name("own.py"))) or "importlib" in file


def short(value: object) -> str:
    """A value as it is shown in a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
