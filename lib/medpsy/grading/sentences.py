"""Cut an answer into the pieces that a reader judges one by one.

A heading that ends in a colon is joined with what follows it; a question that the model made up after its answer is
dropped. Reads no option.
"""

import re

from medpsy.benchmarks.question import Question
from medpsy.grading.text import clean, flat

_BREAK = re.compile(r"[.!?]+[\"')*`\]]*\s+|[。！？]|\n+")
_KEEPS_DOT = re.compile(r"(?:(?:^|[\s(\[*_`\"'/:#>])[A-Za-z]|\d|\b(?:e\.g|i\.e|vs|cf|approx|Dr|St|Fig|No|etc))$")
_ITEM = re.compile(r"\s*[-*•>#]*\s*[*_`]*\(?[A-J][*_`]*[.):]")
_NEW_QUESTION = re.compile(
    r"\n[ \t]*[*_#]{0,3}(?:Question|Q|User|Human)\b[ \t\d]*[*_]{0,2}[:.][*_]{0,2}[ \t\n]*(\S[^\n]*)", re.I
)


def own_part(answer: str, question: Question) -> str:
    """Return `answer` up to the first new question that the model invented; a restated own question is kept."""
    stem = flat(clean(question.stem))
    for found in _NEW_QUESTION.finditer(answer):
        asked = flat(found[1])[:60]
        if answer[: found.start()].strip() and asked and asked not in stem and not asked.startswith(stem):
            return answer[: found.start()]
    return answer


def sentences(answer: str) -> list[str]:
    """Return the sentences of `answer` in order, headings joined with the lines they announce."""
    joined: list[str] = []
    for line in _joined_lines(answer):
        joined.extend(_split(line))
    return joined


def _joined_lines(answer: str) -> list[str]:
    """Return the non-empty lines; what a colon announces is appended: a line, or a run of lettered lines."""
    lines: list[str] = []
    blank = True
    for line in answer.split("\n"):
        if not line.strip():
            blank = True
            continue
        if lines and (_announces(lines[-1]) or (not blank and _continues(lines[-1], line))):
            lines[-1] += "\n" + line
        else:
            lines.append(line)
        blank = False
    return lines


def _announces(line: str) -> bool:
    return line.rstrip(" *_`").endswith(":")


def _continues(joined: str, line: str) -> bool:
    """Tell whether `line` is the next item of a lettered list that an announcement opened."""
    last = joined.rpartition("\n")
    return bool(last[1]) and _ITEM.match(last[2]) is not None and _ITEM.match(line) is not None


def _split(line: str) -> list[str]:
    pieces, start = [], 0
    for found in _BREAK.finditer(line):
        before = line[max(0, found.start() - 8) : found.start()]
        if found[0][0] == "\n" or (found[0][0] == "." and _KEEPS_DOT.search(before)):
            continue
        pieces.append(line[start : found.end()])
        start = found.end()
    pieces.append(line[start:])
    return [piece.strip() for piece in pieces if piece.strip()]
