"""What the parser model's reply means, and how well it read."""

import pytest
from medpsy.benchmarks.question import Question
from medpsy.grading.agreement import agreement
from medpsy.grading.parser import cascade_positions, needs_model, read_reply
from medpsy.grading.reading import EMPTY, FILTERED, NO_OPTION, NONE_FITS, PARSER_UNREADABLE, SEVERAL, Reading

DRUGS = Question("q", "own", "", "Which?", ("Zorvamab", "Quintolex", "Pelidrine", "Mirocaine"), 0, None, "own")
TEN = Question("q", "own", "", "Which?", tuple(f"Finding {n}" for n in range(10)), 0, None, "own")
WITH_NONE = Question("q", "own", "", "Which?", ("Zorvamab", "Quintolex", "None of the above"), 0, None, "own")


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("B", 1),
        ("b", 1),
        ("B.", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("Answer: B.", 1),
        ("answer: b", 1),
        ("Extracted answer: B", 1),
        ("```\nB\n```", 1),
        ("```text\nB```", 1),
        ("<think>The response says B or C.</think>\n\nB", 1),
        ("The response says C first, but ends with B.</think>B", 1),
        ("B. Quintolex", 1),
        ("Quintolex", 1),
        ("The response chooses option B.", 1),
        ("The response discusses A at first.\nAnswer: B", 1),
        ("B<|im_end|>", 1),
        ("Ｂ", 1),
    ],
)
def test_a_letter(reply, choice):
    assert read_reply(reply, DRUGS) == Reading(choice, "parser")


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        ("SEVERAL", SEVERAL),
        ("several", SEVERAL),
        ("Several.", SEVERAL),
        ("Answer: SEVERAL", SEVERAL),
        ("MULTIPLE_ANSWERS", SEVERAL),
        ("<think>A and B.</think> SEVERAL", SEVERAL),
        ("The response names A and B: SEVERAL", SEVERAL),
        ("NONE", NO_OPTION),
        ("none", NO_OPTION),
        ("`NONE`", NO_OPTION),
        ("NO_ANSWER", NO_OPTION),
        ("Answer: NONE.", NO_OPTION),
    ],
)
def test_several_and_none(reply, how):
    assert read_reply(reply, DRUGS) == Reading(None, how)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "   ",
        "<think>The response says B",
        "<think>B</think>",
        "E",  # four options
        "Answer: J",
        "I cannot tell.",
        "SEVERAL or NONE",
        "B or NONE: The answer is B. NONE",
        "A, B",  # the words asked for are a letter, SEVERAL or NONE
        "```json\n{}\n```",
        "the the the the",
    ],
)
def test_anything_else_is_unreadable(reply):
    assert read_reply(reply, DRUGS) == Reading(None, PARSER_UNREADABLE)


def test_ten_options_reach_to_j():
    assert read_reply("J", TEN).choice == 9
    assert read_reply("i", TEN).choice == 8


def test_an_option_that_says_none_is_not_the_word_none():
    assert read_reply("None of the above", WITH_NONE).choice == 2
    assert read_reply("C", WITH_NONE).choice == 2
    assert read_reply("NONE", WITH_NONE) == Reading(None, NO_OPTION)


def test_the_model_sees_only_what_the_rule_could_not_read():
    found = [
        Reading(1, "stated"),
        Reading(None, SEVERAL),
        Reading(None, EMPTY),
        Reading(None, NO_OPTION),
        Reading(0, "json"),
    ]
    assert cascade_positions(found) == [1, 3]
    assert not needs_model(Reading(None, FILTERED))


def test_agreement_counts_every_kind_apart():
    readings = [
        Reading(1, "parser"),
        Reading(2, "parser"),
        Reading(None, NO_OPTION),
        Reading(None, SEVERAL),
        Reading(0, "parser"),
        Reading(None, NONE_FITS),
        Reading(None, PARSER_UNREADABLE),
    ]
    truth = [1, 1, 1, SEVERAL, SEVERAL, NO_OPTION, NO_OPTION]
    found = agreement(readings, truth)
    assert found.rows == 7
    assert found.accuracy == pytest.approx(100 * 3 / 7)
    assert found.confusion == {
        "one option": {"same option": 1, "other option": 1, NO_OPTION: 1},
        SEVERAL: {SEVERAL: 1, "other option": 1},
        NO_OPTION: {NO_OPTION: 1, PARSER_UNREADABLE: 1},
    }
    assert found.accuracy_of("one option") == pytest.approx(100 / 3)
    assert found.accuracy_of(SEVERAL) == 50
    assert agreement([Reading(0, "parser")], [0]).accuracy_of(SEVERAL) is None


@pytest.mark.parametrize(("readings", "truth"), [([], []), ([Reading(0, "x")], []), ([Reading(0, "x")], ["perhaps"])])
def test_agreement_refuses_what_it_cannot_compare(readings, truth):
    with pytest.raises(ValueError):
        agreement(readings, truth)
