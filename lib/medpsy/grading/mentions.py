"""Find where an answer names an option by its letter.

A letter counts only where it can be nothing else: "vitamin C", "A 45-year-old", "I think", "B-cell" and "C. difficile"
name no option. Decides nothing about which option was chosen.
"""

import re
from dataclasses import dataclass

from medpsy.benchmarks.question import LETTERS, Question
from medpsy.grading.options import equal_to, shares_words
from medpsy.grading.text import flat, word_set


@dataclass(frozen=True)
class Mention:
    """An option's letter in a piece of text.

    Args:
        index: position of the letter in A to J; it may lie beyond the options that are offered.
        marked: written as an option: in brackets, bold, after "option", at the head of a list line.
        negated: the text says that this option is not the one.
    """

    index: int
    start: int
    end: int
    marked: bool
    negated: bool


_LETTER = re.compile(
    r"(?<!\w)[(\[]\s*(?P<bracket>[A-Ja-j])\s*[)\]]"
    r"|(?<!\w)[*_`\"']{1,3}\(?(?P<quoted>[A-J])(?=\)?[*_`\"'.:),])\)?[*_`\"']{0,3}"
    r"|(?i:\b(?:option|choice|letter)s?|选项)\s*[:*\"'`(]{0,3}(?P<named>[A-J])(?![\w'^-])\)?"
    r"|(?<![\w'^-])(?P<bare>[A-J])(?![\w^])"
)
_PREVIOUS = re.compile(r"([\w']+|[^\w\s])\s*$")
_SIGNS = frozenset(": ; ( [ { * _ ` \" ' = - # > $")
_LEADS = _SIGNS | word_set(  # a bare letter may follow these
    "is are be was option options choice choices answer letter to of choose chose select selected pick picked with"
    " either both not but rather namely than think believe say guess so thus therefore hence clearly definitely it's"
    " that's"
)
_LINKS = word_set("and or / & + , plus potentially possibly also")  # ... and these, once an option has been named
_FOLLOWERS = word_set(  # these may follow a bare letter
    "is are was and or because since as would which due for but not based according therefore so given if when while"
    " here rather it this that these they has can may must should seems appears best plus most however instead though"
    " although whereas too only alone"
)
_FIRST_PERSON = word_set(  # these make "I" a person
    "think believe am was have had would will can could should do did chose choose made picked pick select selected"
    " guess suggest recommend consider need must know want see agree say conclude assume apologize cannot"
)
_BEFORE_NEGATED = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither|\bnor|\brul(?:e|ed|es|ing) out|\bexclud\w+|\beliminat\w+|\bexcept|\brather than"
    r"|\binstead of|\bunlike|\bwithout)\W{1,3}"
    r"(?:(?:the|be|been|is|to|an?|options?|choices?|answer|letter|necessarily|simply|just)\W{1,3}){0,3}$",
    re.I,
)
_DENIED = (
    r"(?:(?:also|therefore|clearly|both|all|most|likely)\s+){0,2}"
    r"(?:not(?! only)|incorrect|wrong|false|unlikely|less|ruled|eliminated|excluded|inappropriate|contraindicated"
    r"|irrelevant|unrelated)"
)
_OWN_GAP = r"^[)\]*`\"']{0,4}\s*(?:\([^()\n]{0,80}\)|(?P<gap>[^.;,()\n\"]{0,60}?))\s*"
_AFTER_NEGATED = re.compile(  # "(B), heparin, ..." is not "(B) is wrong": nothing but its own words may come between
    rf"{_OWN_GAP}(?:\b(?:is|are|was|were|can be|could be|would be|seems?|appears?)\s+{_DENIED}"
    r"|\b(?:isn't|aren't|cannot be|can't be|can be (?:ruled|eliminated|excluded)|does not|doesn't|do not|don't)\b)",
    re.I,
)
_LIST_NEGATED = re.compile(  # "(A), (B) and (D) are wrong" denies all three
    r"^[)\]*`\"']{0,4}(?:\s*(?:,\s*and|,|and|or|/|&)\s*(?:options?\s*)?[(\[]?[A-J](?!\w)[)\]]?){1,9}\s*"
    rf"(?:\b(?:are|were|can be|could be|would be|seem|appear)\s+{_DENIED}"
    r"|\b(?:aren't|cannot be|can't be|do not|don't)\b)",
    re.I,
)
_NEW_CLAUSE = re.compile(r"\b(?:because|since|as|while|whereas|but|and|so)\b|\b[A-J]\b")
_DENIAL = re.compile(  # a cheap look that spares the two long patterns in nearly all cases
    r"no[tr]\b|n't|never|neither|wrong|false|incorrect|less|unlike|rul(?:e|ing)|eliminat|exclud|except|rather|instead"
    r"|without|inapprop|contraind|irrelevan|unrelate",
    re.I,
)
_GUARD_WORD = re.compile(r"\s+([\w']+)")
_LISTED = re.compile(r"\s*[.):]\s*(?=\S)")


