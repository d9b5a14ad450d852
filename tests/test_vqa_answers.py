"""Normal forms of short answers and the score of ten people's votes, as MMF, LLaVA, lmms-eval and
VLMEvalKit compute them. Expected values come from runs of those programs."""

from __future__ import annotations

import hashlib
import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.tasks.vqa_answers import (
    CONTRACTIONS,
    MARKS,
    official_answer,
    plain_answer,
    vlmevalkit_2024_answer,
    vlmevalkit_answer,
    vote_score,
    without_marks,
)

FORMS = (official_answer, vlmevalkit_answer, vlmevalkit_2024_answer, plain_answer)


def test_the_contractions_are_those_of_the_references() -> None:
    """SHA-256 of the table in MMF, LLaVA, lmms-eval and VLMEvalKit, sorted by key."""
    lines = "".join(f"{short}\t{whole}\n" for short, whole in sorted(CONTRACTIONS.items()))
    assert len(CONTRACTIONS) == 120
    assert len(lines.encode()) == 1942
    assert hashlib.sha256(lines.encode()).hexdigest() == (
        "f7e93e52d4cd2e370d30e576bfe54d4437e95fd593cec197817e9e388c46659f"
    )
    for short, whole in CONTRACTIONS.items():
        assert short.replace("'", "") == whole.replace("'", "")


# The score


@pytest.mark.parametrize("matches", range(11))
def test_ten_people_score_in_steps_wherever_they_stand(matches: int) -> None:
    """The mean, over each person left out, of min(1, others who said it / 3): 0, 0.3, 0.6, 0.9, 1.
    Not min(1, matches / 3)."""
    assert vote_score(matches, 10) == [0.0, 0.3, 0.6, 0.9, *[1.0] * 7][matches]
    for places in itertools.combinations(range(10), matches):
        terms = [min(1, (matches - (person in places)) / 3) for person in range(10)]
        assert abs(vote_score(matches, 10) - statistics.mean(terms)) < 1e-9


@given(st.integers(1, 40), st.data())
def test_any_number_of_people(people: int, data: st.DataObject) -> None:
    """lmms-eval and VLMEvalKit take any number (MMF asserts ten)."""
    matches = data.draw(st.integers(0, people))
    terms = [min(1, (matches - (person < matches)) / 3) for person in range(people)]
    assert abs(vote_score(matches, people) - statistics.mean(terms)) < 1e-9


def test_one_person_alone_is_never_matched() -> None:
    """What VLMEvalKit gives a cell that holds no list."""
    assert vote_score(1, 1) == 0.0


# Normal forms


@pytest.mark.parametrize(
    ("text", "official", "vlmevalkit"),
    [
        ("Dakota", "dakota", "dakota"),
        ("dakota digital.", "dakota digital", "dakota digital"),
        ("DAKOTA, DIGITAL", "dakota digital", "dakota digital"),
        ("Hershey's", "hershey 's", "hershey's"),
        ("King's Cross", "king 's cross", "king's cross"),
        ("hershey’s", "hershey’s", "hershey’s"),
        ("The ten years", "10 years", "10 years"),
        ("none", "0", "0"),
        ("no", "no", "no"),
        ("eleven", "eleven", "eleven"),
        ("Three.", "3", "3"),
        ("0%", "0%", "0%"),
        ("$3.82", "$3.82", "$3.82"),
        ("3,82", "382", "382"),
        ("non reading", "non reading", "non reading"),
        # a full stop behind a digit
        ("3.82.", "3.82", "3.82."),
        ("3.", "3", "3."),
        ("2012.", "2012", "2012."),
        ("2.0.", "2.0", "2.0."),
        ("1.a", "1a", "1.a"),
        ("no.5", "no.5", "no.5"),
        # commas and question marks
        ("red,blue", "redblue", "red blue"),
        ("red, blue", "red blue", "red blue"),
        ("a,b", "ab", "b"),
        ("1,200 a/b", "1200 b", "1200 ab"),
        ("why?", "why", "why"),
        # apostrophes
        ("whats", "what's", "what's"),
        ("what's", "what 's", "what's"),
        ("What's up?", "what 's up", "what's up"),
        ("whats up", "what's up", "what's up"),
        ("he’s", "he’s", "he’s"),
        ("somebody'd", "somebodyd", "somebodyd"),
        ("Im", "im", "im"),
        # marks: out if a space is beside one anywhere, a space otherwise
        ("n/a", "n", "n"),
        ("u.s.a.", "usa", "usa"),
        ("U.S.A", "usa", "usa"),
        ("google.com", "googlecom", "googlecom"),
        ("c++", "c", "c"),
        ("7-up", "7 up", "7 up"),
        ("coca - cola", "coca cola", "coca cola"),
        ("a-b -c", "ab c", "ab c"),
        ("`tick`", "tick", "tick"),
        ("5:41", "5:41", "5:41"),
        ("*star* #1", "*star* #1", "*star* #1"),
        # nothing is left
        ("A", "", ""),
        ("the", "", ""),
        ("...", "", ""),
        ("?", "", ""),
        ("", "", ""),
        # white space
        ("one\ntwo\tthree", "1 2 3", "1 2 3"),
        ("a\u00a0cat\rsat", "cat sat", "cat sat"),
        # not stripped by anyone
        ("Dakota<|im_end|>", "dakota |im end|", "dakota |im end|"),
        # accents, composed or not, and digits of other scripts stay as they are
        ("cafe\u0301", "cafe\u0301", "cafe\u0301"),
        ("５", "５", "５"),
        (".٣", ".٣", ".٣"),
    ],
)
def test_normal_forms_of_the_references(text: str, official: str, vlmevalkit: str) -> None:
    assert official_answer(text) == official
    assert vlmevalkit_answer(text) == vlmevalkit


