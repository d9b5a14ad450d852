"""The pages that `spare errors` and `spare report` write: whole, honest about what is missing, and
deaf to whatever a model wrote."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

import spare
from spare.cli import main
from spare.demo.world import write_world
from spare.harness.models.types import Request, Response
from spare.harness.run import load_run
from spare.leaderboards.errors_page import errors
from spare.leaderboards.failures import LONGEST
from spare.leaderboards.grids import Column, Grid
from spare.leaderboards.site import MARK, report
from spare.tasks.types import Reply

NASTY = (
    "<script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title = 1">',
    "]]></script></style><!-- \u2028 {{ 7 * 7 }} ${7}",
    "half \ud83d of a pair, \x1b[31mred\x1b[0m, \x00 and \u202e turned",
    "long " * 300_000,
    "",
)


class Nasty:
    """Says what no page should do."""

    identity: ClassVar[dict[str, str]] = {"engine": "made up <b>"}
    facts: ClassVar[dict[str, str]] = {"model": "<i>nasty</i> & co"}

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        for number, request in enumerate(requests):
            yield Response(request.key, Reply(NASTY[number % len(NASTY)], finish="stop"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_world(folder, sets=6)
    return folder


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, model in {"one": "random", "nasty": Nasty(), "two": "majority"}.items():
        spare.evaluate(model, "whatsup_a,vsr_zeroshot", data=data, out=folder / name)
    return folder


class Page(HTMLParser):
    """The tags of a page, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def check_safe(text: str) -> Page:
    """One script and one style, both ours; nothing that runs or loads from anywhere else."""
    page = Page(text)
    assert (page.count("script"), page.count("style")) == (1, 1)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert not re.match(r"(?i)\s*(https?:|//|javascript:)", value), value
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    return page


# The first page


def test_seeds_that_share_a_row_are_called_by_their_folders(data: Path, tmp_path: Path) -> None:
    for seed in range(3):
        run = tmp_path / "runs" / f"seed-{seed}"
        spare.evaluate("random", "vsr_zeroshot", data=data, out=run, seed=seed)
        lineage = {"base": "one", "data": "scenes", "recipe": "demo", "seed": seed}
        manifest = json.loads((run / "manifest.json").read_text())
        manifest |= {"lineage": lineage, "model": {"engine": "x", "weights": str(seed)}}
        (run / "manifest.json").write_text(json.dumps(manifest))
    above = Grid("What came of it", [Column("model")], [["best < worst"]], ["A note."])
    runs = [tmp_path / "runs" / f"seed-{seed}" for seed in range(3)]
    assert report(runs, out=tmp_path / "site", above=[above]) == []
    page = check_safe((tmp_path / "site" / "index.html").read_text())
    assert "one → scenes (3 seeds)" in page.text
    links = [one["href"] or "" for tag, one in page.tags if tag == "a"]
    assert {"comparisons/seed-1.html", "runs/seed-1.html", "runs/seed-2.html"} <= set(links)
    assert all((tmp_path / "site" / link).is_file() for link in links if link.endswith(".html"))
    assert str(tmp_path) not in page.text
    places = [page.text.index(said) for said in ("best < worst", "A note.", "3 seeds")]
    assert places == sorted(places)


# Errors


def test_every_failure_is_there_with_its_picture(runs: Path) -> None:
    run = load_run(runs / "one")
    failed = {
        one.id for score in run.scores for one in run.verdicts(score) if one.verdict.score < 1
    }
    page = check_safe(errors(run, number=10_000))
    cards = [attributes for _, attributes in page.tags if "data-id" in attributes]
    assert {card["data-id"] for card in cards} == failed
    pictures = [one["src"] or "" for tag, one in page.tags if tag == "img"]
    assert len(pictures) == len(cards)
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)


def test_a_sample_of_the_failures_comes_from_everywhere(runs: Path) -> None:
    run = load_run(runs / "one")
    page = Page(errors(run, number=5))
    every = Page(errors(run, number=10_000))
    chosen = [one["data-id"] for _, one in page.tags if "data-id" in one]
    places = [one["data-id"] for _, one in every.tags if "data-id" in one]
    gaps = [places.index(name) for name in chosen]
    assert gaps == sorted(gaps)
    assert len(chosen) == 5
    assert gaps[-1] > len(places) / 2
    assert f"5 of {len(places)} failures" in page.text
    assert errors(run, number=5) == errors(run, number=5)


