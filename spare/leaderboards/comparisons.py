"""A comparison as tables, as JSON, and as JUnit's XML for CI systems."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from spare.errors import counted
from spare.harness.comparison import Change, Comparison, Flip
from spare.harness.pairing import Difference
from spare.leaderboards.grids import Column, Grid
from spare.leaderboards.tables import number

SHOWN = 10
"""Samples of each task that are shown of those that were lost, and of those that were won."""

READ = 24
"""Characters of what was read that are shown."""

SHORT: Mapping[str, str] = {
    "regression": "REGRESSION",
    "possible drop": "drop?",
    "better": "better",
    "no regression": "",
}
"""An outcome, as a table has room for it."""

UNREAD = "(unread)"


def verdict(found: Comparison) -> str:
    """What came out, in a sentence."""
    worse = [f"{_name(one)} fell by {number(-one.difference.value)}" for one in found.regressions]
    if worse:
        said = f"Regression: {'; '.join(worse)}."
    elif found.tasks:
        doubtful = sum(one.outcome == "possible drop" for one in found.tasks)
        said = "No regression." + (
            f" {counted(doubtful, 'drop')} may be one, or luck." if doubtful else ""
        )
    else:
        return f"Not comparable: {counted(len(found.refusals), 'reason')}."
    if found.refusals:
        said += f" Not all could be compared: {counted(len(found.refusals), 'reason')}."
    return said


def grids(found: Comparison) -> list[Grid]:
    """The tasks, the slices if there are any, and samples that changed."""
    title = f"{found.new} against {found.base}"
    tables = [Grid(title, _columns("task"), [_row(one) for one in found.tasks], _under(found))]
    if found.slices:
        # The surest losses first: a relation with one sample can fall by 100 and mean nothing.
        worst = sorted(found.slices, key=lambda one: _loss(one.difference))
        rows = [_row(one) for one in worst]
        about = "p is corrected for all of these together"
        tables.append(Grid(f"By {found.by}; {about}", _columns(found.by), rows))
    for (task, _, prompt, rules), flips in found.flips.items():
        if flips:
            tables.append(_flipped(f"{task} ({prompt}, {rules})", flips, found.by or "relation"))
    return tables


def _loss(difference: Difference) -> tuple[float, float]:
    falls = difference.value < 0
    return (difference.p if falls else 2 - difference.p), difference.value


def _flipped(name: str, flips: Sequence[Flip], tag: str) -> Grid:
    lost = [flip for flip in flips if flip.gain < 0]
    won = [flip for flip in flips if flip.gain > 0]
    more = f"; the first {SHOWN} of each, `spare compare --format json` has all"
    title = f"{name}: {counted(len(lost), 'sample')} lost, {len(won):,} won"
    shown = [*lost[:SHOWN], *won[:SHOWN]]
    tagged = any(tag in flip.tags for flip in flips)
    columns = ["change", "id", *([tag] if tagged else []), "truth", "read before", "read now"]
    rows = [
        (
            "lost" if flip.gain < 0 else "won",
            flip.id,
            *([flip.tags.get(tag, "-")] if tagged else []),
            *(_short(text) for text in (flip.target, flip.base or UNREAD, flip.new or UNREAD)),
        )
        for flip in shown
    ]
    return Grid(title + (more if len(shown) < len(flips) else ""), [*map(Column, columns)], rows)


def _short(text: str) -> str:
    return text if len(text) <= READ else f"{text[: READ - 3]}..."


def _columns(first: str) -> list[Column]:
    counts = () if first == "task" else ("n",)
    numbers = (*counts, "base", "new", "change", "95 % interval", "p", "lost, won")
    return [Column(first), *(Column(name, numeric=True) for name in numbers), Column("outcome")]


def _row(one: Change) -> tuple[str, ...]:
    difference = one.difference
    return (
        _name(one),
        *([f"{one.samples:,}"] if one.part else []),
        number(difference.base),
        number(difference.new),
        f"{difference.value:+.2f}",
        _interval(difference, 1),
        _p(one.p),
        f"{one.lost:,}, {one.won:,}",
        SHORT[one.outcome],
    )


def _name(one: Change) -> str:
    if not one.part:
        return f"{one.score.task} {one.metric}"
    return f"{one.score.task} {one.part[1]}"


def _interval(difference: Difference, digits: int) -> str:
    if math.isnan(difference.low):
        return "-"
    return f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _under(found: Comparison) -> list[str]:
    return [
        verdict(found),
        "lost, won: samples that were more right before, and now. p: after Holm's correction. A "
        f"regression is a drop by more than {found.max_drop:g} % of a figure's range that is "
        f"significant at {found.alpha:g}; drop? is one that may be luck.",
        *_possible(found),
        *_reach(found),
        *found.notes,
        *(f"Not compared: {sentence}" for sentence in found.refusals),
    ]


def _possible(found: Comparison) -> Iterator[str]:
    for one in found.tasks:
        if one.outcome == "possible drop":
            what = f"{_name(one)} fell by {number(-one.difference.value)}, which may be luck"
            there, clusters = f"{one.samples:,}", one.difference.clusters
            yield (
                f"{what}: it would take about {one.needed:,} samples to tell (there are {there})."
                if one.needed
                else f"{what}: {there} of {counted(clusters, 'picture or group')} cannot tell."
            )


def _reach(found: Comparison) -> Iterator[str]:
    """What the data could have shown."""
    reach = [f"{_name(one)} {one.smallest:.1f}" for one in found.tasks if one.smallest > 0]
    if reach:
        yield f"The smallest change that these questions would likely show: {', '.join(reach)}."


# For programs


def as_json(found: Comparison) -> str:
    """Everything, with every sample that changed; what is no number is null."""
    told = {
        "base": str(found.base),
        "new": str(found.new),
        "max_drop": found.max_drop,
        "alpha": found.alpha,
        "by": found.by,
        "verdict": verdict(found),
        "exit_code": found.exit_code,
        "tasks": [_told(one) for one in found.tasks],
        "slices": [_told(one) for one in found.slices],
        "flips": [
            {"task": task, "split": split, "prompt": prompt, "rules": rules}
            | {"samples": [asdict(flip) for flip in flips]}
            for (task, split, prompt, rules), flips in found.flips.items()
        ],
        "refusals": list(found.refusals),
        "notes": list(found.notes),
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _told(one: Change) -> dict[str, Any]:
    score = one.score
    belongs = ("task", "version", "split", "layout", "prompt", "rules", "judge")
    row: dict[str, Any] = {name: getattr(score, name) for name in belongs}
    row |= {"metric": one.metric, "part": dict([one.part] if one.part else [])}
    row |= {"outcome": one.outcome, "p_holm": one.p, "max_drop": one.max_drop}
    row |= {"lost": one.lost, "won": one.won}
    row |= {"samples": one.samples, "needed": one.needed}
    figures = asdict(one.difference) | {"smallest": one.smallest}
    row["difference"] = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in figures.items()
    }
    return row


def as_junit(found: Comparison) -> str:
    """A test suite with a case for each task and slice: regressions fail, what could not be
    compared is an error."""
    cases: Sequence[Change] = (*found.tasks, *found.slices)
    suite = ElementTree.Element(
        "testsuite",
        name="spare compare",
        tests=str(len(cases) + len(found.refusals)),
        failures=str(len(found.regressions)),
        errors=str(len(found.refusals)),
        skipped="0",
    )
    for one in cases:
        name = f"{one.metric} ({one.score.prompt}, {one.score.rules})"
        name += f", {one.part[0]} {one.part[1]}" if one.part else ""
        case = _case(suite, f"spare.{one.score.task}", name)
        difference = one.difference
        numbers = (
            f"base {number(difference.base)}, new {number(difference.new)}, change "
            f"{difference.value:+.2f} (95 % {_interval(difference, 2)}), "
            f"p {one.p:.4g} after Holm, {one.lost:,} lost, {one.won:,} won, "
            f"{counted(difference.n, 'unit')}; {difference.method}"
        )
        if one.outcome == "regression":
            message = f"{_name(one)} fell by {number(-difference.value)}"
            failure = ElementTree.SubElement(case, "failure", message=_xml(message))
            failure.text = _xml(numbers)
        ElementTree.SubElement(case, "system-out").text = _xml(f"{one.outcome}: {numbers}")
    for sentence in found.refusals:
        case = _case(suite, "spare", f"comparable: {sentence.partition(':')[0]}")
        ElementTree.SubElement(case, "error", message=_xml(sentence))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=_xml(classname), name=_xml(name), time="0"
    )


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(one if one.isprintable() or one in "\t\n" else "\ufffd" for one in text)
