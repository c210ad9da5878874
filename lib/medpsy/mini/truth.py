"""What an answer of the miniature really chose, by the closed grammar of `thinking.ANSWERS`.

The miniature's wordings are known, so the truth about an answer can be had without any judgement. This is what the
parser model is measured against. An answer outside the grammar has no truth here, and is counted apart.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from medpsy.benchmarks.question import LETTERS
from medpsy.mini.thinking import ANSWERS


@dataclass(frozen=True)
class Chosen:
    """`wording` is a key of `ANSWERS` or None outside the grammar; `choice` an option index or None."""

    wording: str | None
    choice: int | None


@lru_cache(maxsize=1)
def patterns() -> dict[str, re.Pattern[str]]:
    fields = {"letter": "(?P<letter>[A-J])", "other_letter": "(?P<other_letter>[A-J])", "text": "(?P<text>\\w+)"}
    fields["other"] = "(?P<other>\\w+)"
    found = {}
    for wording, template in ANSWERS.items():
        pattern = re.escape(template.format(**{name: f"<{name}>" for name in fields}))
        for name, group in fields.items():
            pattern = pattern.replace(re.escape(f"<{name}>"), group)
        found[wording] = re.compile(pattern)
    return found


def chosen(answer: str, options: tuple[str, ...]) -> Chosen:
    """Return what `answer` (the text after `</think>`) chose among `options`."""
    for wording, pattern in patterns().items():
        match = pattern.fullmatch(answer.strip())
        if match is None:
            continue
        groups = match.groupdict()
        if wording == "text":
            text = groups["text"]
            return Chosen(wording, options.index(text) if text in options else None)
        letter = groups.get("letter")
        several = wording == "several" and groups["letter"] != groups["other_letter"]
        if letter is None or several or LETTERS.index(letter) >= len(options):
            return Chosen(wording, None)
        return Chosen(wording, LETTERS.index(letter))
    return Chosen(None, None)
