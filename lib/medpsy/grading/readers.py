"""Read the option an answer chose, by rules; five readers for comparison.

A reader takes the answer without its reasoning (see `medpsy.grading.reasoning`) and never solves the question. None
of them guesses, except that `first_letter` and `last_letter` take a letter for a choice wherever it stands, and
`first_or_last` looks at the gold: it is biased towards the model and here only to show by how much.
"""

import re
from collections.abc import Callable

from medpsy.benchmarks.question import Question
from medpsy.grading.claims import Claim, claims, negates
from medpsy.grading.fields import last_field
from medpsy.grading.groups import lone_option, only_letter, read_short
from medpsy.grading.mentions import mentions
from medpsy.grading.options import contained, equal_to
from medpsy.grading.reading import CLASH, EMPTY, FILTERED, NO_OPTION, NONE_FITS, NOT_OFFERED, REFUSED, SEVERAL, Reading
from medpsy.grading.sentences import own_part, sentences
from medpsy.grading.text import clean, flat

__all__ = ["BIASED", "READERS", "Reading", "first_letter", "first_or_last", "last_letter", "lenient", "strict"]

_LONGEST = 20_000  # characters read of an answer, its end; as many as the parser model sees
_MESSAGE = 1000  # characters up to which an answer can be a content filter's message
_SHORT = 300  # characters up to which an answer's only option text is taken for its choice
_FILTER = re.compile(r"\bresponse was filtered\b|\bcontent (?:management|filter(?:ing)?) polic(?:y|ies)\b", re.I)
_REFUSAL = re.compile(
    r"\b(?:I'm|I am|we are) (?:sorry|unable)\b"
    r"|\bI (?:can't|cannot|can not|won't) (?:help|assist|answer|provide|give|choose|select|make)\b"
    r"|\bas an AI\b|\bI apologi[sz]e\b",
    re.I,
)


def strict(answer: str, question: Question) -> Reading:
    """Accept only a plain format: JSON field, box, "the answer is X" or a lone letter; statements must not differ."""
    answer = clean(answer[-_LONGEST:])
    if (early := _without_claims(answer, question)) is not None:
        return early
    stated = [claim.reading for claim in _all_claims(answer, question) if claim.kind == "stated"]
    stated = [reading for reading in stated if reading.how != "text"]
    if not stated:
        return Reading(None, NO_OPTION)
    return stated[-1] if len({reading.choice for reading in stated}) == 1 else Reading(None, SEVERAL)


def lenient(answer: str, question: Question) -> Reading:
    """Read an answer as a patient person would: the last statement counts, then conclusions, then an option's text."""
    answer = clean(answer[-_LONGEST:])
    if (early := _without_claims(answer, question)) is not None:
        return early
    found = _all_claims(answer, question)
    if (settled := _last_word(found)) is not None:
        return settled
    for kind in ("concluded", "text"):
        if last := [claim.reading for claim in found if claim.kind == kind][-1:]:
            return last[0]
    return _only_mention(answer, question)


def first_letter(answer: str, question: Question) -> Reading:
    """Take the first option letter that stands anywhere in the answer."""
    return _nth_letter(answer[:_LONGEST], question, 0)


def last_letter(answer: str, question: Question) -> Reading:
    """Take the last option letter that stands anywhere in the answer."""
    return _nth_letter(answer[-_LONGEST:], question, -1)


def first_or_last(answer: str, question: Question) -> Reading:
    """Take the first or the last letter, whichever is the gold. Biased: it can only raise a score."""
    first, last = first_letter(answer, question), last_letter(answer, question)
    return last if question.gold is not None and last.choice == question.gold else first


READERS: dict[str, Callable[[str, Question], Reading]] = {
    "strict": strict,
    "lenient": lenient,
    "first_letter": first_letter,
    "last_letter": last_letter,
    "first_or_last": first_or_last,
}
BIASED = frozenset({"first_or_last"})  # readers that look at the gold


def _without_claims(answer: str, question: Question) -> Reading | None:
    """Read what needs no search for statements: nothing, a filter's message, a JSON field, one short line."""
    if not answer.strip():
        return Reading(None, EMPTY)
    if len(answer) <= _MESSAGE and _FILTER.search(answer):
        return Reading(None, FILTERED)
    if (field := last_field(answer)) is not None and field.strip():
        reading = read_short(field, question)
        return Reading(reading.choice, "json") if reading.choice is not None else reading
    if len(answer) > 400 or "\n" in answer.strip():
        return None
    reading = read_short(answer.strip(), question)
    if reading.how in (CLASH, NONE_FITS):
        return reading
    return reading if reading.choice is not None and _is_all(answer, reading.choice, question) else None


def _is_all(answer: str, choice: int, question: Question) -> bool:
    """Tell whether a one-line answer holds nothing but its choice, so that no statement can follow it."""
    alone = only_letter(answer.strip(), question) is not None
    return alone or len(flat(answer)) <= len(flat(question.options[choice])) + len("x ")


def _all_claims(answer: str, question: Question) -> list[Claim]:
    pieces = sentences(own_part(answer, question))
    alone = [lone_option(piece, question) for piece in pieces]
    found = []
    for at, piece in enumerate(pieces):
        listed = any(alone[max(0, at - 1) : at]) or any(alone[at + 1 : at + 2])  # a list of options is no choice
        found += [Claim("stated", alone[at])] if alone[at] and not listed else claims(piece, question)
        if at in (0, len(pieces) - 1) and not listed and len(named := equal_to(flat(piece), question.options)) == 1:
            found.append(Claim("text", Reading(named.pop(), "text")))
    return found


def _last_word(found: list[Claim]) -> Reading | None:
    """Return the last statement, or the conclusion that follows it where the statement named several options.

    An answer that announces three or more different choices, none of them as its final one, has settled on none.
    """
    stated = [claim for claim in found if claim.kind == "stated"]
    if not stated:
        return None
    last = stated[-1]
    if len({claim.reading.choice for claim in stated} - {None}) > 2 and not last.final:
        return Reading(None, SEVERAL)
    at = max(i for i, claim in enumerate(found) if claim is last)
    after = [claim.reading for claim in found[at:] if claim.kind == "concluded"]
    return after[-1] if after and last.reading.choice is None and after[-1].choice is not None else last.reading


def _only_mention(answer: str, question: Question) -> Reading:
    """Read the one option that is named at all, by letter or, in a short answer, by its text; or "No, there is ..."."""
    answer = own_part(answer, question)
    named = [m for m in mentions(answer, question) if not m.negated]
    found = {m.index for m in named if m.marked} or {m.index for m in named if len(answer) <= _SHORT}
    if len(found) == 1:
        index = found.pop()
        return Reading(index, "only mention") if index < len(question.options) else Reading(None, NOT_OFFERED)
    opens = equal_to(flat(re.split(r"[,.;:\n]", answer[:300].lstrip(), maxsplit=1)[0]), question.options)
    inside = contained(answer, question.options) if len(answer) <= _SHORT and not negates(answer) else set()
    for texts in (opens, inside):
        if not found and len(texts) == 1:
            return Reading(texts.pop(), "text")
    return Reading(None, REFUSED if _REFUSAL.search(answer) else NO_OPTION)


def _nth_letter(answer: str, question: Question, place: int) -> Reading:
    found = [m.index for m in mentions(clean(answer), question) if m.index < len(question.options)]
    return Reading(found[place], "letter") if found else Reading(None, NO_OPTION if answer.strip() else EMPTY)
