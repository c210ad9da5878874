"""The wordings that announce a choice, as patterns, and where they end in a sentence.

Only finds the announcement; what is announced is read by `medpsy.grading.groups`.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

from medpsy.grading.mentions import negated_before

_NOUNS = r"(?:answers?|ans|options?|choices?|statements?|response|letter|conclusion|verdict)"
_COPULA = r"(?:\b(?:is|are|be|was|becomes|remains)\b\s*:?|[:=]|\s-\s)"
_LETTERED = r"(?=\s*[*`_]{0,3}[(\[]\s*[A-J]\s*[)\]])"
_LONGEST = 1000  # characters after an announcement in which its choice must open; keeps the cost linear
_GAP = r"[^.!?\n;:]{0,120}?"  # bounded, so that a long text costs linear time

# "The answer is ...", a box, an answer tag: a bare letter or an option's text may follow.
_ANSWERS = re.compile(
    rf"(?P<final>\\f?box(?:ed)?\s*\{{|(?i:<answer>)|#{{4,}}|(?i:\bfinal\s*:))|答案\s*(?:是|为|应为|应该是|:)"
    rf"|(?P<last>(?i:\bfinal\s+))?(?i:\b{_NOUNS}\b(?:\s+(?:choice|option|letter)s?\b)?){_GAP}(?:(?i:{_COPULA})|{_LETTERED})"
    r"|(?i:\bans(?:wer)?)(?=\s+[A-J]\s*(?:[.,)]|$))"
)
# "I choose ...", "so it is ...": a bare letter may follow, but a text may be anything.
_CHOOSES = re.compile(
    r"(?i:\b(?:choose|chose|choosing|select(?:ed|ing)?|pick(?:ed|ing)?|go(?:ing)?\s+with|opt(?:ed)?\s+for|settle\s+on"
    r"|it(?:'s|\s+is)|it\s+must\s+be|i'd\s+say)\b)|(?i:\b(?:so|thus|hence|therefore)\b,?)(?=\s+[A-J]\s*(?:[.!]\s*)?$)"
)
# "The most likely cause is ...": only a letter that is written as an option, or that ends the sentence, may follow.
_RANKS = re.compile(rf"(?i:\b(?:correct|right|best|closest|only|most\s+\w+)\b){_GAP}(?:(?i:{_COPULA})|{_LETTERED})")


@dataclass(frozen=True)
class Cue:
    """An announcement and the span of text in which the choice must open.

    Args:
        strength: 2 an answer is announced, 1 a choice is made, 0 something is ranked.
        final: the wording says that this is the last word (a box, "final answer").
    """

    strength: int
    final: bool
    span: str


def cues(sentence: str) -> list[Cue]:
    """Return the announcements in `sentence` in order; each span ends where the next announcement begins."""
    forms = ((2, _ANSWERS), (1, _CHOOSES), (0, _RANKS))
    found = [(match, strength) for strength, form in forms for match in form.finditer(sentence)]
    found = [pair for pair in found if not negated_before(pair[0][0] + " ")]
    found.sort(key=lambda pair: (pair[0].end(), pair[1]))
    starts = sorted(match.start() for match, _ in found)
    return [Cue(strength, _is_final(match), _span(sentence, match, starts)) for match, strength in found]


def _span(sentence: str, match: re.Match, starts: list[int]) -> str:
    later = bisect_right(starts, match.end())
    end = starts[later] if later < len(starts) else len(sentence)
    return sentence[match.end() : min(end, match.end() + _LONGEST)]


def _is_final(match: re.Match) -> bool:
    named = match.groupdict()
    return bool(named.get("final") or named.get("last"))
