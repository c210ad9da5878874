"""Read the option, or the options joined by "and" or "or", that a piece of text opens with.

Looks no further than the group that stands at the opening; whether the piece is a statement at all is for
`medpsy.grading.claims` to know.
"""

import re

from medpsy.benchmarks.question import Question
from medpsy.grading.mentions import Mention, mentions
from medpsy.grading.options import equal_to, is_none_text, opening
from medpsy.grading.reading import CLASH, EMPTY, NO_OPTION, NONE_FITS, NOT_OFFERED, SEVERAL, Reading
from medpsy.grading.text import flat

_NEGATED_LEAD = (
    r"not\s+(?:option\s+)?[(\[]?[A-J][)\]]?[\s,]*(?:(?:or|nor)\s+[(\[]?[A-J][)\]]?[\s,]*)?"
    r"(?:but\s+(?:rather\s+|instead\s+)?)?"
)
_FILLER = re.compile(  # what may stand between "the answer is" and the letter
    rf"(?:[\s*_`\"'>$\\{{}}(\[:,–-]|(?i:\b{_NEGATED_LEAD})|(?i:\b(?:is|be|to|that|of|in|would|should|must|likely|probably|most|"
    r"clearly|therefore|thus|so|hence|indeed|definitely|actually|simply|either|both|the|an|options?|choices?|letters?|answer|"
    r"statement|number|combination|i|think|believe|say|guess|my|opinion|as|follows|by|following|labell?ed|single|one|text|"
    r"correct|best)\b))*"
)
_RUN = re.compile(r"[ *`]*\(([A-J]{2,10})\)")  # "(CDE)": several letters in one bracket
_STOP = re.compile(
    r"\b(?:because|since|which|who|while|whereas|although|though|however|rather|instead|not|due|but|when|unlike|given|"
    r"considering|based|if|unless|has|have|does|do)\b|,\s+as\b|\bas\s+(?:it|the|this|they|these)\b|[;\n]|[.!?]\s",
    re.I,
)
_JOINS = re.compile(
    r"(?:,|\band\b|\bor\b|/|&|\+|\bplus\b|\bas well as\b)\s*"
    r"(?:\b(?:possibly|potentially|also|options?|choice)\b\s*)*$",
    re.I,
)
_DASH = re.compile(r"^[-–]\s+")  # not the sign of a number
_OWN_CLAUSE = re.compile(r"[)\]*]*\s+(?:is|was|does|has)\b")  # "..., and A is an antibiotic": A is joined to nothing
_ONLY_LETTER = re.compile(r"[\W_]*(?:(?i:option|choice|answer)\s+)?[\W_]*([A-Ja-j])[\W_]*")
_LISTED_OPTION = re.compile(r"[\W_]*([A-Ja-j])[*_`]*[.):,]+[\s*_`]*")
_FOREIGN = re.compile(r"[\W_]*([A-J])[.):]\s")


def read_group(text: str, question: Question, *, bare: bool = True) -> Reading | None:
    """Read the option or options that open `text` ("B. Methimazole", "either A or B"); None where none opens it.

    Args:
        bare: accept a bare letter; otherwise only one that is written as an option.
    """
    if run := _RUN.match(text):
        return Reading(None, SEVERAL) if "".join(sorted(set(run[1]))) == run[1] else None
    named = equal_to(flat(first_clause(text)), question.options)
    found = [mention for mention in mentions(text, question) if not mention.negated and (bare or mention.marked)]
    if not found or not _FILLER.fullmatch(text, 0, found[0].start):
        return _by_text(named)
    if len(named) == 1 and found[0].index not in named and not found[0].marked:
        return _by_text(named)
    return _joined(text, found, question)


def read_short(text: str, question: Question) -> Reading:
    """Read a piece that should hold nothing but the choice: a field, a lone letter, "B. Methimazole", "yes"."""
    words = flat(text)
    if not words:
        return Reading(None, EMPTY)
    if (alone := lone_option(text, question)) is not None:
        return alone
    if len(named := equal_to(words, question.options)) == 1:
        return Reading(named.pop(), "text")
    if reading := read_group(text, question):
        return reading
    foreign = _FOREIGN.match(text)
    if foreign and foreign[1] not in question.letters:
        return Reading(None, NOT_OFFERED)
    if is_none_text(words):
        return Reading(None, NONE_FITS)
    named = opening(words, question.options)
    return Reading(named.pop(), "text") if len(named) == 1 else Reading(None, NO_OPTION)


def only_letter(text: str, question: Question) -> Reading | None:
    """Read `text` if it is nothing but one letter, with or without brackets and marks."""
    letter = _ONLY_LETTER.fullmatch(text) if len(text) <= 40 else None
    if letter is None:
        return None
    index = question.letters.find(letter[1].upper())
    return Reading(index, "letter only") if index >= 0 else Reading(None, NOT_OFFERED)


def lone_option(text: str, question: Question) -> Reading | None:
    """Read `text` if it is nothing but one option: a letter, or a letter with that option's own text."""
    if (letter := only_letter(text, question)) is not None:
        return letter
    listed = _LISTED_OPTION.match(text)
    index = question.letters.find(listed[1].upper()) if listed else -1
    same = equal_to(flat(text[listed.end() :]), question.options) if index >= 0 else set()
    if not same:
        return None
    return Reading(index, "letter and text") if index in same else Reading(None, CLASH)


def first_clause(text: str) -> str:
    """Return `text` up to its line end, full stop or closing mark, without brackets and marks around it."""
    line = _DASH.sub("", text[:600].strip(" *_`\"'{}[]()$\\:\n")).split("\n")[0]
    return re.split(r"(?<!\b[A-Z])[.!?](?:\s|$)|[*`\"}]", line)[0]


def _joined(text: str, found: list[Mention], question: Question) -> Reading:
    """Read the first mention of `found` together with those that "and", "or" or a comma joins to it."""
    group = [found[0]]
    for mention in found[1:]:
        gap = text[group[-1].end : mention.start]
        if _OWN_CLAUSE.match(text, mention.end):
            break
        if not (_is_own_text(gap, group[-1], question) or _is_join(gap)):
            break
        group.append(mention)
    chosen = {mention.index for mention in group}
    if len(chosen) > 1:
        return Reading(None, SEVERAL)
    index = chosen.pop()
    if index >= len(question.options):
        return Reading(None, NOT_OFFERED)
    return Reading(None, CLASH) if _clashes(text[group[-1].end :], index, question) else Reading(index, "stated")


def _is_join(gap: str) -> bool:
    """Tell whether "and", "or", a comma or a stroke joins two letters, with no new clause between them."""
    return _JOINS.search(gap[-80:]) is not None and not _STOP.search(gap.lstrip(" .:)*`"))


def _is_own_text(gap: str, mention: Mention, question: Question) -> bool:
    """Tell whether between two letters stands just the first one's option, as in "A. Yes. B. No."."""
    return mention.index < len(question.options) and equal_to(flat(gap), (question.options[mention.index],)) == {0}


def _clashes(after: str, index: int, question: Question) -> bool:
    """Tell whether the text written after a letter is that of another option, or says that none fits."""
    words = flat(first_clause(after.lstrip(" .):*`\"'")))
    same = equal_to(words, question.options)
    return bool(words) and index not in same and (bool(same) or is_none_text(words))


def _by_text(named: set[int]) -> Reading | None:
    return Reading(next(iter(named)), "text") if len(named) == 1 else None
