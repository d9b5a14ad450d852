"""Spatial relations in texts: by the table's keywords, by a small grammar, and by templates."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.cli import main
from spare.errors import SpareError
from spare.generation.frames import CUES, FRAMES, find_cues, frame_of
from spare.generation.grammar import read_facts
from spare.generation.mentions import TOKEN, find_mentions, keyword_counts, tokens
from spare.generation.spatiality import gini, relations, top_share
from spare.generation.stages import Pairs
from spare.generation.stages.tags import CLASS_OF_GROUP, tags
from spare.generation.templates import ask
from spare.relations import CLASSES, relation_groups

WORDS = st.sampled_from(
    (
        *("the", "a", "cat", "dog", "left", "right", "of", "to", "on", "in", "front", "behind"),
        *("is", "are", "under", "near", "between", "and", ",", ".", "table", "image", "side"),
        *("there", "top", "facing", "away", "from", "3", "middle"),
    )
)
TEXTS = st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=80)


MARKED = st.text("abz AZ,.?!'’-;3\n½é_İ", max_size=30)


@given(TEXTS | MARKED)
def test_plain_texts_fall_into_the_tokens_that_all_texts_do(text: str) -> None:
    assert tokens(text) == TOKEN.findall(text.lower())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What is to the left of the plate?", ["left: to the left of"]),
        ("It lies on the left side of a bench.", ["left: on the left side of"]),
        ("A cup on top of a book in front of a wall", ["on: on top of", "front: in front of"]),
        ("in the middle of the room, next to her", None),
        ("On Monday in 2019 he went right away.", []),
        ("In this image I can see a dog.", []),
        ("Five cups over 3 plates", ["above: over"]),
        ("Nothing at all", []),
    ],
)
def test_the_longest_keyword_counts_once(text: str, found: list[str] | None) -> None:
    mentions = [f"{one.relation}: {one.keyword}" for one in find_mentions(tokens(text))]
    if found is None:
        found = ["central_position: in the middle of", "next_to_beside_adjacent: next to"]
    assert mentions == found


@given(TEXTS)
def test_mentions_do_not_overlap_and_stand_where_they_say(text: str) -> None:
    words = tokens(text)
    end = 0
    for one in find_mentions(words):
        assert end <= one.start < one.end <= len(words)
        assert " ".join(words[one.start : one.end]) == one.keyword
        end = one.end


@given(st.lists(TEXTS, max_size=4))
def test_keywords_are_counted_wherever_they_stand(texts: list[str]) -> None:
    """As Table 10 does: "to the left of" counts for "left" and for "left of", too."""
    counts = keyword_counts(texts)
    assert len(counts) == sum(len(group.keywords) for group in relation_groups().values())
    joined = [f" {' '.join(tokens(text))} " for text in texts]
    for (_, keyword), count in counts.items():
        pattern = re.compile(f"(?= {re.escape(' '.join(tokens(keyword)))} )")
        assert count == sum(len(pattern.findall(text)) for text in joined)


FACTS = [
    ("A white mug stands to the left of the plate.", "a white mug|to the left of|the plate"),
    ("The dog is lying under a wooden table.", "the dog|under|a wooden table"),
    ("Behind the house, there are tall trees.", "tall trees|behind|the house"),
    ("On top of the shelf is a small red vase.", "a small red vase|on top of|the shelf"),
    ("The lamp, which is next to the bed, is on.", "the lamp|next to|the bed"),
    ("A row of trees is behind the fence.", "a row of trees|behind|the fence"),
    ("The two cats sit in front of the blue door.", "the two cats|in front of|the blue door"),
    ("Between the chair and the table sits a cat.", "a cat|between|the chair and the table"),
    ("The sign hangs above the entrance of the store.", "the sign|above|the entrance of the store"),
    ("In the background, there is a tall tree.", "a tall tree|in the background|"),
    (
        "On the left side of the image I can see two dogs.",
        "two dogs|on the left side of|the image",
    ),
]


@pytest.mark.parametrize(("sentence", "fact"), FACTS)
def test_plain_sentences_are_read(sentence: str, fact: str) -> None:
    (found,) = read_facts(sentence)
    assert f"{found.subject}|{found.way.said}|{found.relatum}" == fact
    assert found.sentence == sentence.rstrip(".")


@pytest.mark.parametrize(
    "sentence",
    [
        "A woman holding a bag to the left of the car.",  # the woman, or the bag?
        "The handle of the door is to the right of the lock.",  # the handle, not the door
        "He stands behind her.",
        "It is on the left of it.",
        "The man in a blue shirt smiles.",
        "Left of the.",
    ],
)
def test_what_is_not_plain_is_passed_over(sentence: str) -> None:
    assert list(read_facts(sentence)) == []


@given(TEXTS)
def test_nothing_is_made_up(text: str) -> None:
    """Whatever a text is, the things of a fact stand in it word for word."""
    words = f" {' '.join(tokens(text))} "
    for fact in read_facts(text):
        assert f" {fact.subject} " in words
        for thing in fact.relatum.split(" and "):
            assert not thing or thing == "the image" or f" {thing} " in words


@given(st.sampled_from([sentence for sentence, _ in FACTS]))
def test_yes_and_no_are_asked_equally_often(sentence: str) -> None:
    answers = [answer.partition(",")[0] for _, answer, _ in ask(sentence)]
    assert answers.count("Yes") == answers.count("No")
    assert len(answers) >= 2


def test_templates_ask_who_and_where_and_whether() -> None:
    asked = {question: answer for question, answer, _ in ask(FACTS[0][0])}
    assert asked == {
        "What is to the left of the plate?": "A white mug.",
        "Where is the white mug?": "To the left of the plate.",
        "Is the white mug to the left of the plate?": "Yes, the white mug is to the left of the "
        "plate.",
        "Is the white mug to the right of the plate?": "No, the white mug is to the left of the "
        "plate.",
    }


# Tags


def tags_of(question: str, answer: str) -> dict[str, object]:
    pairs = Pairs(["id"], [question], [answer], [""], [0], [""])
    return tags(pairs, 0, find_cues([f"{question} {answer}".lower()])[0])


@pytest.mark.parametrize(
    ("question", "answer", "frame", "relation"),
    [
        ("What is left of the tree from the viewer's perspective?", "A cup.", "viewer", "left"),
        ("From the woman's point of view, what is on the left?", "A cup.", "other_agent", "left"),
        ("What is on the left side of the image?", "A dog.", "image_region", "left"),
        ("What is in the background?", "Trees.", "image_region", "back"),
        ("What is in his left hand?", "A phone.", "intrinsic", "left"),
        ("What stands at the front of the house?", "A bush.", "intrinsic", "front"),
        ("What lies north of the lake?", "A hill.", "absolute_cardinal", "cardinal_directions"),
        ("What hangs above the table?", "A lamp.", "absolute_gravity", "above"),
        ("What is inside the bowl?", "An apple.", "none", "inside_within"),
        ("What is to the left of the ball?", "A cup.", "viewer", "left"),
        ("What is in front of the car?", "A dog.", "ambiguous", "front"),
        ("Where is the cup?", "To the right of the chair.", "ambiguous", "right"),
    ],
)
def test_the_frame_of_reference_is_read_by_its_cue(
    question: str, answer: str, frame: str, relation: str
) -> None:
    found = tags_of(question, answer)
    assert (found["frame"], found["relation"]) == (frame, relation)


CUE_WORDS = st.sampled_from(
    (
        *("from", "in", "on", "the", "our", "this", "viewer's", "camera’s", "his", "her", "my"),
        *("own", "woman's", "driver's", "left", "right", "front", "back", "sides", "foot", "of"),
        *("hand", "side", "perspective", "point of view", "view", "photo", "scene", "background"),
        *("house", "a", "red", "car", "behind the wheel", "north", "southern", "é", "-", "other"),
    )
)


@given(st.lists(CUE_WORDS, max_size=12).map(" ".join))
def test_every_cue_is_found_among_the_signs(text: str) -> None:
    """The cues' patterns are tried only where Arrow has found a sign."""
    match = next((found for _, one in CUES if (found := one.search(text))), None)
    found = find_cues([text])[0]
    assert (found.cue if found else None) == (match.group() if match else None)


