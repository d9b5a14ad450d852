"""`spare leaderboard`: what shares a column, who shares a rank, and what is never mixed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

import spare
from spare.cli import main
from spare.demo.checkpoint import build_checkpoint
from spare.demo.world import write_world
from spare.errors import SpareError
from spare.harness.run import FORMAT, Score
from spare.leaderboards.board import headings
from spare.leaderboards.board_tables import grids
from spare.leaderboards.grids import Column, Grid, written
from spare.leaderboards.leaderboard import leaderboard
from spare.leaderboards.published import columns, published
from spare.tasks import SUITES, load_task

Figures = dict[str, tuple[float, float]]
"""Task -> headline figure and its standard error."""


def write_run(
    folder: Path, name: str, figures: Figures, lineage: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A finished run as `spare eval` leaves it, of which only the scores are made up."""
    rows, entries = [], []
    for name_of_task, (value, stderr) in figures.items():
        task = load_task(name_of_task)
        prompt = task.prompt()
        place = {"task": task.name, "split": task.split, "prompt": prompt.name}
        metrics = {
            metric: {
                "value": value,
                "n": 100,
                "clusters": 100,
                "stderr": stderr,
                "low": value - 2 * stderr,
                "high": value + 2 * stderr,
            }
            for metric in task.figures
        }
        score = Score(
            **place,
            version=task.version,
            layout="json",
            rules=prompt.rules[0],
            samples=task.splits[task.split],
            published=task.splits[task.split],
            limit=None,
            statuses={"ok": task.splits[task.split]},
            headline=task.headline,
            breakdown=task.breakdown,
            metrics=metrics,
            chance=task.chance_for(prompt),
        )
        rows.append(asdict(score) | changes)
        entries.append(place)
    run = folder / name
    run.mkdir(parents=True)
    (run / "scores.json").write_text(json.dumps({"scores": rows}))
    manifest = {"format": FORMAT, "model": {"engine": "x"}, "evaluations": entries, "calls": []}
    manifest |= {"lineage": lineage} if lineage else {}
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


TWO: Figures = {"whatsup_a": (50.0, 2.0), "vsr_zeroshot": (70.0, 1.0)}
DEMO: Figures = {"demo_whatsup": (50.0, 2.0), "demo_vsr": (70.0, 1.0)}
"""A suite of two."""


def better(by: float) -> Figures:
    return {task: (value + by, stderr) for task, (value, stderr) in DEMO.items()}


OURS = {task: (load_task(task).prompt().name, load_task(task).prompt().rules[0]) for task in TWO}


# Columns


@pytest.mark.parametrize(
    ("field", "value", "heading"),
    [
        ("prompt", "captions", "prompt captions"),
        ("rules", "official", "rules official"),
        ("version", 2, "version 2"),
        ("layout", "mixed", "layout mixed"),
        ("judge", "m (1a2b)", "judge m (1a2b)"),
        ("samples", 7, "samples 7"),
    ],
)
def test_what_is_not_the_same_figure_gets_its_own_column(
    tmp_path: Path, field: str, value: Any, heading: str
) -> None:
    one = write_run(tmp_path, "one", {"whatsup_a": (50.0, 2.0)})
    other = write_run(tmp_path, "other", {"whatsup_a": (60.0, 2.0)}, **{field: value})
    board = leaderboard([one, other])
    assert len(board.columns) == 2
    for row in board.rows:
        assert sum(cell is not None for cell in row.cells) == 1
    assert any(heading in name for name in headings(board.columns))
    same = leaderboard([one, write_run(tmp_path, "same", {"whatsup_a": (60.0, 2.0)})])
    assert headings(same.columns) == ["whatsup_a"]


def test_every_column_says_what_it_is(tmp_path: Path) -> None:
    (table,) = grids(leaderboard([write_run(tmp_path, "one", TWO)]))
    assert "whatsup_a: individual, version 1, test (json), prompt mcq, rules spare" in table.notes


def test_a_part_of_a_benchmark_is_marked_and_not_ranked(tmp_path: Path) -> None:
    board = leaderboard([write_run(tmp_path, "one", TWO, samples=10, limit=10)])
    assert board.rows[0].ranks is None
    (table,) = grids(board)
    assert [column.name for column in table.columns[2:]] == [
        "whatsup_a (provisional)",
        "vsr_zeroshot (provisional)",
    ]
    assert any("no score of the benchmark" in note for note in table.notes)


