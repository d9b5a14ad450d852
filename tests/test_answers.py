"""Replies as our own rules read them: plain answers in the forms that models give, and no guess."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spare.tasks.answers import (
    Reading,
    read_option,
    read_short,
    read_true_false,
    read_yes_no,
    same_short,
    without_reasoning,
)

MUGS = {
    "A": "A mug on a table",
    "B": "A mug under a table",
    "C": "A mug to the left of a table",
    "D": "A mug to the right of a table",
}
HIGHER = {"A": "baseball glove", "B": "red hat of the person in red in the back"}
SIDES = {"A": "front", "B": "left", "C": "back", "D": "right"}
FACING = {"A": "Left", "B": "Straight", "C": "Right"}
STOP = {"A": "Yes", "B": "No"}
COUNTS = {"A": "1", "B": "2", "C": "12"}
PLACES = {word: word for word in ("left", "right", "on", "under")}
DEPTHS = {word: word for word in ("left", "right", "front", "behind")}
VITAMINS = {"A": "Vitamin B", "B": "Vitamin C", "C": "Vitamin D"}


def said(reading: Reading) -> str:
    """The answer, or else why there is none."""
    assert bool(reading.answer) == (reading.status == "ok")
    return reading.answer or reading.status


# What the benchmarks' own examples ask for; the replies are those on which other harnesses err.
@pytest.mark.parametrize(
    ("options", "reply", "answer"),
    [
        # What's Up
        (MUGS, "C. A mug to the left of a table", "C"),
        (MUGS, "A mug under the table", "B"),
        (MUGS, "A mug under table", "B"),
        (MUGS, "A mug", "unparsed"),
        (MUGS, "", "empty"),
        (MUGS, "B. A mug under a table. Not A mug on a table", "B"),
        (PLACES, "It is in front of the chair.", "unparsed"),
        (PLACES, "None of these", "unparsed"),
        (PLACES, "Left or right.", "ambiguous"),
        (PLACES, "Below", "unparsed"),
        (PLACES, "It is on the left of the table", "left"),
        # 3DSRBench
        (HIGHER, "B", "B"),
        (HIGHER, "(B)", "B"),
        (HIGHER, "**B**", "B"),
        (HIGHER, "B) red hat", "B"),
        (HIGHER, "b", "B"),
        (HIGHER, r"\boxed{B}", "B"),
        (HIGHER, "<answer>B</answer>", "B"),
        (HIGHER, "`B`", "B"),
        (HIGHER, "B?", "B"),
        (HIGHER, "The answer is baseball glove", "A"),
        (HIGHER, "baseball glove", "A"),
        (HIGHER, "A baseball glove looks lower than the hat, so B", "B"),
        (HIGHER, "A or B", "ambiguous"),
        (
            HIGHER,
            "The correct answer is **B**. Here's why: A is lower in the scene than the hat.",
            "B",
        ),
        (
            HIGHER,
            "I think B is right because the hat sits well above the glove in the scene",
            "B",
        ),
        (HIGHER, "Cannot determine the answer, maybe B", "B"),
        (HIGHER, "Sorry, I can't help with images of people yet.", "unparsed"),
        (HIGHER, "E", "unparsed"),
        (SIDES, "left", "B"),
        (SIDES, "The left side of the person is facing the camera.", "B"),
        (SIDES, "The answer is back", "C"),
        (SIDES, "Based on the image, the answer is C (back)", "C"),
        (STOP, "Yes.", "A"),
        (STOP, "Yes, they are parallel.", "A"),
        (STOP, "unknown", "unparsed"),
        (STOP, "Not sure", "unparsed"),
        ({"A": "dog", "B": "cat"}, "Answer: Dog", "A"),
        ({"A": "red hat", "B": "red hat of the man"}, "B. red hat of the man", "B"),
        # RealWorldQA
        (FACING, "C", "C"),
        (FACING, "c", "C"),
        (FACING, "Right", "C"),
        (FACING, "Bright", "unparsed"),
        (FACING, "The answer is C", "C"),
        (FACING, "The answer is clear", "unparsed"),
        (FACING, "Cannot tell", "unparsed"),
        (FACING, "A or C", "ambiguous"),
        (FACING, "Left, no, Right", "ambiguous"),
        (FACING, "<think>x</think><answer>C</answer>", "C"),
        (FACING, "<think>x</think><answer>c</answer>", "C"),
        (FACING, "C\nThe wheel of the car is turned to the right as one can see", "C"),
        (STOP, "Yes, we are required to stop", "A"),
        (STOP, "I cannot", "unparsed"),
        (COUNTS, "12", "C"),
        (FACING, "nan", "unparsed"),
    ],
)
def test_examples_of_the_benchmarks(options, reply, answer):
    assert said(read_option(reply, options)) == answer


@pytest.mark.parametrize(
    "reply",
    [
        "B.",
        "(b)",
        "[B]",
        "B!",
        '"B"',
        "“B”",
        "**B.**",
        " \nB\n",
        r"$\boxed{\text{B}}$",
        "```\nB\n```",
        "```text\nB\n```",
        "B</s>",
        "B<|im_end|>",
        "Option B",
        "option (B).",
        "(B) red hat of the person in red in the back",
        "B: red hat of the person in red in the back",
        "B - red hat",
        "**B**. The hat is higher.",
        "B\n\nThe hat is above the glove.",
        "The hat is above the glove.\n\n**B**",
        "Answer: B",
        "answer: b",
        "**Answer:** B",
        "**Answer: (B)**",
        "Final answer: B",
        "Answer:\n\n**B. red hat of the person in red in the back**",
        "The answer is B.",
        "The answer to the question is B.",
        "The answer is option B",
        "The correct option is B",
        "The best choice would be B.",
        "The answer is red hat of the person in red in the back.",
        "Red hat of the person in red in the back.",
        "The red hat of the person in red in the back is higher.",
        "I would choose B",
        "I'd say B.",
        "It's B.",
        "Therefore, B.",
        "My choice: B",
        "Caption: B.",
        "The correct caption is B",
        "Sure! B",
        "The hat is higher. (B)",
        "I'm not sure but I'd say B since the glove is lower.",
        "I would go with option B\n\nExplanation: the glove is lower.",
        "B is correct.",
        "Option B is the correct one since it is higher",
        "Option A is wrong, so the answer is B",
        "It is not A, it is B",
        "I don't think the answer is A. The answer is B.",
        "The wrong answer is A. The answer is B",
        "A. the glove is low\nB. the hat is high\n\nSo the answer is B",
        "<think>Maybe A. The answer is A.</think>\n\nB",
        "<answer>(B) red hat</answer>",
        "A is lower. <answer>B</answer>",
        r"A is lower, so \boxed{B}.",
        r"<answer>B</answer> that is \boxed{b}",
    ],
)
def test_ways_to_say_b(reply):
    assert read_option(reply, HIGHER) == Reading("B", "ok")


@pytest.mark.parametrize(
    ("options", "reply", "answer"),
    [
        # An A before a word is an article, whatever stands before it.
        (HIGHER, "A", "A"),
        (HIGHER, "a", "A"),
        (HIGHER, "A\nThe glove is higher.", "A"),
        (HIGHER, "The answer is A because it is higher", "A"),
        (HIGHER, "A man stands here", "unparsed"),
        (HIGHER, "The answer is a dog", "unparsed"),
        (HIGHER, "The answer is A dog", "unparsed"),
        (HIGHER, "A-frame house", "unparsed"),
        (HIGHER, "A.M. or P.M.", "unparsed"),
        (HIGHER, "Choose one of A, B", "ambiguous"),
        (MUGS, "The answer is A mug under a table", "B"),
        (MUGS, "A. A mug on a table", "A"),
        # A label beside the text of another option names two.
        (MUGS, "A. A mug under a table", "ambiguous"),
        (HIGHER, "B. baseball glove", "ambiguous"),
        (HIGHER, "The answer is B, baseball glove.", "ambiguous"),
        (SIDES, "The answer is C (left)", "ambiguous"),
        (SIDES, "left, as in C", "ambiguous"),
        # Two answers of one kind.
        (HIGHER, "A and B", "ambiguous"),
        (HIGHER, "A/B", "ambiguous"),
        (HIGHER, "The answer is A or B", "ambiguous"),
        (HIGHER, "The answer is A. No, the answer is B.", "ambiguous"),
        (HIGHER, "A. No wait, the answer is B", "ambiguous"),
        (HIGHER, "<answer>A</answer><answer>B</answer>", "ambiguous"),
        (SIDES, "left or right", "ambiguous"),
        # The options read back are no answer.
        (SIDES, "A. front\nB. left\nC. back\nD. right", "ambiguous"),
        (SIDES, "A. front B. left C. back D. right", "ambiguous"),
        (SIDES, "A. front\nB. left\nC. back\nD. right\nAnswer: D", "D"),
        # What is denied is not chosen.
        (HIGHER, "The answer is not A", "unparsed"),
        (HIGHER, "I can't say if the answer is A", "unparsed"),
        (HIGHER, "Option A is wrong", "unparsed"),
        (SIDES, "not left", "unparsed"),
        (SIDES, "It is not left but right", "D"),
        (PLACES, "The mug is not on the table, it is under it", "under"),
        # A sentence that is only an option's text outweighs words in passing.
        (SIDES, "Left. The right side is hidden", "B"),
        (SIDES, "Is it left or right? Left.", "B"),
        (STOP, "Yes, there is no sign", "A"),
        # Whole words, longest first.
        (COUNTS, "2.", "B"),
        (COUNTS, "There are 12 cars", "C"),
        (COUNTS, "1.5", "unparsed"),
        (COUNTS, "1, 2", "ambiguous"),
        ({"A": "30", "B": "10:30"}, "The clock shows 10:30", "B"),
        ({"A": "30", "B": "10:30"}, "The clock says: 30", "A"),
        (VITAMINS, "Vitamin C", "B"),
        (PLACES, "on", "on"),
        (PLACES, "It is on top of the table.", "on"),
        (PLACES, "The answer is on the left", "left"),
        (PLACES, "The mug is to the left, on the floor", "ambiguous"),
        (PLACES, "person", "unparsed"),
        (DEPTHS, "It is in front of the chair.", "front"),
        (DEPTHS, "not in front of it, but behind", "behind"),
        # Texts that differ only by signs are told apart, or are ambiguous.
        ({"A": "C", "B": "C++", "C": "C#"}, "C++", "B"),
        ({"A": "5", "B": "-5"}, "-5", "B"),
        ({"A": "$7", "B": "7"}, "$7", "A"),
        ({"A": "$7", "B": "7"}, "It is 7 in all", "ambiguous"),
        # A label comes before a text that is spelled like it.
        ({"A": "E", "B": "B", "C": "C", "D": "A"}, "A", "A"),
        ({"A": "E", "B": "B", "C": "C", "D": "A"}, "E", "A"),
        # Reasoning that never ended is no answer, and a container decides.
        (HIGHER, "<think>The answer is A", "unparsed"),
        (HIGHER, "The answer is A. <answer>neither</answer>", "unparsed"),
        (HIGHER, "The answer is A. <answer> </answer>", "A"),
        (HIGHER, " \n\t", "empty"),
        (HIGHER, "...", "unparsed"),
        # Options as users may write them.
        ({"A": "None", "B": "nan"}, "nan", "B"),
        ({"A": "None", "B": "nan"}, "None", "A"),
        ({"1": "left", "2": "right"}, "2", "2"),
        ({"True": "True", "False": "False"}, "false.", "False"),
        ({"A": "", "C": "cat"}, "C", "C"),
        ({}, "A", "unparsed"),
    ],
)
def test_options(options, reply, answer):
    assert said(read_option(reply, options)) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        # VSR's examples
        ("True.", "True"),
        ("That is not true.", "False"),
        ("True or False? Hard to say", "unparsed"),
        ("", "empty"),
        ("**False**", "False"),
        ("'True'", "True"),
        ("<answer>True</answer>", "True"),
        ("Answer:True", "True"),
        ("The statement is true.", "True"),
        ("The statement is false because the cat is not on the mat", "False"),
        ("The correct answer is False", "False"),
        ("True\n\nThe cat is on the mat, so it is not false.", "True"),
        ("False. The statement would be true only if the cat sat", "False"),
        ("True or False: True", "True"),
        # Negations are rules, one by one.
        ("It isn't true", "False"),
        ("It isn’t true", "False"),
        ("It cannot be true", "False"),
        ("This statement is not necessarily true", "False"),
        ("untrue", "False"),
        ("Incorrect.", "False"),
        ("The caption is not correct", "False"),
        ("I don't think that's true", "False"),
        ("Correct", "True"),
        ("The caption is correct, as the cat is there", "True"),
        ("not false", "True"),
        # No answer, or two.
        ("yes", "unparsed"),
        ("truely", "unparsed"),
        ("True/False", "unparsed"),
        ("I can't tell whether the statement is true", "unparsed"),
        ("<think>It is true", "unparsed"),
        ("<think>It is false</think> true", "True"),
        ("True. False.", "ambiguous"),
        ("I see true and false parts", "ambiguous"),
    ],
)
def test_true_or_false(reply, answer):
    assert said(read_true_false(reply)) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Yes, the cat is on the mat.", "Yes"),
        ("no.", "No"),
        ("The statement is true.", "unparsed"),
        ("False", "unparsed"),
        ("False. No", "No"),
        ("**Yes**", "Yes"),
        ("Answer: Yes", "Yes"),
        ("Answer:Yes", "Yes"),
        ("<answer>Yes</answer>", "Yes"),
        ("There is no cat on the mat but a dog, so yes", "Yes"),
        ("", "empty"),
        ("Yes/No", "unparsed"),
        ("Nope", "unparsed"),
        ("Yes, there is a death notice", "Yes"),
        ("Yes, there is no dog", "Yes"),
        ("There is no dog in the image.", "No"),
        ("I'd say yes", "Yes"),
        ("Yes. No.", "ambiguous"),
        ("Yes and no", "ambiguous"),
        ("Not sure", "unparsed"),
    ],
)
def test_yes_or_no(reply, answer):
    assert said(read_yes_no(reply)) == answer


@pytest.mark.parametrize(
    ("reply", "target", "answer", "right"),
    [
        # RealWorldQA's examples
        ("downhill.", "Downhill", "downhill", True),
        ("zero", "0", "0", True),
        ("Yes, we must stop", "Yes", "yes, we must stop", True),
        ("", "0", "empty", False),
        ("nan", "0", "empty", False),
        ("Zero.", "0", "0", True),
        ('"2"', "2", "2", True),
        ("**Two**", "2", "2", True),
        ("twenty", "20", "20", True),
        ("The answer is 5.", "5", "5", True),
        ("**Answer:** five", "5", "5", True),
        ("<think>4?</think>\n<answer>3</answer>", "3", "3", True),
        (r"\boxed{3}", "3", "3", True),
        ("-5", "-5", "-5", True),
        ("Yes, no", "Yes", "yes, no", False),
        ("No, yes", "No", "no, yes", False),
        ("Yes, there is no sign", "Yes", "yes, there is no sign", True),
        ("Yes, we must stop", "No", "yes, we must stop", False),
        ("Yes we must", "Yes", "yes we must", False),
        ("5, as I see", "5", "5, as i see", False),
        ("2 cars", "2", "2 cars", False),
        ("1,000", "1", "1,000", False),
        ("twenty-one", "20", "twenty-one", False),
        ("...", "5", "unparsed", False),
        (r"\boxed{3} \boxed{4}", "3", "ambiguous", False),
    ],
)
def test_short_answers(reply, target, answer, right):
    assert said(read_short(reply)) == answer
    assert same_short(reply, target) is right


def test_reasoning_is_dropped():
    assert without_reasoning("<think>a</think>b</think> B") == " B"
    assert without_reasoning("no tag before it</think>B") == "B"
    assert without_reasoning("B <think>that never ends") == "B "
    assert without_reasoning("B") == "B"


words = st.text(string.ascii_lowercase, min_size=2, max_size=8)


@st.composite
def questions(draw):
    """Options A, B, ... whose texts are different words, and one of the labels."""
    found = draw(st.lists(words, min_size=2, max_size=9, unique=True))
    options = dict(zip(string.ascii_uppercase, (f"the {word}ish" for word in found), strict=False))
    return options, draw(st.sampled_from(sorted(options)))


@given(
    questions(),
    st.sampled_from(
        [
            "{label}",
            "({label})",
            "{label}.",
            "**{label}**",
            "{text}",
            "{label}. {text}",
            "({label}) {text}",
            "The answer is {label}.",
            "Answer: {label}",
            "The answer is {text}.",
            "<think>maybe {other}</think>{label}",
            "<answer>{label}</answer>",
            "It is not {other}. The answer is {label}.",
        ]
    ),
)
def test_a_plain_answer_is_read_whatever_the_options_are(question, form):
    options, label = question
    other = next(name for name in options if name != label)
    reply = form.format(label=label, text=options[label], other=other)
    assert read_option(reply, options) == Reading(label, "ok")


@given(
    questions(),
    st.sampled_from(
        [
            "{label} or {other}",
            "{text} or {other_text}",
            "{label}. {other_text}",
            "The answer is {label}. The answer is {other}.",
            "<answer>{label}</answer><answer>{other}</answer>",
        ]
    ),
)
def test_two_answers_are_never_one(question, form):
    options, label = question
    other = next(name for name in options if name != label)
    reply = form.format(label=label, text=options[label], other=other, other_text=options[other])
    assert read_option(reply, options) == Reading("", "ambiguous")


READERS = [
    lambda text: read_option(text, MUGS),
    lambda text: read_option(text, PLACES),
    read_true_false,
    read_yes_no,
    read_short,
]

FRAGMENTS = (
    "A|B|a|(|)|**|`|answer|is|not|true|yes|no|if|so|<answer>|</answer>|\\boxed{|}|</think>|<think>"
    "|.|,|\n| |:|or|option|A mug under a table|left|İ|ſ|\ud800|\x00|é|答|٣"
)
fragments = st.lists(st.sampled_from(FRAGMENTS.split("|"))).map("".join)


@given(st.text() | fragments)
def test_any_text_is_read(text):
    for read in READERS:
        reading = read(text)
        assert bool(reading.answer) == (reading.status == "ok")
        assert (reading.status == "empty") == (not text.strip()) or text.strip() == "nan"
    assert read_option(text, MUGS).answer in ("", *MUGS)
    assert same_short(text, text) == (read_short(text).status == "ok")


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=5), fragments | st.text())
def test_any_options_are_read(options, text):
    assert read_option(text, options).answer in ("", *options)


UNITS = (
    "(|answer is |A |**|yes no |so |not |A, |\n|```|<answer>|</think>|\\boxed{|answer is A, "
    "|if it is |true or "
)


@pytest.mark.parametrize("unit", UNITS.split("|"))
def test_long_texts_are_read_in_linear_time(unit):
    # 200,000 characters need at most about a second. A reader whose work grows with the square of
    # the length would need 2 * 10 ** 10 steps and more, minutes on any machine.
    text = unit * (200_000 // len(unit)) + "x"
    for read in READERS:
        start = time.monotonic()
        read(text)
        assert time.monotonic() - start < 20