def test_arguments_are_those_of_the_question() -> None:
    found = tags_of("Is the red cup to the left of the plate?", "Yes.")
    assert (found["subject"], found["relatum"]) == ("the red cup", "the plate")
    assert found["class"] == "projective"
    assert found["vsr_category"] == "Projective"
    found = tags_of("Where is the red cup?", "Behind the small plate.")
    assert (found["subject"], found["relatum"]) == ("the red cup", "the small plate")


@given(TEXTS, TEXTS)
def test_any_pair_has_tags(question: str, answer: str) -> None:
    found = tags_of(question, answer)
    assert found["frame"] in FRAMES
    assert found["class"] in (*CLASSES, "")
    assert (found["relation"] == "") == (found["class"] == "")
    assert frame_of(None, "left", answer).name in FRAMES


def test_every_relation_has_a_class() -> None:
    assert set(CLASS_OF_GROUP) == set(relation_groups())


# How uneven


@given(st.lists(st.integers(0, 1000), min_size=29, max_size=29))
def test_unevenness_is_between_none_and_all(counts: list[int]) -> None:
    assert 0 <= gini(counts) < 1
    assert 0 <= top_share(counts) <= 1
    if len(set(counts)) == 1 and counts[0]:
        assert gini(counts) == pytest.approx(0)
        assert top_share(counts) == pytest.approx(5 / 29)


def test_one_relation_alone_is_as_uneven_as_can_be() -> None:
    assert gini([0] * 28 + [7]) == pytest.approx(28 / 29)
    assert top_share([0] * 28 + [7]) == 1


ROWS: list[dict[str, Any]] = [
    {"text": "A cup stands above it."},
    {"text": None},
    {"text": "  "},
    {"conversations": [{"from": "human", "value": None}]},
    {"text": "The left one."},
]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_row_without_a_text_is_counted_and_told(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        lines = map(json.dumps, ROWS)
        path.write_text(f"[{','.join(lines)}]" if kind == "json" else "\n".join(lines))
    (found,) = relations([path])
    assert (found.texts, found.spatial, found.textless) == (2, 2, 3)
    assert main(["relations", str(path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"3 rows without a text left out; the first is {path}, row 2." in told


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("rows.jsonl", '{"text": null}\n', r"rows\.jsonl: has no text in any of its rows"),
        ("rows.jsonl", '{"text": "a"}\n{"te', r"rows\.jsonl, row 2: not JSON\. Fetch it"),
        ("rows.csv", "words\nabove it\n", r"rename the column that holds them"),
        ("rows.json", '{"text": "a"}', r"a list of objects was expected"),
        ("rows.parquet", "PAR1", r"rows\.parquet: cannot be read as a whole parquet file"),
        ("rows.txt", "above it", r"rows\.txt has none of the formats"),
    ],
)
def test_no_texts_are_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpareError, match=sentence):
        relations([tmp_path / name])