def test_errors_are_marked(tmp_path: Path) -> None:
    statuses = {"ok": 400, "error": 12}
    run = write_run(tmp_path, "one", {"whatsup_a": (50.0, 2.0)}, statuses=statuses)
    board = leaderboard([run])
    (table,) = grids(board)
    assert table.rows[0][2].startswith("50.0*")
    assert any("12 samples without a reply" in problem for problem in board.problems)


# The average and the ranks


def test_the_average_is_over_the_whole_suite_or_is_none(tmp_path: Path) -> None:
    whole = write_run(tmp_path, "whole", DEMO)
    part = write_run(tmp_path, "part", {"demo_whatsup": (99.0, 1.0)})
    board = leaderboard([part, whole], suite="demo")
    assert [row.name for row in board.rows] == ["whole", "part"]
    average = board.rows[0].average
    assert average is not None
    assert average.value == 60
    assert average.stderr == pytest.approx(math.hypot(2, 1) / 2)
    assert board.rows[1].average is None
    assert "part has no average: it lacks demo_vsr." in board.notes
    alone = leaderboard([part], suite="demo")
    assert not alone.averaged
    assert "No average: no run has a score of demo_vsr." in alone.notes


def test_points_are_not_averaged_with_percentages(tmp_path: Path) -> None:
    figures = dict.fromkeys(SUITES["general"], (50.0, 1.0)) | {"mme": (1500.0, 30.0)}
    board = leaderboard([write_run(tmp_path, "one", figures)], suite="general")
    average = board.rows[0].average
    assert average is not None
    assert average.value == 50
    assert any("mme is in points and no part of it" in note for note in board.notes)


def test_the_interval_of_an_average_comes_from_its_parts(tmp_path: Path) -> None:
    """At the end of the scale a standard error is 0, and the interval is not."""
    run = write_run(tmp_path, "one", {"demo_whatsup": (100.0, 0.0), "demo_vsr": (60.0, 3.0)})
    path = run / "scores.json"
    rows = json.loads(path.read_text())
    for figure in rows["scores"][0]["metrics"].values():
        figure["low"] = 92.0
    path.write_text(json.dumps(rows))
    average = leaderboard([run], suite="demo").rows[0].average
    assert average
    assert average.low == pytest.approx(80 - math.hypot(8, 6) / 2)
    assert average.high == pytest.approx(80 + 6 / 2)


def test_nothing_is_told_apart_at_the_end_of_the_scale_by_a_zero(tmp_path: Path) -> None:
    """0 and 5 of 1,222 wrong: Fisher's test has p = 0.06."""
    perfect = write_run(tmp_path, "perfect", {"vsr_zeroshot": (100.0, 0.0)})
    near = write_run(tmp_path, "near", {"vsr_zeroshot": (99.6, 0.18)})
    path = perfect / "scores.json"
    rows = json.loads(path.read_text())
    rows["scores"][0]["metrics"]["accuracy"] |= {"low": 99.5, "high": 100.0}
    path.write_text(json.dumps(rows))
    assert [row.ranks for row in leaderboard([perfect, near]).rows] == [(1, 2), (1, 2)]


def test_models_that_cannot_be_told_apart_share_a_rank(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, f"plus {by}", {"whatsup_a": (50.0 + by, 2.0)})
        for by in (0.0, 1.0, 5.0, 5.7, 20.0)
    ]
    board = leaderboard(runs)
    # Their intervals reach 4 either way, so two are told apart from sqrt(32) = 5.66 on.
    ranks = {row.name: row.ranks for row in board.rows}
    assert ranks == {
        "plus 20.0": (1, 1),
        "plus 5.7": (2, 4),  # as good as 5.0 and 1.0, better than 0.0
        "plus 5.0": (2, 5),
        "plus 1.0": (2, 5),
        "plus 0.0": (3, 5),
    }
    shown = [row[0] for row in grids(board)[0].rows]
    assert shown == ["1", "2–4", "2–5", "2–5", "3–5"]


def test_differences_to_a_base(tmp_path: Path) -> None:
    base = write_run(tmp_path, "base", DEMO)
    new = write_run(tmp_path, "new", better(3.0))
    board = leaderboard([new], suite="demo", base=base, published=True)
    rows = {row.name: row for row in board.rows}
    assert [cell.delta for cell in rows["new"].cells if cell] == [3, 3]
    assert rows["new"].average.delta == 3  # type: ignore[union-attr]
    others = [row for name, row in rows.items() if name != "new"]
    assert all(cell.delta is None for row in others for cell in row.cells if cell)


