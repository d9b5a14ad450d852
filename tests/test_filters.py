"""Reading what a language model wrote, and the filters on it, one pair at a time."""

from __future__ import annotations

import json
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.generation.llm import LONGEST_ANSWER, LONGEST_QUESTION, SCHEMA, read_pairs
from spare.generation.mentions import normalised, stem, tokens
from spare.generation.review import sample_size
from spare.generation.stages.duplicates import differ
from spare.generation.stages.reference import SUSPICIOUS, fault, told
from spare.generation.stages.support import Words, support, supported

WORDS = st.text(string.ascii_letters + ' "\\{}[],:\n', min_size=1, max_size=60)
PAIRS = st.lists(
    st.fixed_dictionaries({"question": WORDS, "answer": WORDS}).filter(
        lambda pair: all(" ".join(text.split()) for text in pair.values())
    ),
    max_size=6,
)
ONE = '{"question": "Where is it?", "answer": "Left."}'
TWO = '{"question": "What is left?", "answer": "A cup."}'
BOTH = [("Where is it?", "Left."), ("What is left?", "A cup.")]


# Replies


@pytest.mark.parametrize(
    ("text", "found", "rejected"),
    [
        (f"[{ONE}, {TWO}]", BOTH, 0),
        (f"```json\n[{ONE},\n{TWO}]\n```", BOTH, 0),
        (f"Here you are: [{ONE}] and [{TWO}]", BOTH, 0),
        (f"[{ONE}]\n[{TWO}]", BOTH, 0),
        (f"{ONE}\n{TWO}", BOTH, 0),
        (f'{{"pairs": [{ONE}, {TWO}]}}', BOTH, 0),
        (f'[{ONE}, {{"question": "What is", "answ', BOTH[:1], 0),
        (f'[{ONE}, {{"question": "What is behind?", "answer": "The wall is to the ri', BOTH[:1], 0),
        (f'[{ONE}, {{"question": "What?"}}]', BOTH[:1], 1),
        (f'[{ONE}, {{"question": "What?", "answer": null}}]', BOTH[:1], 1),
        (f'[{ONE}, {{"question": "What?", "answer": 3}}]', BOTH[:1], 1),
        (f'[{ONE}, {{"question": "What?", "answer": " "}}]', BOTH[:1], 1),
        (f'[{ONE}, {{"question": "What?", "answer": "x", "more": 1}}]', BOTH[:1], 1),
        (f'[{ONE}, {{"question": "{"x" * 301}", "answer": "x"}}]', BOTH[:1], 1),
        (f'[{ONE}, "What?"]', BOTH[:1], 1),
        ("I cannot do that.", [], 0),
        ("", [], 0),
        ("null", [], 1),
    ],
)
def test_whole_pairs_are_read_and_nothing_is_closed_by_guessing(
    text: str, found: list[tuple[str, str]], rejected: int
) -> None:
    assert read_pairs(text) == (found, rejected)


@given(PAIRS)
def test_pairs_come_back_as_they_went(pairs: list[dict[str, str]]) -> None:
    plain = [
        (" ".join(pair["question"].split()), " ".join(pair["answer"].split())) for pair in pairs
    ]
    assert read_pairs(json.dumps(pairs)).found == plain


@given(PAIRS, st.integers(0, 400))
def test_a_reply_that_is_cut_off_keeps_what_is_whole(pairs: list[dict[str, str]], end: int) -> None:
    whole = read_pairs(json.dumps(pairs)).found
    found = read_pairs(json.dumps(pairs)[:end]).found
    # Braces inside a text may look like an object of their own, but never like a pair.
    assert found == whole[: len(found)]


@given(st.text(max_size=300) | st.text('{}[]":,questionaswr ', max_size=300))
def test_any_reply_is_read(text: str) -> None:
    for question, answer in read_pairs(text).found:
        assert 0 < len(question) <= LONGEST_QUESTION
        assert 0 < len(answer) <= LONGEST_ANSWER


def test_the_schema_lets_through_what_is_read() -> None:
    pattern = json.loads(SCHEMA)["items"]["properties"]["question"]["pattern"]
    for length in (5, 100, 129, 250, LONGEST_QUESTION):
        question = "w" * (length - 1) + "?"
        assert re.search(pattern, question)
        assert read_pairs(json.dumps([{"question": question, "answer": "left"}])).found
    assert not re.search(pattern, "w" * LONGEST_QUESTION + "?")


# Duplicates


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is to the left of the tree?", "What is to the right of the tree?"),
        ("Is the cat left of the dog?", "Is the dog left of the cat?"),
        ("What is above the bed?", "What is under the bed?"),
        ("What are the two cups on?", "What are the three cups on?"),
        ("What is near the red car?", "What is near the blue car?"),
        ("What is behind the chair?", "Where is the chair behind?"),
        ("What is inside the box?", "What is outside the box?"),
        ("What is to the right of the onions?", "What is to the right of the tomatoes?"),
        (
            "Where is the glove in relation to the grate?",
            "Where is the grate in relation to the glove?",
        ),
        ("What is opposite the bed?", "What is beside the bed?"),
        ("How many cups are on the table?", "How far are the cups from the table?"),
    ],
)
def test_questions_that_mean_another_thing_differ(one: str, other: str) -> None:
    caption = frozenset(map(stem, tokens(f"{one} {other}")))
    assert differ(tokens(one), tokens(other), caption)
    assert differ(tokens(other), tokens(one), caption)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is to the left of the tree?", "What can you see to the left of the tree?"),
        ("What is next to the bed?", "What is beside the bed?"),
        ("Where is the cup located?", "Where is the cup positioned?"),
        ("What is the position of the cup?", "Where is the cup?"),
        ("On which side of the road is the car?", "Where on the road is the car?"),
        ("How are the cups placed relative to the jug?", "Where are the cups relative to the jug?"),
    ],
)
def test_questions_that_say_the_same_do_not(one: str, other: str) -> None:
    assert not differ(tokens(one), tokens(other), frozenset())


