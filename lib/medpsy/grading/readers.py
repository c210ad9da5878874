"""Split what a model wrote into reasoning and answer, read the option that the answer chose, and say what came of it.

The parser model is the method; rules are the comparison, and `strict` decides the reward. A reader takes the answer
without its reasoning (`split`) and never solves the question. None guesses, except that `first_letter` and
`last_letter` take a letter for a choice wherever it stands, and that `first_or_last` looks at the gold, to show by how
much that flatters. `mentions` finds the letters that can be nothing but options, `choice` reads what opens a piece of
text, `claims` finds what a sentence states ("the answer is C"), and a reader weighs the claims of all sentences.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

from medpsy import families
from medpsy import strict as settings
from medpsy.data.questions import LETTERS, Question

OUTCOMES = ("correct", "wrong", "unreadable", "cut off", "failed")  # of a response
NO_GOLD = "no gold"  # the question's key is withheld: nothing can be right or wrong
ENDLESS = "reasoning without an end"

# Why there is no choice. Every reading without a choice uses one of these words.
EMPTY = "empty"
FILTERED = "filtered"  # the endpoint's content filter answered instead of the model
REFUSED = "refused"
SEVERAL = "several options"
NONE_FITS = "none of the options"  # the answer says so, and no option does
NOT_OFFERED = "letter not offered"
CLASH = "letter and text disagree"
NO_OPTION = "no option"
PARSER_UNREADABLE = "parser unreadable"  # the parser model's reply is none of the replies asked for
REASONS = (EMPTY, FILTERED, REFUSED, SEVERAL, NONE_FITS, NOT_OFFERED, CLASH, NO_OPTION, PARSER_UNREADABLE)

WORDS = settings.patterns(Path(__file__).with_name("phrases.yaml"))
_LONGEST_SENTENCE = 4000  # characters read of one, its end; a longer one is a loop
LONGEST = 20_000  # characters read of an answer, its end, also by the parser; the authors' later code cuts at the same


@dataclass(frozen=True)
class Reading:
    choice: int | None  # index into the question's options; None where no single one was chosen
    how: str  # where the choice was found ("json", "stated", ...), or why there is none (one of `REASONS`)
    key: str | None = None  # of the parser's response that it was read from


# Reasoning and answer: reasoning that never ended is not an answer, whatever letters it holds.

OPENS, CLOSES = families.known().opens, families.known().closes  # of all families: a saved answer may be anyone's


def pattern(markers: Iterable[str]) -> re.Pattern[str]:
    """Return what finds any of `markers`; of two that begin alike, the longer one."""
    return re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))))


_TURN_END = pattern(families.known().ends + families.known().trailing)  # a server may leave them in the text


@dataclass(frozen=True)
class Split:
    """A response in two parts; `answer` is None unless `state` is ``"answer"``."""

    reasoning: str
    answer: str | None
    state: Literal["answer", "cut off", "unreadable"]


def split(text: str, *, opens_thinking: bool, finish_reason: str | None) -> Split:
    """Return reasoning and answer of one response; everything before the last end marker is reasoning, and behind the
    end of its turn nothing is read. `opens_thinking`: the chat template already wrote the opening marker, so the model
    starts inside its reasoning. `finish_reason`: ``"length"`` when generation hit the token limit; anything else (also
    None) counts as finished."""
    turn = WORDS.final_header.sub("<|channel|>final<|message|>", text[: _end_of_turn(text)])
    markers = ((turn.rfind(close) + len(close), len(close)) for close in CLOSES if close in turn)
    end, size = max(markers, default=(0, 0))  # the end marker that ends last, the longest of those
    rest = turn[end:]
    unfinished = any(marker in rest for marker in OPENS) or WORDS.channel_word.search(rest) is not None
    unfinished |= not end and (opens_thinking or finish_reason == "length")
    if unfinished or not rest.strip():
        state = "cut off" if finish_reason == "length" else "unreadable"
        return Split(text if unfinished else turn[: end - size], None, state)
    return Split(turn[: end - size], rest.strip(), "answer")


def _end_of_turn(text: str) -> int:
    for end in _TURN_END.finditer(text):
        struck = end[0] == "</s>" and text.find("<s>", 0, end.start()) >= 0  # HTML's mark of words struck out
        if not struck and not WORDS.goes_on.match(text, end.end()):
            return end.start()
    return len(text)


def outcome(parts: Split | None, reading: Reading | None, question: Question, finish_reason: str | None) -> str:
    """Return the one of `OUTCOMES`, or `NO_GOLD`, of a response; `parts` is None where there was none."""
    if question.gold is None:
        return NO_GOLD
    if parts is None or finish_reason == "failed":
        return "failed"
    if parts.answer is None:
        return parts.state
    if reading is None or reading.choice is None:
        return "cut off" if finish_reason == "length" else "unreadable"
    return "correct" if reading.choice == question.gold else "wrong"


def why_no_answer(parts: Split, text: str) -> str:
    """Return why the response `text`, split into `parts`, holds no answer."""
    if parts.state == "cut off":
        return "cut off"
    return ENDLESS if parts.reasoning == text and text.strip() else EMPTY


# Text: wide and boxed letters folded, marks of LaTeX and HTML dropped. Other languages are left to the parser model.

_SIGNS = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xFE0E, 0xFE0F, 0xAD]) | {
    ord(old): new for old, new in zip("‘’‚“”„«»‐‑–—−、。】」", [*'\'\'\'"""""-----,', ". ", ":", ":"], strict=True)
}