def test_seeds_of_one_recipe_are_one_row(tmp_path: Path) -> None:
    def seeds(recipe: str, *values: float) -> list[Path]:
        return [
            write_run(
                tmp_path,
                f"{recipe}-{seed}",
                {"whatsup_a": (value, 2.0)},
                lineage={
                    "base": {"name": "Qwen", "weights": "1"},
                    "data": {"name": "spare", "digest": "2"},
                    "recipe": recipe,
                    "seed": seed,
                    "step": 500 + 100 * seed,
                },
            )
            for seed, value in enumerate(values)
        ]

    runs = [*seeds("a", 50.0, 52.0, 57.0), *seeds("b", 40.0)]
    board = leaderboard(runs)
    first, second = board.rows
    assert (first.name, second.name) == ("Qwen → spare (3 seeds)", "b-0")
    assert first.cells[0] is not None
    assert first.cells[0].value == 53
    assert first.cells[0].deviation == pytest.approx(3.6056, abs=1e-4)
    assert first.runs == tuple(map(str, runs[:3]))
    (table,) = grids(board)
    assert "53.0 ± 3.6" in table.rows[0]
    assert any("over a-0, a-1, a-2" in note for note in board.notes)


def test_a_checkpoint_says_where_it_comes_from(tmp_path: Path) -> None:
    """What its trainer wrote beside the weights reaches the board, with each seed's own score."""
    write_world(tmp_path / "data", sets=2)
    for seed in range(2):
        checkpoint = tmp_path / f"checkpoint-{seed}"
        build_checkpoint(checkpoint, "llava", hidden=32, layers=1, side=28, seed=seed)
        lineage = {"base": {"name": "tiny"}, "data": "scenes", "recipe": "demo", "seed": seed}
        (checkpoint / "lineage.json").write_text(json.dumps(lineage))
        run = spare.evaluate(
            str(checkpoint), "vsr_zeroshot", data=tmp_path / "data", out=tmp_path / str(seed)
        )
        assert run.manifest["lineage"] == lineage
    (row,) = leaderboard([tmp_path / "0", tmp_path / "1"]).rows
    assert row.name == "tiny → scenes (2 seeds)"
    (checkpoint / "lineage.json").write_text("[")
    with pytest.raises(spare.SpareError, match=r"lineage\.json is not JSON"):
        spare.load_model(str(checkpoint))


# The paper's rows


def test_the_papers_rows() -> None:
    """Table 3 of arXiv 2504.20648: some rows, figure by figure."""
    rows = {row.model: row for row in published()}
    assert len(rows) == 12
    assert columns()[:5] == [
        ("vsr_zeroshot", "accuracy"),
        ("whatsup_a", "individual"),
        ("whatsup_b", "individual"),
        ("3dsrbench", "circular"),
        ("realworldqa", "accuracy"),
    ]
    assert len(columns()) == 14
    assert list(rows["SpaRE-2B"].figures.values())[:5] == [80.8, 93.4, 95.1, 54.4, 63.5]
    assert rows["GPT-4o"].average == 77.9
    assert rows["LLaVA-NeXT-8B"].figures["mme", "code_reasoning"] == 52.5
    for task, metric in columns():
        assert metric in load_task(task).figures
    assert list(dict.fromkeys(task for task, _ in columns())) == list(SUITES["spare-paper"])


