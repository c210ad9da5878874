"""Which option each answer chose, by whichever reader is asked: the parser model, a rule, or rules before the model.

Refuses to read reasoning: what comes in is the answer alone. A parser that failed yields no reading, never a wrong one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medpsy import prompts, strict
from medpsy.benchmarks.question import Question
from medpsy.engines.base import Prompt
from medpsy.grading import parser
from medpsy.grading.readers import READERS
from medpsy.grading.reading import Reading
from medpsy.grading.reasoning import split
from medpsy.sessions import Session

PARSER, CASCADE = "parser", "cascade"
FIRST_RULE = "strict"  # of the cascade; ours: it reads only plain formats, so it leaves doubtful ones to the model
PARSER_FAILED = "parser failed"
LONGEST = 20_000  # characters of an answer shown to the parser; the authors' later parser code cuts at the same number


@dataclass(frozen=True)
class Read:
    """One reading, and the key of the parser's response it was read from, if any."""

    reading: Reading
    parser_key: str | None = None


def read(session: Session, items: Sequence[tuple[Question, str]], reader: str) -> list[Read]:
    """Return the reading of each (question, answer) by `reader`: ``"parser"``, ``"cascade"`` or a rule's name."""
    if reader == PARSER:
        return _by_parser(session, items)
    if reader == CASCADE:
        first = _by_rule(items, FIRST_RULE)
        doubtful = parser.cascade_positions([one.reading for one in first])
        second = _by_parser(session, [items[at] for at in doubtful])
        return _replaced(first, dict(zip(doubtful, second, strict=True)))
    return _by_rule(items, reader)


def check_reader(reader: str) -> None:
    """Refuse a reader nobody has heard of."""
    known = (PARSER, CASCADE, *READERS)
    if reader not in known:
        raise ValueError(f"reader {reader!r} is unknown; {strict.nearest(reader, known)}")


def _by_rule(items: Sequence[tuple[Question, str]], reader: str) -> list[Read]:
    rule = READERS[reader]
    return [Read(rule(answer, question)) for question, answer in items]


def _by_parser(session: Session, items: Sequence[tuple[Question, str]]) -> list[Read]:
    """Ask the study's parser; the same question with the same answer is one request, whoever gave the answer."""
    study = session.study
    asked = {}
    ids = [parser_id(question, answer) for question, answer in items]
    for ident, (question, answer) in zip(ids, items, strict=True):
        if ident not in asked:
            asked[ident] = Prompt(ident, prompts.parser(question, answer[-LONGEST:]))  # the end: there it settles
    session.fill(study.parser, list(asked.values()), (0,), study.parser_sampling)
    frame = session.answer(study.parser, list(asked.values()), 0, study.parser_sampling)
    replies = {row.prompt_id: row for row in frame.itertuples()}
    opens = study.model(study.parser).opens_thinking
    return [
        Read(_reply_reading(replies[ident], question, opens), replies[ident].key)
        for ident, (question, _) in zip(ids, items, strict=True)
    ]


def _reply_reading(reply: Any, question: Question, opens_thinking: bool) -> Reading:
    if reply.finish_reason == "failed":
        return Reading(None, PARSER_FAILED)
    part = split(reply.text, opens_thinking=opens_thinking, finish_reason=reply.finish_reason)
    if part.answer is None:
        return Reading(None, f"parser {part.state}")
    return parser.read_reply(part.answer, question)


def parser_id(question: Question, answer: str) -> str:
    """Return the id of the prompt that has `answer` parsed."""
    return f"{question.suite}/{question.id}/{hashlib.sha256(answer.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _replaced(reads: list[Read], better: dict[int, Read]) -> list[Read]:
    return [better.get(at, one) for at, one in enumerate(reads)]
