"""`spare relations`: how spatial a data set is."""

from __future__ import annotations

import argparse
import json

FORMATS = ("rich", "markdown", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", metavar="PATH", nargs="+", help="pairs, data sets or files of texts")
    add("--format", choices=FORMATS, default="rich", help="how to show it (rich: the terminal)")
    parser.epilog = (
        "Read are folders of `spare generate` and `spare publish`, parquet, jsonl, json, csv and "
        "tsv, with question, answer, caption, statement, sentence, text, conversations or messages."
    )


def run(arguments: argparse.Namespace) -> int:
    from spare.generation.spatiality import relations
    from spare.generation.tables import spatiality
    from spare.leaderboards.grids import show, written

    found = relations(arguments.paths)
    if arguments.format == "json":
        print(json.dumps([_told(one) for one in found], indent=2))
    elif arguments.format == "rich":
        show(spatiality(found))
    else:
        print(written(spatiality(found), arguments.format), end="")
    return 0


def _told(one: object) -> dict[str, object]:
    from spare.generation.spatiality import Spatiality

    assert isinstance(one, Spatiality)
    keywords = [
        {"relation": relation, "keyword": keyword, "count": count}
        for (relation, keyword), count in one.keywords.items()
    ]
    return {
        "name": one.name,
        "texts": one.texts,
        "textless": one.textless,
        "spatial": one.spatial,
        "relations": one.relations,
        "classes": one.classes,
        "top": one.top,
        "gini": one.gini,
        "keywords": keywords,
    }