def test_reported_rows_are_marked_in_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(write_run(tmp_path, "ours", TWO))
    for look in ("rich", "markdown", "latex", "html"):
        assert main(["leaderboard", run, "--published", "--format", look]) == 0
        shown = " ".join(capsys.readouterr().out.replace("\\", "").split())
        assert "SpaRE-7B (reported)" in shown
        assert "is not proven" in shown
    assert main(["leaderboard", run, "--published", "--format", "csv"]) == 0
    for row in csv.DictReader(io.StringIO(capsys.readouterr().out)):
        assert row["reported"] == str(row["name"] != "ours")
        assert (row["prompt"], row["rules"]) == (
            ("", "") if row["name"] != "ours" else OURS[row["task"]]
        )
    assert main(["leaderboard", run, "--published", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in told["rows"] if not row["reported"]} == {"ours"}
    assert all(row["ranks"] is None for row in told["rows"] if row["reported"])


def test_the_papers_suite_has_the_papers_columns(tmp_path: Path) -> None:
    figures = dict.fromkeys(SUITES["spare-paper"], (50.0, 1.0))
    board = leaderboard([write_run(tmp_path, "one", figures)], suite="spare-paper", published=True)
    assert [(kind.task, kind.metric) for kind in board.columns] == columns()
    rows = {row.name: row for row in board.rows}
    assert [cell and cell.value for cell in rows["SpaRE-2B"].cells] == [
        *(80.8, 93.4, 95.1, 54.4, 63.5, 40.0, 71.6, 58.2, 79.2),
        *(1467.9, 432.4, 108.5, 110.1, 39.5),
    ]


# Runs that cannot be shown


def test_the_rest_is_shown_and_a_sentence_names_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_run(tmp_path, "good", TWO)
    newer = write_run(tmp_path, "newer", TWO)
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"format": FORMAT + 1}))
    torn = write_run(tmp_path, "torn", TWO)
    (torn / "scores.json").write_text('{"scores": [{')
    half = write_run(tmp_path, "half", TWO)
    rows = json.loads((half / "scores.json").read_text())["scores"]
    (half / "scores.json").write_text(json.dumps({"scores": rows[:1]}))
    paths = [str(tmp_path / name) for name in ("good", "newer", "torn", "half", "none")]
    assert main(["leaderboard", *paths]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    for sentence in (
        f"{newer} has run format",
        f"{torn / 'scores.json'} is damaged",
        f"{half} is unfinished: no score yet of vsr_zeroshot",
        f"{tmp_path / 'none'} is not a run",
    ):
        assert sentence in shown
    board = leaderboard(paths)
    assert {row.name for row in board.rows} == {"good", "half"}
    assert main(["leaderboard", str(good)]) == 0
    assert main(["leaderboard", str(newer), str(torn)]) == 2


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / seed, "run", TWO) for seed in ("a", "b")]
    assert {row.name for row in leaderboard(paths).rows} == {"a/run", "b/run"}
    twice = leaderboard([paths[0], paths[0]])
    assert len(twice.rows) == 1


# Formats


NASTY = Grid(
    "A & B_1 <i>",
    [Column("name"), Column("50 % | #1", numeric=True)],
    [["a|b\\c*d*", "1.0 ± 0.2"], ["<script>alert(1)</script>\n~^{$x_1$}", "−2"]],
    ["100 % of [this](http://x) is `text`"],
    frozenset({1}),
)


def test_markdown_shows_every_cell_as_it_is() -> None:
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(written([NASTY], "markdown"))
    cells = [
        "".join(child.content for child in (token.children or []) if child.type == "text")
        for before, token in itertools.pairwise(tokens)
        if before.type in ("th_open", "td_open")
    ]
    wanted = [column.name for column in NASTY.columns] + [
        " ".join(cell.split()) for row in NASTY.rows for cell in row
    ]
    assert cells == wanted
    assert not any(child.type == "link_open" for token in tokens for child in token.children or [])


def test_csv_and_html_keep_what_they_are_given() -> None:
    rows = list(csv.reader(io.StringIO(written([NASTY], "csv"))))
    assert rows[1:] == [list(row) for row in NASTY.rows]
    page = written([NASTY], "html")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def has_booktabs() -> bool:
    look = shutil.which("kpsewhich")
    return bool(look) and not subprocess.run([look, "booktabs.sty"], capture_output=True).returncode