@given(st.text(max_size=60))
def test_nothing_differs_from_itself(text: str) -> None:
    assert not differ(tokens(text), tokens(text), frozenset(tokens(text)))
    assert normalised(normalised(text)) == normalised(text)


# Reference


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is mentioned in the caption?", "A cup."),
        ("According to the description, what is left?", "A cup."),
        ("What does the text say about the table?", "It is red."),
        ("What is left of the cup?", "It is not mentioned."),
        ("What is left of the cup?", "Cannot be determined."),
        ("What is behind the cup?", "Unknown"),
        ("Write question-answer pairs?", "No."),
        ("The cup is on the left.", "Yes."),
        ("What is left?", "what is LEFT"),
    ],
)
def test_talk_about_the_text_is_found(question: str, answer: str) -> None:
    assert fault(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is on the left side of the image?", "A cup."),
        ("Where is the sign that says STOP?", "Behind the car."),
        ("Where is the text on the shirt?", "On the front of it."),
        ("What stands in the foreground of the photo?", "A bench."),
    ],
)
def test_talk_about_the_picture_is_not(question: str, answer: str) -> None:
    assert fault(question, answer) == ""


# Support

CAPTION = Words(
    "A white mug stands to the left of a large plate. Behind the plate is a wooden chair. "
    "Two dogs are lying under the table."
)


def is_supported(question: str, answer: str) -> bool:
    verbatim, coverage, directions, _ = support(CAPTION, tokens(question), tokens(answer))
    return supported([verbatim], [coverage], [directions], 0.7)[0]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is to the left of the plate?", "A white mug."),
        ("What is to the left of the plate?", "The mug"),
        ("Where are the dogs?", "Under the table."),
        ("Where do the dogs lie?", "They lie beneath the table."),
        ("Is the mug left of the plate?", "Yes."),
        ("Is the mug right of the plate?", "No, the mug is to the left of the plate."),
        ("What is behind the plate?", "A wooden chair is behind the plate."),
    ],
)
def test_what_the_caption_says_is_supported(question: str, answer: str) -> None:
    assert is_supported(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is to the left of the plate?", "A silver spoon."),
        ("Where is the mug?", "To the right of the plate."),
        ("Where are the dogs?", "On the sofa."),
        ("Is the lamp above the plate?", "Yes."),
        ("Is the mug on the plate?", "No."),
        ("What is in front of the mug?", "A red car in front of it."),
    ],
)
def test_what_it_does_not_say_is_not(question: str, answer: str) -> None:
    assert not is_supported(question, answer)


def test_a_sentence_must_have_all_of_it_together() -> None:
    assert support(CAPTION, tokens("What is left of the plate?"), tokens("A white mug."))[3]
    # The words are all there, but no sentence says so.
    assert not support(CAPTION, tokens("What is under the table?"), tokens("A wooden chair."))[3]


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_any_pair_has_scores(caption: str, question: str, answer: str) -> None:
    _, coverage, _, _ = support(Words(caption), tokens(question), tokens(answer))
    assert 0 <= coverage <= 1


@given(
    st.lists(
        st.sampled_from(
            (
                *("the described image", "what does", "the sentence", "say", "is it said", "A cup"),
                *("not possible to", "cannot be seen", "none mentioned", "N/A", "of the text on"),
                *("given information", "as noted", "no information", "doesn't say", "Implied?"),
                *('"answer"', "json", "description:", "specified", "Unclear", "stated", "."),
            )
        ),
        max_size=6,
    ).map(" ".join)
)
def test_what_a_pattern_finds_was_suspected(text: str) -> None:
    if told(text, text):
        assert any(word in text.lower() for word in SUSPICIOUS)


# The human check


@pytest.mark.parametrize(
    ("population", "size"), [(455_494, 384), (1, 1), (0, 0), (100, 80), (10**9, 385)]
)
def test_the_sample_size_is_that_of_the_formula(population: int, size: int) -> None:
    """The paper's: N = 455,494, Z = 1.96, p = 0.5, E = 0.05 -> 384."""
    assert sample_size(population) == size


def test_the_documented_figures_are_those_of_the_labelled_pairs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import importlib.util
    from pathlib import Path

    root = Path(__file__).parent.parent
    spec = importlib.util.spec_from_file_location("m", root / "benchmarks/measure_filters.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    shown = capsys.readouterr().out
    documented = (root / "docs" / "generation.md").read_text()
    for line in shown.splitlines():
        assert line in documented