def clean(text: str) -> str:
    """Return `text` with wide letters and odd signs folded (NFKC) and marks taken off."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
        text = WORDS.option_correct.sub(r".\nOption (\1) is correct", text)
    return WORDS.tags.sub("", WORDS.latex.sub(r"\1", text))


def _words(text: str) -> str:
    """Return the words of cleaned text in lower case with single spaces, without a leading article or "both"."""
    return " ".join(WORDS.token.findall(WORDS.article.sub("", text).replace("&", " and ").casefold()))


def _form(text: str) -> str:
    """Return what two texts of the same option share: no spaces, no "and", one wording of none."""
    words = _words(text)
    return WORDS.none.pattern if WORDS.none.fullmatch(words) else WORDS.joining.sub("", words)


@lru_cache(maxsize=4096)
def _forms(options: tuple[str, ...]) -> list[str]:
    return [_form(clean(option)) for option in options]


def _same(text: str, question: Question) -> int | None:
    """Return the one option that has `text` as its own."""
    form, forms = _form(text), _forms(question.options)
    return forms.index(form) if form and forms.count(form) == 1 else None


# Letters: "vitamin C", "A 45-year-old", "I think", "B-cell" and "C. difficile" name no option.


class Mention(NamedTuple):
    """An option's letter, A to J whatever is offered."""

    index: int
    start: int
    end: int
    marked: bool  # by brackets, quotes, bold type or the word "option"
    negated: bool


def mentions(text: str, question: Question) -> list[Mention]:
    """Return the option letters named in `text`, in order."""
    named: list[Mention] = []
    denied = False  # by words before it, which deny those joined to it as well: "not A, B or C"
    for match in WORDS.letter.finditer(text):
        previous = named[-1] if named else None
        if not _names_option(text, match, question, previous):
            continue
        gap = text[previous.end : match.start()] if previous else "."
        joined = not re.search("[.;]", gap) and _joins(gap)
        before = text[max(0, match.start() - 60) : match.start()]
        denied = (denied and joined) or WORDS.denied_before.search(before) is not None
        negated = denied or WORDS.denied_after.match(text[match.end() : match.end() + 200]) is not None
        index = LETTERS.index(match[match.lastgroup].upper())
        named.append(Mention(index, match.start(), match.end(), match["bare"] is None, negated))
    return named


