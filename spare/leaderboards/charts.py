"""Charts as SVG files that need no script and no request, and follow light and dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from spare.errors import SpareError, install

INK = "#102030"
"""Stands for the page's own colour of text until the SVG is written."""

COLOURED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")

STYLE = (
    "<style>svg{color:#1b1f24}@media(prefers-color-scheme:dark){svg{color:#e6e9ee}}</style></svg>"
)


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    label: str,
) -> str:
    """Figures with their intervals, one under the other, the first on top."""
    figure, axes = _figure(6.5, 0.8 + 0.24 * len(names))
    places = range(len(names))
    errors = [
        [value - low for value, low in zip(values, lows, strict=True)],
        [high - value for value, high in zip(values, highs, strict=True)],
    ]
    axes.errorbar(values, places, xerr=errors, fmt="o", color="#2a78c2", ecolor="#8ab4dc", ms=4)
    axes.set_yticks(places, [_plain(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(_plain(label))
    axes.grid(axis="x", alpha=0.25, color=INK)
    return _svg(figure)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], label: str
) -> str:
    """Figures of runs (rows) on relations (columns), in per cent; NaN stays empty."""
    width = 2.5 + 0.38 * len(columns)
    figure, axes = _figure(width, 1.6 + 0.3 * len(rows))
    image = axes.imshow(values, cmap="RdYlGn", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(columns)), [_plain(name) for name in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [_plain(name) for name in rows])
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value == value:
                axes.text(
                    column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color="#111"
                )
    figure.colorbar(image, ax=axes, label=_plain(label), shrink=0.8)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise SpareError(
            f"Charts need matplotlib, which is not installed: run {install('site')}."
        ) from None
    from matplotlib.figure import Figure

    colours: Any = dict.fromkeys(COLOURED, INK)
    with matplotlib.rc_context({"font.size": 8, **colours}):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def _plain(text: str) -> str:
    """Dollar signs would be taken for formulas."""
    return text.replace("$", r"\$")


def _svg(figure: Any) -> str:
    import matplotlib

    file = io.StringIO()
    # No date and no random ids, so that the same figures give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spare"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue().replace(INK, "currentColor").replace("</svg>", STYLE)
