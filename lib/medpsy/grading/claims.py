"""Find what each sentence of an answer claims about the choice.

A claim is a statement ("the answer is C"), a conclusion ("the most likely cause is therefore (C)"), a text that only
one option has, or a statement that no option fits. Which claim counts is for `medpsy.grading.readers` to decide.
"""

import re
from dataclasses import dataclass
from typing import Literal

from medpsy.benchmarks.question import Question
from medpsy.grading.cues import Cue, cues
from medpsy.grading.groups import read_group
from medpsy.grading.mentions import Mention, mentions
from medpsy.grading.options import contained, equal_to
from medpsy.grading.reading import NONE_FITS, NOT_OFFERED, SEVERAL, Reading
from medpsy.grading.text import flat_option


@dataclass(frozen=True)
class Claim:
    """One claim of an answer; `final` marks those that announce themselves as the last word."""

    kind: Literal["stated", "concluded", "text"]
    reading: Reading
    final: bool = False


_SEVERAL = re.compile(r"\b(?:not a single|combination of|more than one|multiple (?:options|answers|choices))\b", re.I)
_IS_THE_ANSWER = (
    r"\b(?:is|would be|seems to be|appears to be|must be|should be|represents|remains)\s+"
    r"(?:(?:likely|clearly|indeed|therefore|thus)\s+)?(?:the\s+(?:\w+\s+){0,2}?"
    r"(?:answer|correct|right|best|only\s+(?:option|choice)|most\s+(?:appropriate|likely|accurate|suitable|fitting|plausible)(?!\s+to\b))"
    r"|(?:our|my)\s+(?:\w+\s+)?(?:answer|choice|pick))\b"
)
_SAID_OF_LETTER = re.compile(
    rf"[)\]*`\"']{{0,4}}\s*(?:\([^()\n]{{0,80}}\)\s*)?[^.;,()\n]{{0,80}}?{_IS_THE_ANSWER}", re.I
)
_SAID = re.compile(_IS_THE_ANSWER, re.I)
_SAID_IN_CHINESE = re.compile(r"[)\]]?[^。\n]{0,150}?(?:正确|最合适|最佳|最可能)")
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|so|conclu\w+|overall|correct|best|closest|most|likely)\b|正确|最|^\W*(?:final\s+)?answer\W*:",
    re.I,
)
_NEGATES = re.compile(r"\b(?:not|never|neither|nor|unlikely|excluded?|incorrect|wrong)\b|n't\b", re.I)
_NONE = re.compile(
    r"\bnone of (?:the|these|those)\b|\bno (?:single )?(?:correct )?(?:option|answer|choice)\b"
    r"|\bnot (?:be )?(?:listed|provided|given|included|among|available|present|one of|in the (?:options|choices))\b"
    r"|\b(?:cannot|can't|can not|could not) (?:be )?(?:\w+ )?(?:determined?|answer(?:ed)?|identif(?:y|ied))\b"
    r"|\b(?:unable|impossible) to\b|\b(?:not enough|insufficient) information\b|\b(?:inconclusive|undetermined|n/a)\b",
    re.I,
)


def claims(sentence: str, question: Question) -> list[Claim]:
    """Return the claims of one sentence in order; a sentence that states nothing gives none."""
    announced = cues(sentence)
    stated = [claim for cue in announced if (claim := _stated(cue, question))] + _said_of_letter(sentence, question)
    finals = {claim.reading for claim in stated if claim.final}
    if len(finals) > 1:  # two boxes in one sentence
        return [Claim("stated", Reading(None, SEVERAL), final=True)]
    return stated or _concluded(sentence, question, cued=bool(announced))


def _stated(cue: Cue, question: Question) -> Claim | None:
    """Return what the announcement `cue` names, or None where it names nothing."""
    reading = read_group(cue.span, question, bare=cue.strength > 0 or _bare_is_clear(cue.span, question))
    if reading is None and cue.strength == 2:
        several = Reading(None, SEVERAL) if _SEVERAL.search(cue.span[:80]) else None
        reading = several or _none_fits(cue.span, question) or _lower_case(cue.span, question)
    if reading is None:
        return None
    by_text = reading.how == "text" and cue.strength < 2
    return Claim("text" if by_text else "stated", reading, cue.final)


def _bare_is_clear(span: str, question: Question) -> bool:
    """Tell whether a bare letter ends the sentence and is part of no option's own name ("hepatitis B")."""
    letter = re.fullmatch(r"\s*([A-J])[.!]?\s*", span)
    own_names = {word for option in question.options for word in flat_option(option).split()} if letter else set()
    return letter is not None and letter[1].lower() not in own_names


def _lower_case(span: str, question: Question) -> Reading | None:
    """Read "the answer is b."; a small letter counts only when nothing but a closing mark follows it."""
    found = re.match(r"[\s*_`\"'(\[{:]*([a-j])[\s*_`\"')\]}]*(?:[.,;]|$)", span)
    index = question.letters.find(found[1].upper()) if found else -1
    return Reading(index, "stated") if index >= 0 else None


def _none_fits(text: str, question: Question) -> Reading | None:
    says = _NONE.search(text) is not None and not equal_to("none of the above", question.options)
    return Reading(None, NONE_FITS) if says else None


def _said_of_letter(sentence: str, question: Question) -> list[Claim]:
    """Return the claim of a sentence such as "(C) is the correct answer"."""
    said = [m.index for m in mentions(sentence, question) if not m.negated and _is_said_of(m, sentence)]
    if not said:
        return []
    if len(set(said)) > 1:
        return [Claim("stated", Reading(None, SEVERAL))]
    offered = said[0] < len(question.options)
    return [Claim("stated", Reading(said[0], "stated") if offered else Reading(None, NOT_OFFERED))]


def _is_said_of(mention: Mention, sentence: str) -> bool:
    after = sentence[mention.end :][:300]
    chinese = "选项" in sentence[max(0, mention.start - 3) : mention.end] and _SAID_IN_CHINESE.match(after)
    return bool(_SAID_OF_LETTER.match(after) or chinese)


def _concluded(sentence: str, question: Question, *, cued: bool) -> list[Claim]:
    """Return what a concluding sentence names in brackets or by an option's text, or that nothing fits."""
    concludes = _CONCLUDES.search(sentence) is not None
    found = mentions(sentence, question) if concludes else []
    chosen = {m.index for m in found if m.marked and not m.negated and m.index < len(question.options)}
    if chosen:
        return [Claim("concluded", Reading(chosen.pop(), "concluded") if len(chosen) == 1 else Reading(None, SEVERAL))]
    if (concludes or cued) and (none := _none_fits(sentence, question)):
        return [Claim("concluded", none)]
    named = contained(sentence, question.options) if cued or _SAID.search(sentence) else set()
    return [Claim("text", Reading(named.pop(), "text"))] if len(named) == 1 and not negates(sentence) else []


def negates(text: str) -> bool:
    """Tell whether `text` denies anything, so that an option's name in it need not be the choice."""
    return _NEGATES.search(text) is not None