def test_full_stops_stay_behind_digits_only_since_may_2025() -> None:
    """VLMEvalKit commit 928a95b0 put the pattern right and changed scores."""
    assert vlmevalkit_2024_answer("2012.") == "2012"
    assert vlmevalkit_2024_answer("red,blue 3.82.") == "red blue 3.82"
    assert vlmevalkit_2024_answer("what's") == "what's"


@pytest.mark.parametrize("form", FORMS[:3])
def test_only_32_full_stops_go(form: object) -> None:
    """`re.UNICODE` stands where the count belongs, in all references."""
    assert callable(form)
    assert form("x" + "." * 33 + "y") == "x.y"
    assert form("x" + "." * 32 + "y") == "xy"


def test_the_official_form_taken_twice_is_another() -> None:
    """lmms-eval writes it over the answers, so a document judged twice may score differently."""
    assert official_answer("whats") == "what's"
    assert official_answer(official_answer("whats")) == "what 's"


@given(st.text(alphabet=[*MARKS, *" abcé'.1", "\n"], max_size=30))
def test_marks_are_out_and_nothing_else_is(text: str) -> None:
    plain = without_marks(text)
    assert not set(plain) & set(MARKS)
    others = [letter for letter in text if letter not in MARKS and letter != " "]
    assert [letter for letter in plain if letter != " "] == others


@given(st.one_of(st.text(), st.text(alphabet="aA1٣ .,'’s-/?\n\t\u0301\u00a0", max_size=60)))
def test_any_text_has_normal_forms(text: str) -> None:
    for form in FORMS:
        assert form(text) == " ".join(form(text).split())


@pytest.mark.parametrize("text", [".", ",", "1,", "a ", "-", "'s", "’", "\u0301", "a.1", " \n"])
def test_a_megabyte_of_anything_is_soon_evened_out(text: str) -> None:
    """By construction: replacements, and patterns of one character between two looks."""
    for form in FORMS:
        assert isinstance(form(text * 500_000), str)


# Ours


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("red,blue", "red, blue"),
        ("1,200,300", "1200300"),
        ("what's", "whats"),
        ("hershey’s", "Hershey's"),
        ("hershey 's", "hershey's"),
        ("cafe\u0301", "café"),
        ("2012.", "2012"),
        ("a-b -c", "a b c"),
        ("x" + "." * 40, "x"),
    ],
)
def test_a_person_sees_no_difference(one: str, other: str) -> None:
    assert plain_answer(one) == plain_answer(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "the"),
        ("3,82", "382"),
        ("$3.82", "3.82"),
        ("0%", "0"),
        ("hersheys", "hershey's"),
        ("red, blue", "redblue"),
        ("1,2", "12"),
        ("a", ""),
    ],
)
def test_a_person_sees_a_difference(one: str, other: str) -> None:
    assert plain_answer(one) != plain_answer(other)
