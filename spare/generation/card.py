"""The card of a data set: its metadata for the hub, and what a person must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spare.errors import counted
from spare.generation.tables import grids
from spare.leaderboards.grids import Column, Grid, written


def card(
    funnel: Mapping[str, Any],
    manifest: Mapping[str, Any],
    counts: Mapping[str, int],
    pictures: str,
    only: Mapping[str, str],
) -> str:
    """The card as Markdown. Its counts are of the rows that were written, not of what was planned.

    Args:
        funnel: what `spare generate` counted; manifest: how it was asked to.
        counts: of the rows in the shards: "pairs", "source X", "relation X", "frame X" ...
        pictures: "none", "free" or "all". only: column -> value that all rows have.
    """
    from huggingface_hub import DatasetCardData

    size = counts["pairs"]
    files = {"split": "train", "path": "data/train-*.parquet"}
    head = DatasetCardData(
        language="en",
        license="other",
        task_categories=["visual-question-answering"],
        size_categories=_size(size),
        tags=["spatial-qa", "spatial-reasoning", "synthetic"],
        configs=[{"config_name": "default", "data_files": [files]}],
    )
    parts = [
        f"---\n{head.to_yaml()}\n---\n",
        f"# Spatial question-answer pairs\n\n{size:,} pairs, made of hyper-detailed captions after "
        "SpaRE (arXiv 2504.20648)." + "".join(f" Only {name} {one}." for name, one in only.items()),
        _provenance(manifest),
        "## Funnel\n",
        "Of the whole run, of which this is a part.\n" if only else "",
        written(grids(funnel), "markdown"),
        "## What is in it\n",
        written(_contents(counts), "markdown"),
        _checked(funnel, manifest),
        _licences(counts, pictures),
        FIELDS,
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


FIELDS = """\
## Fields
`question`, `answer`; `source`, `subset`, `split`, `image_key` name the picture, `image_kind` and
`image` its place; `relation` is of SpaRE's Table 10 and read in `keyword`, `relations` are all that
the pair names; `class` is topological, projective, metric, orientation or path; `subject` and
`relatum` are what it is about, where that could be read; `frame` is the frame of reference (viewer,
intrinsic, absolute_gravity, absolute_cardinal, image_region, other_agent, none, ambiguous), told by
`frame_cue`; `form` is how the question asks: what, where ..., yes/no or other; `weight` is for
balanced training; `support`, `in_sentence`, `clip_cosine` and `spatial_probability` are the
filters' raw scores.
"""


def _size(count: int) -> str:
    for bound, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K")):
        if count < bound:
            return name
    return "100K<n<1M" if count < 10**6 else "1M<n<10M"


def _provenance(manifest: Mapping[str, Any]) -> str:
    options = manifest["options"]
    lines = ["## How it was made\n"]
    if options["llm"] == "template:":
        lines.append("- Generator: templates over what a grammar reads in the captions; no model.")
    else:
        lines.append(f"- Generator: {_model(manifest, 'llm', options['llm'])}.")
    if options["clip"]:
        lines.append(f"- Dual encoder: {_model(manifest, 'clip', options['clip'])}.")
    else:
        lines.append("- No dual encoder: near duplicates and CLIPScore were not looked for.")
    shown = {
        name: value
        for name, value in options.items()
        if name not in ("llm", "clip", "blobs", "benchmarks", "exclude", "weights")
    }
    lines.append(f"- Thresholds: {', '.join(f'{name} {value}' for name, value in shown.items())}.")
    for source, told in manifest["captions"].items():
        counts = ", ".join(f"{name} {count:,}" for name, count in told["counts"].items())
        lines.append(f"- Captions of {source}: {counts}.")
        for path, digest in told["files"].items():
            lines.append(f"  - `{path.rsplit('/', 1)[-1]}`, SHA-256 `{digest}`")
    packages = manifest["environment"]["packages"]
    lines.append(f"- Program: spare {packages.get('spare-eval', '')}.")
    return "\n".join(lines)


def _model(manifest: Mapping[str, Any], role: str, name: str) -> str:
    weights = manifest["models"].get(role, {}).get("weights", "")
    return f"`{name}`" + (f", weights SHA-256 `{weights}`" if weights else "")


def _contents(counts: Mapping[str, int]) -> list[Grid]:
    tables = []
    for what in ("source", "relation", "frame", "form"):
        found = {
            name.removeprefix(f"{what} "): count
            for name, count in counts.items()
            if name.startswith(f"{what} ")
        }
        rows = [
            (name, f"{count:,}", f"{100 * count / counts['pairs']:.2f} %")
            for name, count in sorted(found.items(), key=lambda one: -one[1])
        ]
        tables.append(Grid("", [Column(what), Column("pairs", True), Column("share", True)], rows))
    return tables


def _checked(funnel: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    lines = ["## Benchmarks\n"]
    if manifest["options"]["benchmarks"] == "none":
        return "\n".join([*lines, "Pictures that benchmarks ask about were **not** looked for."])
    about = funnel["contamination"]
    for name, known in funnel["benchmarks"].items():
        told = counted(about.get(name, 0), "pair")
        lines.append(f"- {name}: {known:,} of its pictures known; {told} about them.")
    dropped = counted(funnel["pairs"].get("benchmark picture", 0), "pair")
    lines.append(f"- Left out for this alone: {dropped}. The others were dropped before.")
    lines.append("- Pictures of benchmarks that are not named here were not looked for.")
    return "\n".join(lines)


def _licences(counts: Mapping[str, int], pictures: str) -> str:
    lines = ["## Licences\n"]
    for what in ("text licence", "picture licence"):
        for name, count in counts.items():
            if name.startswith(f"{what} "):
                lines.append(f"- {what} {name.removeprefix(f'{what} ')}: {count:,} pairs")
    if pictures == "all":
        lines.append(
            "- **Pictures of all licences are in the shards: this copy must not be passed on.**"
        )
    elif pictures == "free":
        lines.append("- Pictures are in the shards where their licence lets them be passed on.")
    else:
        lines.append("- No pictures are in the shards.")
    lines.append(
        "- Pairs that a language model wrote may be bound by its licence, too; Qwen2.5-3B's is for "
        "research alone."
    )
    return "\n".join(lines)
