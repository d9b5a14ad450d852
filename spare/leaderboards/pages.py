"""Pages of HTML: one file each, no request to anywhere, whatever a model wrote shown as text."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("spare.leaderboards", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """A whole page from a template of this package, with its style and script inside.

    The page's content security policy lets nothing run but that script and nothing load but
    pictures from its own folder, so that a reply that slipped through as markup could do nothing.
    """
    from markupsafe import Markup

    style, script = asset("page.css"), asset("page.js")
    policy = (
        "default-src 'none'; img-src 'self' file: data:; "
        f"style-src '{_source(style)}'; script-src '{_source(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # Both are files of ours; anything else is escaped.
    shared = {"style": Markup(style), "script": Markup(script), "policy": policy}  # noqa: S704
    return _environment().get_template(template).render(**shared, **values)


@lru_cache
def asset(name: str) -> str:
    """A file of this package's templates as it is."""
    return (resources.files("spare.leaderboards") / "templates" / name).read_text("utf-8")


def _source(text: str) -> str:
    """What a content security policy calls a script or style that stands in the page."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
