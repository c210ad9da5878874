"""Split what a model wrote into reasoning and answer.

Refuses to guess: reasoning that never ended is not an answer, whatever letters it holds. Reads no option; that is
the work of `medpsy.grading.readers` and of the parser model.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from medpsy import families

State = Literal["answer", "cut off", "unreadable"]
OPENS, CLOSES = families.known().opens, families.known().closes  # of all families: a saved answer may be anyone's
TURN_ENDS = families.known().ends + families.known().trailing  # a server may leave them in the text


def pattern(markers: Iterable[str]) -> re.Pattern[str]:
    """Return what finds any of `markers`; of two that begin alike, the longer one."""
    return re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))))


@dataclass(frozen=True)
class Split:
    """A response in two parts; `answer` is None unless `state` is ``"answer"``."""

    reasoning: str
    answer: str | None
    state: State


def split(text: str, *, opens_thinking: bool, finish_reason: str | None) -> Split:
    """Return reasoning and answer of one response; everything before the last end marker is reasoning.

    Args:
        opens_thinking: the chat template already wrote the opening marker, so the model starts inside its reasoning.
        finish_reason: ``"length"`` when generation hit the token limit; anything else (also None) counts as finished.
    """
    reasoning, marker, rest = _at_last_close(text)
    answer = _without_turn_ends(rest)
    unfinished = _opened(rest) or (not marker and opens_thinking)
    if not marker and (unfinished or finish_reason == "length"):
        return Split(text, None, _no_answer(finish_reason))
    if unfinished:  # a second block of reasoning was opened after the first and never closed
        return Split(text, None, _no_answer(finish_reason))
    if not answer:
        return Split(reasoning, None, _no_answer(finish_reason))
    return Split(reasoning, answer, "answer")


def _at_last_close(text: str) -> tuple[str, str, str]:
    """Split at the end marker that ends last in `text`, the longest of those; without one, everything is the rest."""
    found = [(text.rfind(close) + len(close), len(close)) for close in CLOSES if close in text]
    if not found:
        return "", "", text
    end, size = max(found)
    return text[: end - size], text[end - size : end], text[end:]


def _opened(text: str) -> bool:
    return any(marker in text for marker in OPENS)


def _no_answer(finish_reason: str | None) -> State:
    return "cut off" if finish_reason == "length" else "unreadable"


def _without_turn_ends(text: str) -> str:
    text = text.strip()
    while ends := [end for end in TURN_ENDS if text.endswith(end)]:
        text = text.removesuffix(ends[0]).rstrip()
    return text
