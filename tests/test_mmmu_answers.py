"""MMMU's readers: worked examples of each reference (the quirk of each is named beside it), our own
reader of open questions, and what holds for any text."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.tasks.mmmu import RULES, TASKS
from spare.tasks.mmmu_answers import open_candidates
from spare.tasks.types import Reply, Sample, Verdict

TASK = TASKS[0]

COSTS = {"A": "$6", "B": "$7", "C": "$8", "D": "$9"}
DOUBTS = {"A": "yes", "B": "no", "C": "maybe", "D": "never", "E": "cannot tell"}
LETTERED = {"A": "E", "B": "B", "C": "C", "D": "A"}
SHOWN = {letter: f"<image {number}>" for number, letter in enumerate("ABCD", 1)}
TRUTH = {"A": "True", "B": "False"}
ROCKS = {"A": "Erosion", "B": "Deposition", "C": "Weathering", "D": "None"}
FIVE = {"A": "one", "B": "two", "C": "three", "D": "four", "E": "five"}


def judged(options: Mapping[str, str], target: str, text: str, rules: str) -> Verdict:
    return TASK.judge(Sample("x", (), target, options), Reply(text), rules)


def opened(text: str, rules: str, *accepted: str) -> Verdict:
    several = accepted if len(accepted) > 1 else ()
    sample = Sample("x", (), accepted[0], answers=several)
    return TASK.judge(sample, Reply(text), rules)


# Letters: (options, reply, what the authors and lm-eval read, lmms-eval, VLMEvalKit). "" is where
# the first two draw an option and VLMEvalKit without a judge counts it as wrong.
LETTERS = [
    (COSTS, "B", "B", "B", "B"),
    (COSTS, "B.", "B", "B", "B"),
    (COSTS, "(B)", "B", "B", "B"),
    (COSTS, "The answer is B.", "B", "B", "B"),
    (COSTS, "b", "", "", ""),
    (COSTS, "B) $7", "", "", "B"),
    (COSTS, "B: $7", "", "", "B"),
    (COSTS, "**B**", "", "", "B"),
    (COSTS, "\\boxed{B}", "", "", "B"),
    (COSTS, "B. $7", "", "B", "B"),  # a dot directly behind the letter
    (COSTS, "The answer is: B. $7", "", "B", "B"),
    (COSTS, "B\n", "", "B", "B"),  # lmms-eval strips white space, the authors do not
    (COSTS, "B,.", "", "", "B"),  # each mark is stripped once, the comma before the dot
    (COSTS, "The correct choice is (C), not (A)", "A", "A", ""),  # the last one in brackets
    (COSTS, "A person would pay C here", "C", "C", ""),
    (COSTS, "Option A is wrong, so the answer is C", "C", "C", "C"),
    (COSTS, "$7", "", "", "B"),  # option texts count in replies of more than five words only
    (COSTS, "The per unit overhead cost incurred is $7 in total", "B", "B", ""),
    (COSTS, "According to USA data the choice is unclear", "", "A", ""),  # "A " inside a word
    (COSTS, "I'm sorry, I cannot see the image", "", "", ""),
    (COSTS, "", "", "", ""),
    (DOUBTS, "I cannot tell from this picture at all", "B", "B", ""),  # "no" in "cannot"
    (LETTERED, "E", "", "", "A"),
    (LETTERED, "A", "A", "A", "A"),
    (FIVE, "E", "E", "E", "E"),
    (SHOWN, "<image 2>", "", "", "B"),
    (TRUTH, "True", "", "", "A"),
    (ROCKS, "None of the processes in the picture apply", "D", "D", ""),  # pandas takes D away
    (COSTS, "A B C D", "D", "D", ""),
    (COSTS, "USA or MB. C?", "C", "C", ""),  # VLMEvalKit leaves a question mark on
    (COSTS, "MB. or MA.", "", "A", ""),  # none stands between spaces: the first in option order
]


@pytest.mark.parametrize(("options", "text", "official", "lmms", "kit"), LETTERS)
def test_letters(options: dict[str, str], text: str, official: str, lmms: str, kit: str) -> None:
    wanted = {"official": official, "lm-eval": official, "lmms-eval": lmms, "vlmevalkit": kit}
    for rules, letter in wanted.items():
        verdict = judged(options, "A", text, rules)
        assert (rules, verdict.parsed) == (rules, letter)
        assert verdict.score == (letter == "A")
        assert verdict.status == ("ok" if letter else "unparsed" if text else "empty")


def test_the_2025_rules_do_not_look_behind_answer_is() -> None:
    text = "Option A is wrong, so the answer is C"
    assert judged(COSTS, "C", text, "vlmevalkit").parsed == "C"
    assert judged(COSTS, "C", text, "vlmevalkit-2025").parsed == ""
    # The accident that came with it: no word ends behind the letter.
    assert judged(COSTS, "C", "The answer is cannot say", "vlmevalkit").parsed == "C"
    assert judged(COSTS, "C", "The answer is cannot say", "vlmevalkit-2025").parsed == ""


# Open questions: (accepted, reply, what the authors take it to say, right?)
OPEN = [
    (["30"], "The answer is 30 watts.", {"30 watts", 30.0}, True),
    (["30"], "36 watts", {"36 watts", 36.0}, False),
    (["0.9965"], "1.00", {1.0}, True),
    (["0.286"], "28.6%", {"28.6%", 28.6}, False),
    (["7243000"], "$7,243,000", {"$7,243,000", 7243000.0, 0.0}, True),
    (["7243000"], "7.243 million", {"7.243 million", 7.24}, False),
    (["-120"], "120", {120.0}, False),
    (["1/64"], "1/64", {"1/64", 1.0, 64.0}, True),
    (["1/64"], "0.015625", {0.02}, False),
    (["C"], "The answer is C", {" c", "c "}, True),
    (["C"], "(C)", {"(c)"}, False),
    (["C"], "a cat in the picture", {"a cat in the picture"}, True),
    (["A"], "It is a region", {"a region"}, True),
    (["Tampa", "Florida"], "Tampa, Florida", {"tampa, florida"}, True),
    (["24/7", "3.429"], "3.43", {3.43}, True),
    (["551"], "551Hz", {"551hz"}, False),
    (["551"], "551 Hz", {"551 hz", 551.0}, True),
    (["4"], "4 or 5", {"4 or 5", 4.0, 5.0}, True),
    (["5"], "1,5", {15.0, 5.0}, True),
    (["8"], "x = 3 + 5 = 8", {8.0}, True),
    (["3"], "three", {"three"}, False),
    (["3"], "3rd", {"3rd"}, False),
    (["60"], "So the total is 60.\nThat is it", {60.0, "it"}, True),
    (["embryonic"], "Embryonic stage", {"embryonic stage"}, True),
    (["2000000"], "2e6", {2000000.0, 6.0}, True),
    (["1"], "1.2345e5", {123450.0, 1.0, 5.0}, True),  # its ends are numbers of their own
]


@pytest.mark.parametrize(("accepted", "text", "candidates", "right"), OPEN)
def test_open_questions_by_the_authors(
    accepted: list[str], text: str, candidates: set[str | float], right: bool
) -> None:
    assert set(open_candidates(text)) == candidates
    verdict = opened(text, "official", *accepted)
    assert (verdict.score, verdict.status) == (float(right), "ok")
    # lm-eval holds a list against the reply as one text, and lmms-eval single characters.
    assert opened(text, "lm-eval", *accepted).score == float(right and len(accepted) == 1)
    assert opened(text, "lmms-eval", *accepted).score == 0.0


@pytest.mark.parametrize(
    ("accepted", "text", "right"),
    [
        (["30"], "130", True),  # the text 30 is in it
        (["30"], "A", True),  # the right answer is option A
        (["30"], "29", False),
        (["7243000"], "7,243,000", False),
        (["C"], "C", False),  # the right letter is C, and the options are A and B
        (["B"], "B", True),
        (["B"], "Other Answers", True),
        (["Tampa", "Florida"], "Tampa", False),  # the list is one text
        (["Tampa", "Florida"], "['Tampa', 'Florida']", True),
    ],
)
def test_open_questions_by_vlmevalkit(accepted: list[str], text: str, right: bool) -> None:
    for rules in ("vlmevalkit", "vlmevalkit-2025"):
        assert opened(text, rules, *accepted).score == float(right)


@pytest.mark.parametrize(
    ("accepted", "text"),
    [
        (["30"], "The answer is 30 watts."),
        (["30"], "<think>29?</think>30"),
        (["551"], "551Hz"),
        (["3"], "three"),
        (["0.286"], "28.6%"),
        (["28.6"], "28.6%"),
        (["0.9965"], "1.00"),
        (["6.333"], "6.33"),
        (["24.32"], "$24.3187"),
        (["7243000"], "$7,243,000"),
        (["-120"], "−120 kN"),
        (["1/64"], "0.015625"),
        (["1/64"], "1/64"),
        (["0.5"], ".5"),
        (["8"], "x = 3 + 5 = 8"),
        (["60"], "It has 3 parts of 20 W each, so the answer is 60 W."),
        (["C"], "(C)"),
        (["C"], "The answer is C."),
        (["A"], "A"),
        (["Tampa", "Florida"], "Tampa, Florida"),
        (["$MgS$", "MgS"], "MgS"),
        (["embryonic"], "Embryonic stage"),
        (["Transformation"], "The process is a duplication? No: the answer is transformation."),
    ],
)
def test_our_own_rules_take_a_plain_answer(accepted: list[str], text: str) -> None:
    verdict = opened(text, "spare", *accepted)
    assert (verdict.score, verdict.status) == (1.0, "ok")


@pytest.mark.parametrize(
    ("accepted", "text", "status"),
    [
        (["30"], "130", "ok"),
        (["30"], "A", "unparsed"),
        (["4"], "4 or 5", "ambiguous"),
        (["5"], "1,5", "unparsed"),
        (["3"], "3rd", "unparsed"),
        (["30"], "30.4", "ok"),
        (["1/64"], "0.02", "ok"),
        (["-120"], "120", "ok"),
        (["C"], "a cat in the picture", "unparsed"),
        (["A"], "It is a region", "unparsed"),
        (["C"], "B", "ok"),
        (["embryonic"], "not embryonic", "ok"),
        (["embryonic"], "embryonic or larval", "ok"),
        (["embryonic"], "post-embryonic", "ok"),
        (["embryonic"], "", "empty"),
        (["30"], "\\boxed{30} and \\boxed{31}", "ambiguous"),
    ],
)
def test_our_own_rules_take_nothing_by_accident(
    accepted: list[str], text: str, status: str
) -> None:
    verdict = opened(text, "spare", *accepted)
    assert (verdict.score, verdict.status) == (0.0, status)


PIECES = ["A", "(B)", "C.", " is ", "so ", "=", "\n", "1", ",", ".", "-", "e", "1,234", "$", "%"]
PIECES += ["answer is ", "not ", "٣", "ß", "İ", "\ud800", "\0", "<think>", "\\boxed{", "}", "nan"]
SAMPLES = [
    Sample("mc", (), "A", COSTS),
    Sample("none", (), "D", ROCKS),
    Sample("number", (), "0.9965"),
    Sample("letter", (), "C"),
    Sample("list", (), "24/7", answers=("24/7", "3.429")),
    Sample("text", (), "embryonic"),
]


@pytest.mark.parametrize("rules", RULES)
@given(text=st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_gets_a_verdict(rules: str, text: str) -> None:
    for sample in SAMPLES:
        verdict = TASK.judge(sample, Reply(text), rules)
        assert verdict.score in (0.0, 1.0)
        assert verdict.score == 0.0 or verdict.status == "ok"
        assert (verdict.status == "empty") <= (not text.strip() or rules == "spare")


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    "piece",
    ["1", "1,", "1,234", "1.1", "1e", "-", "is ", "=", "a", "A ", "(A", ".", "\n", "so\n", "$6 "],
)
def test_a_long_reply_of_anything_gets_a_verdict(rules: str, piece: str) -> None:
    # A reader that looked at every pair of characters would need minutes for each.
    text = piece * (50_000 // len(piece))
    for sample in SAMPLES:
        assert TASK.judge(sample, Reply(f"x{text}y"), rules).score in (0.0, 1.0)