@pytest.mark.skipif(not has_booktabs(), reason="no LaTeX with booktabs is installed")
def test_latex_compiles(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a_b & c", TWO)
    tables = [*grids(leaderboard([run], published=True)), NASTY]
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        f"{written(tables, 'latex')}\\end{{document}}\n"
    )
    (tmp_path / "table.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_escapes_what_is_special() -> None:
    text = written([NASTY], "latex")
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"a\textbar{}b\textbackslash{}c*d*" in text
    assert r"50 \% \textbar{} \#1" in text
    assert not any(mark in line for line in body for mark in ("|", "<", "±", "−"))


def test_a_model_card_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_world(tmp_path / "data", sets=4)
    run = spare.evaluate(
        "random", "whatsup_a,vsr_zeroshot", data=tmp_path / "data", out=tmp_path / "run"
    )
    file = tmp_path / "README.md"
    arguments = ["leaderboard", str(run.path), "--format", "hf-model-card", "--out", str(file)]
    assert main(arguments) == 0
    card = ModelCard.load(file)
    results = {one.dataset_name: one for one in card.data.eval_results}
    for score in run.scores:
        one = results[score.task]
        assert one.metric_value == pytest.approx(score.metrics[score.headline]["value"], abs=1e-3)
        assert one.metric_args["prompt"] == score.prompt
    capsys.readouterr()
    assert main(["leaderboard", "a", "b", "--format", "hf-model-card"]) == 2
    assert "name one" in capsys.readouterr().err


def test_a_board_of_real_runs_fits_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path / "data", sets=4)
    for seed in range(3):
        spare.evaluate(
            "random",
            "whatsup_a,vsr_zeroshot",
            data=tmp_path / "data",
            out=tmp_path / str(seed),
            seed=seed,
        )
    assert main(["leaderboard", *(str(tmp_path / str(seed)) for seed in range(3))]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_a_suite_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_run(tmp_path, "one", TWO))
    assert main(["leaderboard", run, "--suite", "spatail"]) == 2
    assert "There is no suite 'spatail'; there are spatial" in capsys.readouterr().err
    assert main(["leaderboard", run, "--suite", "general"]) == 2
    assert "None of the runs has a score of a task of the suite general" in capsys.readouterr().err


def test_a_base_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path, "one", DEMO)
    with pytest.raises(SpareError, match="nowhere is not a run"):
        leaderboard([run], base=tmp_path / "nowhere")
    other = write_run(tmp_path, "other", {"mme": (1500.0, 30.0)})
    with pytest.raises(SpareError, match="nothing to subtract"):
        leaderboard([run], suite="demo", base=other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"data": "d", "seed": 1}, {"data": "d", "seed": 1}),  # a copy
        ({"seed": 1}, {"seed": 2}),  # nothing says that they are of one recipe
        ({"data": "d", "seed": 1}, {"data": "e", "seed": 2}),
    ],
)
def test_what_is_no_second_seed_is_not_folded(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    board = leaderboard(
        [
            write_run(tmp_path, "one", TWO, lineage=first),
            write_run(tmp_path, "two", TWO, lineage=second),
        ]
    )
    assert sorted(row.name for row in board.rows) == ["one", "two"]


def test_a_run_of_shuffled_pictures_is_no_seed(tmp_path: Path) -> None:
    lineage = {"data": "d", "seed": 1}
    real = write_run(tmp_path, "real", TWO, lineage=lineage)
    blind = write_run(tmp_path, "blind", TWO, lineage=lineage | {"seed": 2})
    manifest = json.loads((blind / "manifest.json").read_text())
    manifest["model"]["pictures"] = "of other questions, seed 0"
    (blind / "manifest.json").write_text(json.dumps(manifest))
    assert len(leaderboard([real, blind]).rows) == 2


def test_differences_to_one_of_several_seeds_say_so(tmp_path: Path) -> None:
    seeds = [
        write_run(tmp_path, f"seed {n}", better(n), lineage={"data": "d", "seed": n})
        for n in range(3)
    ]
    board = leaderboard([*seeds, write_run(tmp_path, "new", better(9.0))], base=seeds[0])
    assert any("to the mean of" in note and "one of" in note for note in board.notes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"value": 50.0', '"value": NaN', 1),
        lambda text: text.replace('"value": 50.0', '"value": "50"', 1),
        lambda text: text.replace('"n": 100', '"n": "many"', 1),
    ],
)
def test_figures_that_are_none_are_damage(tmp_path: Path, damage: Callable[[str], str]) -> None:
    good, bad = write_run(tmp_path, "good", TWO), write_run(tmp_path, "bad", TWO)
    path = bad / "scores.json"
    path.write_text(damage(path.read_text()))
    board = leaderboard([good, bad])
    assert [row.name for row in board.rows] == ["good"]
    assert any("scores.json is damaged" in problem for problem in board.problems)


@pytest.mark.parametrize("change", [{"calls": "none"}, {"lineage": "base"}, {"model": []}])
def test_a_damaged_manifest_is_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    good, bad = write_run(tmp_path, "good", TWO), write_run(tmp_path, "bad", TWO)
    path = bad / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    board = leaderboard([good, bad])
    assert [row.name for row in board.rows] == ["good"]
    assert any("manifest.json is damaged" in problem for problem in board.problems)
