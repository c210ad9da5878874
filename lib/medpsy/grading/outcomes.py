"""Turn one response into one of the outcomes correct, wrong, unreadable, cut off or failed.

Never folds two outcomes into one: a response that hit the token limit is not a wrong one, and one that nobody can
read is not either. Scores are the work of `medpsy.evaluate`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from medpsy.benchmarks.question import Question
from medpsy.grading.reading import EMPTY, Reading
from medpsy.grading.reasoning import Split, split

OUTCOMES = ("correct", "wrong", "unreadable", "cut off", "failed")
ENDLESS = "reasoning without an end"
NO_GOLD = "no gold"  # the question's key is withheld: nothing can be right or wrong


@dataclass(frozen=True)
class Graded:
    """One graded response.

    Args:
        outcome: one of `OUTCOMES`, or `NO_GOLD`.
        choice: index of the chosen option, or None.
        how: where the choice was found, or why there is none.
        answer: the text that was read, without reasoning; None where there was no answer.
    """

    outcome: str
    choice: int | None
    how: str
    answer: str | None


def grade(
    text: str | None,
    question: Question,
    *,
    reader: Callable[[str, Question], Reading],
    opens_thinking: bool = False,
    finish_reason: str | None = None,
) -> Graded:
    """Split, read and grade one response; `text` None means that there was no response.

    Args:
        finish_reason: ``"stop"``, ``"length"`` (token limit), ``"failed"``, or None where it is not known.
    """
    if text is None or finish_reason == "failed":
        return Graded(outcome(None, None, question, finish_reason), None, "failed", None)
    parts = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
    reading = reader(parts.answer, question) if parts.answer is not None else None
    choice, how = (reading.choice, reading.how) if reading else (None, _why_no_answer(parts, text))
    return Graded(outcome(parts, reading, question, finish_reason), choice, how, parts.answer)


def outcome(parts: Split | None, reading: Reading | None, question: Question, finish_reason: str | None) -> str:
    """Return the outcome of a response that was split into `parts` and read as `reading`.

    Args:
        parts: None where there was no response.
        reading: None where `parts` holds no answer.
    """
    if question.gold is None:
        return NO_GOLD
    if parts is None or finish_reason == "failed":
        return "failed"
    if parts.answer is None:
        return parts.state
    if reading is None or reading.choice is None:
        return "cut off" if finish_reason == "length" else "unreadable"
    return "correct" if reading.choice == question.gold else "wrong"


def _why_no_answer(parts: Split, text: str) -> str:
    if parts.state == "cut off":
        return "cut off"
    return ENDLESS if parts.reasoning == text and text.strip() else EMPTY