def test_only_what_was_asked_for(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "e.html"
    arguments = ["errors", str(runs / "one"), "--out", str(file)]
    assert main([*arguments, "--relation", "left of", "--task", "vsr_zeroshot"]) == 0
    cards = [one for _, one in Page(file.read_text()).tags if "data-id" in one]
    assert {(card["data-relation"], card["data-task"]) for card in cards} == {
        ("left of", "vsr_zeroshot")
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--relation", "facing"], "has relation 'facing'; there are left of, on, right of, under"),
        (["--tag", "colour=red"], "has colour 'red'; there are none"),
        (["--tag", "colour"], "--tag takes TAG=VALUE"),
        (["--task", "mme"], "has no such score; it has whatsup_a under spare"),
        (["-n", "0"], "-n must be at least 1"),
        (["--data", "/nowhere"], "/nowhere"),
    ],
)
def test_what_there_is_none_of(
    runs: Path, tmp_path: Path, option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.html"
    assert main(["errors", str(runs / "one"), "--out", str(file), *option]) == 2
    assert message in capsys.readouterr().err
    assert not file.exists()


def test_whatever_was_said_is_text(runs: Path) -> None:
    page = check_safe(errors(load_run(runs / "nasty"), number=10_000))
    for reply in NASTY[:3]:
        assert reply in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "half \\ud83d of a pair" in page.text
    assert f"({len(NASTY[4]) - LONGEST:,} more characters)" in page.text
    assert page.text.startswith("\n") or "<i>nasty</i> & co" in page.text


def test_pictures_that_are_gone_or_changed_are_said(data: Path, runs: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(data, tmp_path / "data"))
    run = spare.evaluate("random", "whatsup_a", data=moved, out=tmp_path / "run")
    whole = Page(errors(run, number=10_000))
    folder = moved / "whatsup" / "controlled_images"
    for picture in folder.iterdir():
        picture.write_bytes(picture.read_bytes() + b"\0")
    changed = Page(errors(run, number=10_000))
    assert changed.count("img") == 0
    assert "its file has changed since" in changed.text
    shutil.rmtree(moved)
    gone = Page(errors(run, number=10_000))
    assert "its file is not where it was" in gone.text
    elsewhere = Page(errors(run, number=10_000, data=data))
    assert elsewhere.count("img") == whole.count("img") > 0


# The site


@pytest.fixture(scope="module")
def site(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    problems = report([runs / name for name in ("one", "nasty", "two")], out=out, published=True)
    assert problems == []
    return out


def test_every_page_is_safe_and_every_link_leads_somewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    kinds = {"index.html", "runs", "samples", "comparisons"}
    assert {str(page.relative_to(site)).split("/")[0] for page in pages} == kinds
    reached = {site / "index.html"}
    for page in pages:
        for tag, attributes in check_safe(page.read_text()).tags:
            link = attributes.get("href" if tag == "a" else "src") or ""
            path, _, fragment = link.partition("#")
            if path:
                target = (page.parent / path).resolve()
                assert target.is_file(), f"{page}: {link}"
                reached.add(target)
            elif fragment and re.fullmatch(r"s\d+", fragment):
                assert f'id="{fragment}"' in page.read_text()
    assert reached >= {page.resolve() for page in pages}


def test_pictures_are_there_once_or_not_at_all(data: Path, site: Path, runs: Path) -> None:
    shown = list((site / "pictures").iterdir())
    assert 0 < len(shown) <= 6 * 4 * 2
    out = site.parent / "bare"
    report([runs / "one"], out=out, pictures=False)
    assert not (out / "pictures").exists()
    assert not any("<img loading" in page.read_text() for page in out.rglob("*.html"))


def test_charts_follow_light_and_dark(site: Path) -> None:
    charts = list((site / "charts").iterdir())
    assert charts
    for chart in charts:
        text = chart.read_text()
        assert "prefers-color-scheme:dark" in text
        assert "currentColor" in text
        assert "<script" not in text


def test_the_same_runs_give_the_same_site(runs: Path, site: Path) -> None:
    again = site.parent / "again"
    report([runs / name for name in ("one", "nasty", "two")], out=again, published=True)
    for file in site.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (again / file.relative_to(site)).read_bytes(), file


def test_only_a_site_of_ours_is_replaced(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("all of it")
    assert main(["report", str(runs / "one"), "--out", str(mine)]) == 2
    assert "is there and no site of ours" in capsys.readouterr().err
    assert [file.name for file in mine.iterdir()] == ["thesis.tex"]
    out = tmp_path / "site"
    for _ in range(2):
        assert main(["report", str(runs / "one"), "--out", str(out)]) == 0
    assert (out / MARK).exists()
    assert not list(tmp_path.glob("*.part"))


def test_a_run_that_is_torn_costs_its_own_page(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = Path(shutil.copytree(runs / "two", tmp_path / "torn"))
    verdicts = torn / "verdicts.spare.jsonl"
    verdicts.write_bytes(verdicts.read_bytes()[:5000])
    out = tmp_path / "site"
    paths = [str(runs / "one"), str(torn), str(tmp_path / "none")]
    assert main(["report", *paths, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert str(verdicts) in said
    assert "is not a run" in said
    assert (out / "runs" / "one.html").exists()
    assert not (out / "runs" / "torn.html").exists()
    assert str(verdicts) in Page((out / "index.html").read_text()).text
