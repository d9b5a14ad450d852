"""Words of a text, found in two ways that must not differ."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from spare.tasks.phrases import WORD, phrase, runs, words

TEXTS = st.one_of(st.text(), st.text(alphabet="aZ_ 05.,-'’\n\t!é\x00", max_size=40))


@given(TEXTS)
def test_the_fast_way_to_words_is_the_plain_one(text: str) -> None:
    assert words(text) == WORD.findall(text)


@given(TEXTS.filter(str.isascii))
def test_runs_end_at_word_boundaries(text: str) -> None:
    assert runs(text) == re.findall(r"\w+", text)


def test_phrases_are_words_without_articles() -> None:
    assert phrase("A mug, under the table.") == " mug  under  table "
    assert phrase("on the left") == phrase("LEFT") == " left "
    assert phrase("It isn’t -1,200.5°") == " it  is  not  -1,200.5 "
    assert phrase("The") == " the "
    assert phrase("?!") == ""