def _names_option(text: str, match: re.Match, question: Question, previous: Mention | None) -> bool:
    """Tell whether a letter names an option, by what stands around it and by the `previous` letter that does."""
    letter, before = match[match.lastgroup], text[max(0, match.start() - 16) : match.start()]
    after = text[match.end() : match.end() + 200]
    if match["bracket"]:
        return letter.isupper() or (letter.upper() in question.letters and not (letter == "i" and "(ii)" in text))
    if letter == "I" and WORDS.person.match(after):
        return False
    if species := WORDS.species.match(after):
        option = question.options[LETTERS.index(letter)] if letter in question.letters else ""
        if match["named"] or species[1] not in _words(clean(option)).split():
            return False
    if match["named"] or match["quoted"]:
        return True
    led = WORDS.leads.search(before)
    if previous and not led:
        gap = text[previous.end : match.start()]
        led = WORDS.links.search(before) or not WORDS.word.search(gap) or _same(gap[:600], question) == previous.index
    return bool(led and (WORDS.follows.match(after) or (letter != "A" and after.lstrip()[:1].isupper())))


# Choices: the option, or those joined by "and", "or" or mere punctuation, that open a piece of text.


def choice(text: str, question: Question) -> Reading | None:
    """Read the option or options that open `text` ("B. Methimazole", "either A or B"); None where none opens it."""
    chosen: list[Mention] = []
    last = None
    for mention in mentions(text, question):
        gap = text[last.end if last else 0 : mention.start]
        follows = _joins(gap) or _same(gap, question) == last.index if chosen else WORDS.filler.fullmatch(gap)
        if not follows or (chosen and WORDS.own_clause.match(text, mention.end)):
            break
        last = mention
        chosen += [] if mention.negated else [mention]
    by_text = _same(_first_clause(text), question)
    if by_text is not None and not (chosen and (chosen[0].marked or chosen[0].index == by_text)):
        return Reading(by_text, "text")
    if len({mention.index for mention in chosen}) != 1:
        return Reading(None, SEVERAL) if chosen else None
    behind = _first_clause(text[chosen[-1].end :].lstrip(" .):*`\"'"))
    return _by_letter(chosen[0].index, "stated", question, behind)


def _by_letter(index: int, how: str, question: Question, behind: str = "") -> Reading:
    """Read an option's letter; the text `behind` it must not be another option's or say that none fits."""
    same = _same(behind, question)
    if same != index and (same is not None or _form(behind) == WORDS.none.pattern):
        return Reading(None, CLASH)
    return Reading(index, how) if index < len(question.options) else Reading(None, NOT_OFFERED)


def _joins(gap: str) -> bool:
    """Tell whether "and", "or", a comma or nothing but signs join two letters, with no new clause between them."""
    joined = WORDS.joins.search(gap[-80:]) and not WORDS.stop.search(gap.lstrip(" .:)*`"))
    return bool(joined or not WORDS.word.search(gap))


def _first_clause(text: str) -> str:
    """Return `text` up to its line end, full stop or closing mark, without brackets and marks around it."""
    line = text[:600].strip(" *_`\"'{}[]()$\\:|\n").split("\n")[0]
    return re.split(r"(?<!\b[A-Z])[.!?](?:\s|$)|[*`\"}]", line)[0]


def _lone(text: str, question: Question) -> Reading | None:
    """Read `text` if it is nothing but one option: a letter, or a letter with that option's own text."""
    match = WORDS.lone.fullmatch(text) if len(text) <= 600 else None
    if match is None:
        return None
    index, behind = LETTERS.index(match[1].upper()), match["text"]
    if behind is None:
        return _by_letter(index, "letter only", question)
    if _same(behind, question) is None and _form(behind) != WORDS.none.pattern:
        return None
    return _by_letter(index, "letter and text", question, behind)


