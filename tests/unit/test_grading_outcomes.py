"""The five outcomes of a response, never folded together."""

import pytest
from medpsy.benchmarks.question import Question
from medpsy.grading.outcomes import grade
from medpsy.grading.readers import lenient

DRUGS = Question("q", "own", "", "Which?", ("Zorvamab", "Quintolex", "Pelidrine", "Mirocaine"), 1, None, "own")
WITHHELD = Question("q", "own", "", "Which?", ("Zorvamab", "Quintolex"), None, None, "own")


@pytest.mark.parametrize(
    ("text", "opens_thinking", "finish_reason", "outcome", "how"),
    [
        ("<think>A?</think>The answer is B.", False, "stop", "correct", "stated"),
        ("The answer is C.", False, "stop", "wrong", "stated"),
        ("The answer is C.", False, None, "wrong", "stated"),
        ("The answer is A or B.", False, "stop", "unreadable", "several options"),
        ("Hard to say.", False, "stop", "unreadable", "no option"),
        ("", False, "stop", "unreadable", "empty"),
        ("<think>B</think>", False, "stop", "unreadable", "empty"),
        ("<think>The answer is B.", False, "stop", "unreadable", "reasoning without an end"),
        ("The answer is B.", True, "stop", "unreadable", "reasoning without an end"),
        ("The answer is B.", True, "length", "cut off", "cut off"),
        ("The answer is B.", False, "length", "cut off", "cut off"),
        ("<think>x</think>Hard to say, but", False, "length", "cut off", "no option"),
        ("<think>x</think>The answer is B. Since", False, "length", "correct", "stated"),
        (None, False, None, "failed", "failed"),
        ("The answer is B.", False, "failed", "failed", "failed"),
    ],
)
def test_outcome(text, opens_thinking, finish_reason, outcome, how):
    found = grade(text, DRUGS, reader=lenient, opens_thinking=opens_thinking, finish_reason=finish_reason)
    assert (found.outcome, found.how) == (outcome, how)


@pytest.mark.parametrize("text", ["B", "Hard to say.", None])
def test_without_a_key_nothing_is_right_or_wrong(text):
    assert grade(text, WITHHELD, reader=lenient).outcome == "no gold"


def test_the_reader_sees_the_answer_alone():
    seen = []

    def reader(answer, question):
        seen.append(answer)
        return lenient(answer, question)

    assert grade("It is D.</think>\nB", DRUGS, reader=reader).answer == "B"
    grade("<think>It is D.", DRUGS, reader=reader)
    assert seen == ["B"]