def mentions(text: str, question: Question) -> list[Mention]:
    """Return the option letters named in `text` (one sentence or a few), in order."""
    found: list[Mention] = []
    for match in _LETTER.finditer(text):
        kind = match.lastgroup or "bare"
        letter, at = match[kind], match.start(kind)
        if not _names_option(text, match, kind, question, bool(found)):
            continue
        marked = (
            kind != "bare"
            or _heads_list(text, at)
            or _explained(letter, text[match.end() : match.end() + 200], question)
        )
        found.append(Mention(LETTERS.index(letter.upper()), match.start(), match.end(), marked, _negated(text, match)))
    return found


def _names_option(text: str, match: re.Match, kind: str, question: Question, linked: bool) -> bool:
    letter = match[kind]
    if kind == "bracket":
        return letter.isupper() or _lower_case_option(text, letter, question)
    after = text[match.end() : match.end() + 200]
    if kind == "named":
        return not (letter == "I" and _next_word(after) in _FIRST_PERSON)
    if kind == "quoted":
        return not _is_abbreviation(letter, after, question)
    return _leads_in(text, match.start(), linked) and _goes_on(letter, after, question)


def _lower_case_option(text: str, letter: str, question: Question) -> bool:
    """Tell whether "(a)" is an option; "(i)" beside "(ii)" is a Roman number."""
    return letter.upper() in question.letters and not (letter == "i" and "(ii)" in text)


def _leads_in(text: str, start: int, linked: bool) -> bool:
    """Tell whether the word before a bare letter lets it be an option: "is C" does, "vitamin C" does not."""
    previous = _PREVIOUS.search(text[max(0, start - 40) : start])
    if previous is None or text[start - 1] == "\n":
        return True
    word = previous[1].lower()
    return (linked and word in _LINKS) or (word in _LEADS and word != ",") or word.startswith(("(", "."))


def _goes_on(letter: str, after: str, question: Question) -> bool:
    """Tell whether what follows a bare letter lets it be an option: "A 45-year-old" and "C. difficile" do not."""
    if after.startswith("-") and after[1:2].isalpha() or re.match(r"'(?:m|d|s|ll|ve|re)\b", after):
        return False
    if _is_abbreviation(letter, after, question):
        return False
    word = _next_word(after)
    if not word or (letter == "I" and word in _FIRST_PERSON):
        return not word
    if word in _FOLLOWERS:
        return True
    own = _own_option(letter, question)
    if own and flat(after).startswith(flat(own).split(" ")[0]):
        return shares_words(flat(after)[: len(own) + 10], own)
    return letter not in "AI" and after.lstrip()[:1].isupper()


def _is_abbreviation(letter: str, after: str, question: Question) -> bool:
    """Tell whether "C. difficile" follows: a dot, then a small word that the option of that letter does not hold."""
    small = re.match(r"\.\s([a-z]+)", after)
    if not small or small[1] in _FOLLOWERS:
        return False
    own = _own_option(letter, question)
    return not own or not (shares_words(flat(after), own) or small[1] in flat(own).split())


def _own_option(letter: str, question: Question) -> str:
    return question.options[question.letters.index(letter)] if letter in question.letters else ""


def _next_word(after: str) -> str:
    word = _GUARD_WORD.match(after)
    return word[1].lower() if word else ""


def _heads_list(text: str, at: int) -> bool:
    """Tell whether a letter stands at the head of a line or after a colon and a dot, bracket or colon follows."""
    lead = text[max(0, at - 6) : at].strip(" *_`#>-•\"'")
    return (not lead or lead.endswith((":", "\n"))) and _LISTED.match(text, at + 1) is not None


def _explained(letter: str, after: str, question: Question) -> bool:
    """Tell whether a bare letter is followed by its own option's text in brackets: "D (Mirocaine)"."""
    own, bracket = _own_option(letter, question), re.match(r"\s*\(([^()]{1,200})\)", after)
    return bool(own) and bracket is not None and equal_to(flat(bracket[1]), (own,)) == {0}


def _negated(text: str, match: re.Match) -> bool:
    before, after = text[max(0, match.start() - 60) : match.start()], text[match.end() : match.end() + 160]
    return negated_before(before) or (_DENIAL.search(after) is not None and _negated_after(after))


def _negated_after(text: str) -> bool:
    own = _AFTER_NEGATED.match(text)
    alone = own is not None and _NEW_CLAUSE.search(own["gap"] or "") is None
    return alone or _LIST_NEGATED.match(text) is not None


def negated_before(text: str) -> bool:
    """Tell whether `text` ends in words that deny what comes next: "is not", "we can rule out", "rather than"."""
    text = text[-60:]
    return _DENIAL.search(text) is not None and _BEFORE_NEGATED.search(text) is not None