def _short(text: str, question: Question) -> Reading | None:
    """Read `text` if it is nothing but an option, by its letter or its text, or says that none fits."""
    if reading := _lone(text, question):
        return reading
    if (same := _same(text, question)) is not None:
        return Reading(same, "text only")
    return Reading(None, NONE_FITS) if _form(text) == WORDS.none.pattern else None


# Claims: the pieces of an answer that state a choice ("the answer is C"), say of an option that it is the answer ("C is
# the best one"), conclude with one ("so the likely cause is the drug (C)"), list it, or hold an option's text alone.


class Claim(NamedTuple):
    """What one piece of an answer claims; `final` marks a claim that announces itself as the last word."""

    kind: str  # stated, said, concluded, listed (counts where several must not pay) or text
    reading: Reading
    final: bool = False


def claims(sentence: str, question: Question) -> list[Claim]:
    """Return the claims of one sentence in order; a sentence that states nothing gives none."""
    cues = [cue for cue in WORDS.cues.finditer(sentence) if not _denied(cue, sentence)]
    placed = [(cue.end(), claim) for cue in cues if (claim := _stated(cue, sentence, question))]
    named = [mention for mention in mentions(sentence, question) if not mention.negated]
    for mention in named:
        if WORDS.said_of_letter.match(sentence[mention.end : mention.end + 300]):
            placed.append((mention.start, Claim("said", _by_letter(mention.index, "stated", question))))
    if len({claim.reading for _, claim in placed if claim.final}) > 1:  # two boxes in one sentence
        return [Claim("stated", Reading(None, SEVERAL), final=True)]
    if placed:
        return [claim for _, claim in sorted(placed, key=lambda pair: pair[0])]
    concludes = WORDS.concludes.search(sentence) is not None
    chosen = {mention.index for mention in named if mention.marked and mention.index < len(question.options)}
    if concludes and chosen:
        return [Claim("concluded", Reading(chosen.pop(), "concluded") if len(chosen) == 1 else Reading(None, SEVERAL))]
    none_said = (concludes or cues) and WORDS.none_said.search(sentence)
    none_fits = none_said and WORDS.none.pattern not in _forms(question.options)
    return [Claim("concluded", Reading(None, NONE_FITS))] if none_fits else []


def _denied(cue: re.Match, sentence: str) -> bool:
    """Tell whether an announcement is of other options, or of what is not the answer."""
    before = sentence[max(0, cue.start() - 20) : cue.start()]
    return bool(WORDS.others.search(cue[0]) or WORDS.denied_before.search(cue[0] + " ") or WORDS.not_so.search(before))


def _stated(cue: re.Match, sentence: str, question: Question) -> Claim | None:
    """Return what follows the announcement `cue`, up to the next one; None where no choice follows."""
    following = WORDS.cues.search(sentence, cue.end())
    span = sentence[cue.end() : following.start() if following else len(sentence)][:1000]
    announced = bool(cue["final"] or WORDS.announces.search(cue[0]))
    reading = choice(span, question)
    if reading is None and announced and (small := WORDS.small.match(span)):
        reading = _by_letter(LETTERS.index(small[1].upper()), "stated", question)
    if reading is None:
        return None
    return Claim("stated" if announced or reading.how != "text" else "text", reading, bool(cue["final"]))


def _sentences(answer: str) -> list[tuple[str, bool]]:
    """Return the sentences in order, headings joined with what they announce, each with whether it is a whole line."""
    answer = WORDS.ticked.sub(r"Answer: \1\2" if len(WORDS.ticked.findall(answer)) == 1 else r"\1\2", answer)
    lines: list[str] = [""]
    blank = True
    for line in answer.split("\n"):
        if line.strip():
            first, _, last = lines[-1].rpartition("\n")  # of a lettered list that was announced
            listed = first and not blank and WORDS.item.match(last) and WORDS.item.match(line)
            if listed or lines[-1].rstrip(" *_`").endswith(":"):
                lines[-1] += "\n" + line
            else:
                lines.append(line)
        blank = not line.strip()
    pieces = [WORDS.sentence_end.sub("\\g<0>\0", line).split("\0") for line in lines[1:]]
    return [(piece.strip()[-_LONGEST_SENTENCE:], len(line) == 1) for line in pieces for piece in line if piece.strip()]


