"""Read what the parser model replied, and decide which answers it has to see.

The parser model is asked for a letter, SEVERAL or NONE (`medpsy.prompts.parser`). Anything else is
``"parser unreadable"``, a reading without a choice: a reply is never repaired into a letter.
"""

import re
from collections.abc import Sequence

from medpsy.benchmarks.question import Question
from medpsy.grading.groups import read_short
from medpsy.grading.readers import lenient
from medpsy.grading.reading import EMPTY, FILTERED, NO_OPTION, PARSER_UNREADABLE, SEVERAL, Reading
from medpsy.grading.reasoning import split
from medpsy.grading.text import clean

_SEVERAL = re.compile(r"\b(?:SEVERAL|MULTIPLE(?:[_ ]ANSWERS)?)\b")
_NONE = re.compile(r"\b(?:NONE|NO[_ ]ANSWER)\b")
_FENCE = re.compile(r"^\s*```[\w-]*\s*|\s*```\s*$")
_LABEL = re.compile(r"^[\W_]*(?:(?:final|extracted|chosen)\s+)?(?:answer|option|choice|letter|reply)\W*[:=]\s*", re.I)
_NO_MODEL = frozenset({EMPTY, FILTERED})  # nothing in these answers can be read by anyone


def read_reply(text: str, question: Question) -> Reading:
    """Return the parser's verdict on one answer: an option, ``"several options"``, ``"no option"``, or unreadable."""
    parts = split(text, opens_thinking=False, finish_reason=None)
    if parts.answer is None:
        return Reading(None, PARSER_UNREADABLE)
    reply = _FENCE.sub("", clean(parts.answer)).strip()
    word = _LABEL.sub("", reply).strip(" \t\n.,;:!*_`\"'()[]{}<>")
    if (said := _keyword(word.upper())) is not None and len(word.split()) == 1:
        return said
    return _in_words(reply, word, question)


def needs_model(reading: Reading) -> bool:
    """Tell whether the model has to look where a rule reader gave `reading`."""
    return reading.choice is None and reading.how not in _NO_MODEL


def cascade_positions(by_rule: Sequence[Reading]) -> list[int]:
    """Return the positions that the rule reader could not read and the parser model has to."""
    return [i for i, reading in enumerate(by_rule) if needs_model(reading)]


def _keyword(text: str) -> Reading | None:
    """Read SEVERAL and NONE; a text with both, or with neither, is no keyword."""
    several, none = _SEVERAL.search(text) is not None, _NONE.search(text) is not None
    if several == none:
        return None
    return Reading(None, SEVERAL if several else NO_OPTION)


def _in_words(reply: str, word: str, question: Question) -> Reading:
    """Read a reply that holds more than one word: a letter with its text, a labelled line, a sentence."""
    said = _keyword(reply)  # in capitals, as asked for; "none" in a sentence is just a word
    read = read_short(word, question)
    if read.choice is None:
        read = lenient(reply, question)
    if said and read.choice is None:
        return said
    if said or read.choice is None:
        return Reading(None, PARSER_UNREADABLE)
    return Reading(read.choice, "parser")