def _all_claims(answer: str, question: Question) -> list[Claim]:
    """Return the claims of an answer in order; one that needs no search for them is a single statement."""
    answer = WORDS.new_task.split(clean(answer[-LONGEST:]), maxsplit=1)[0]
    if reading := _at_once(answer, question):
        return [Claim("stated", reading)]
    pieces = _sentences(answer)
    # A capital behind a full stop may open a sentence that the limit cut.
    alone = [_lone(piece, question) if whole or len(piece) > 1 else None for piece, whole in pieces]
    claimed: list[Claim] = []
    for at, (piece, whole) in enumerate(pieces):
        last = at == len(pieces) - 1
        listed = any(alone[max(0, at - 1) : at]) or any(alone[at + 1 : at + 2])  # a list of options is no choice
        here = [Claim("stated", alone[at])] if alone[at] and not listed else claims(piece, question)
        if not here and alone[at] and alone[at].how == "letter only":
            here = [Claim("listed", alone[at])]
        if last and whole and len(here) == 1:  # a last line that is nothing but the answer
            here = [here[0]._replace(final=True)]
        claimed += here
        if (at == 0 or last) and not listed and (text := _option_text(piece, question, opens=at == 0)) is not None:
            claimed.append(Claim("text", Reading(text, "text")))
    return claimed or (_only_claim(pieces[0][0], question) if len(pieces) == 1 else [])


def _option_text(sentence: str, question: Question, *, opens: bool) -> int | None:
    """Return the one option whose text is all that the sentence, or a clause of it, holds; `opens` the answer."""
    if WORDS.negates.search(sentence):
        return None
    clauses = [sentence, sentence.rpartition(" is ")[2], WORDS.said.split(sentence)[0]]
    opening, *others = re.split("[,.;]", sentence)  # "No, there is no evidence."
    clauses += [opening, *others] if opens and _same(opening, question) is not None else []
    same = {_same(clause, question) for clause in clauses} - {None}
    return same.pop() if len(same) == 1 else None


def _only_claim(sentence: str, question: Question) -> list[Claim]:
    """Read an answer of one sentence that announces nothing: it opens with its choice, or names no other option."""
    if reading := choice(sentence, question):
        return [Claim("text" if reading.how == "text" else "stated", reading)]
    named = [mention for mention in mentions(sentence, question) if not mention.negated]
    if len({mention.index for mention in named}) == 1 and not WORDS.word.search(sentence[named[-1].end :]):
        return [Claim("concluded", _by_letter(named[0].index, "only mention", question))]
    return []


# Readers.


def _at_once(answer: str, question: Question) -> Reading | None:
    """Read what needs no search for statements: nothing, a filter's message, a JSON field, an option alone."""
    if not answer.strip():
        return Reading(None, EMPTY)
    if len(answer) <= 1000 and WORDS.filter.search(answer):
        return Reading(None, FILTERED)
    fields = [field["value"].strip('"').replace('\\"', '"').strip() for field in WORDS.field.finditer(answer)]
    readings = [_field(value, question) for value in fields if value and value.lower() != "null"]
    chosen = {reading.choice for reading in readings} - {None}
    if len(chosen) > 1:
        return Reading(None, SEVERAL)
    if chosen:
        return Reading(chosen.pop(), "json")
    return readings[-1] if readings else _short(answer, question)


def _field(value: str, question: Question) -> Reading:
    opening = None if "\n" in value else choice(value, question)
    return _short(value, question) or opening or Reading(None, NO_OPTION)


def strict(answer: str, question: Question) -> Reading:
    """Accept only a plain format: JSON field, box, "the answer is X" or a lone letter; statements must not differ."""
    stated = [claim for claim in _all_claims(answer, question) if claim.kind in ("stated", "said", "listed")]
    readings = [claim.reading for claim in stated if claim.reading.how != "text"]
    if not readings:
        return Reading(None, NO_OPTION)
    return readings[-1] if len({reading.choice for reading in readings}) == 1 else Reading(None, SEVERAL)


def lenient(answer: str, question: Question) -> Reading:
    """Read an answer as a patient person would: the last statement counts, then conclusions, then an option's text. One
    that announces three or more choices, or calls several options right, has settled on none unless it ends in one."""
    claimed = _all_claims(answer, question)
    settled = [claim for claim in claimed if claim.kind in ("stated", "said")]
    choices = {claim.reading.choice for claim in settled} - {None}
    if len(choices) > (1 if all(claim.kind == "said" for claim in settled) else 2) and not settled[-1].final:
        return Reading(None, SEVERAL)
    concluded, texts = ([claim for claim in claimed if claim.kind == kind] for kind in ("concluded", "text"))
    if ranked := settled or concluded or texts:
        return ranked[-1].reading
    return Reading(None, REFUSED if WORDS.refusal.search(answer) else NO_OPTION)


def _letter(answer: str, question: Question, place: int) -> Reading:
    """Take the first letter of an option (`place` 0), or the last (-1)."""
    answer = answer[-LONGEST:] if place else answer[:LONGEST]
    if offered := [mention for mention in mentions(clean(answer), question) if mention.index < len(question.options)]:
        return Reading(offered[place].index, "letter")
    return Reading(None, NO_OPTION if answer.strip() else EMPTY)


def _first_or_last(answer: str, question: Question) -> Reading:
    """Take the first or the last letter, whichever is the gold. Biased: it can only raise a score."""
    first, last = (_letter(answer, question, place) for place in (0, -1))
    return last if question.gold is not None and last.choice == question.gold else first


READERS: dict[str, Callable[[str, Question], Reading]] = {"strict": strict, "lenient": lenient}
READERS |= {"first_letter": partial(_letter, place=0), "last_letter": partial(_letter, place=-1)}
READERS |= {"first_or_last": _first_or_last}
BIASED = frozenset({"first_or_last"})  # readers that look at the gold


# The parser model's reply: a letter, SEVERAL or NONE (`medpsy.prompts.parser`); it is never repaired into one.


@lru_cache(maxsize=65536)  # of one question hundreds of replies are the same letter
def read_reply(text: str, question: Question) -> Reading:
    """Return the parser's judgment of one answer: an option, ``"several options"``, ``"no option"``, or unreadable."""
    reply = WORDS.fence.sub("", clean(split(text, opens_thinking=False, finish_reason=None).answer or "")).strip()
    word = WORDS.label.sub("", reply).strip(" \t\n.,;:!*_`\"'()[]{}<>")
    shown = word.upper() if len(word.split()) == 1 else reply  # "none" in a sentence is just a word
    several = re.search(r"\b(?:SEVERAL|MULTIPLE(?:[_ ]ANSWERS)?)\b", shown)
    none = re.search(r"\b(?:NONE|NO[_ ]ANSWER)\b", shown)
    reading = Reading(None, NO_OPTION)
    if shown is reply or not (several or none):
        reading = _short(word, question) or lenient(reply, question)
    option = reading.choice is not None or reading.how == CLASH
    if bool(several) + bool(none) + option != 1:
        return Reading(None, PARSER_UNREADABLE)
    return Reading(None, SEVERAL if several else NO_OPTION) if several or none else Reading(reading.choice, "parser")


def needs_model(reading: Reading) -> bool:
    """Tell whether the parser model has to look where a rule reader gave `reading`; nobody can read an empty answer."""
    return reading.choice is None and reading.how not in (EMPTY, FILTERED)
