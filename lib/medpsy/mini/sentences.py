"""What a sentence of a reply says: the grammar of the miniature's dialogues, read backwards.

The inverse of `medpsy.mini.dialogues`: every sentence that a reply can hold is known, so what it says can be had
without any judgement.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from medpsy.mini.dialogues import ACTS, NOTES, STATED, TAKE
from medpsy.mini.language import STATEMENTS

BREAK = re.compile(r"(?<=[.?]) ")  # where one sentence ends and the next begins
GROUPS = {"{s}": r"(?P<about>\w+)", "{p}": r"\w+", **dict.fromkeys(("{o}", "{drug}", "{name}"), r"(?P<key>\w+)")}


@dataclass(frozen=True)
class Said:
    """What one sentence says.

    Args:
        key: the act in a word, or the name that matters.
        topic: what is said of which `key`: sentences of one topic with different keys contradict each other.
        paraphrase: whether it is another wording than the first.
    """

    key: str
    topic: str
    paraphrase: bool


def said(sentence: str) -> Said | None:
    """Return what `sentence` says, or None if it is no sentence of the miniature."""
    for pattern, topic, paraphrase in patterns():
        if match := pattern.fullmatch(sentence):
            groups = match.groupdict()
            about = f"{topic} {groups['about']}" if "about" in groups else topic
            return Said(groups.get("key", topic), about, paraphrase)
    return None


@lru_cache(maxsize=1)
def patterns() -> tuple[tuple[re.Pattern[str], str, bool], ...]:
    """Return a pattern per wording, with its topic and whether it is a paraphrase."""
    forms = [(name, sentences) for name, (_, sentences) in ACTS.items()]
    forms += [(f"fact {name}", tuple(STATED + form for form in wordings)) for name, wordings in STATEMENTS.items()]
    forms += [("take", TAKE), *NOTES.items()]
    return tuple((_pattern(form), topic, place > 0) for topic, wordings in forms for place, form in enumerate(wordings))


def _pattern(form: str) -> re.Pattern[str]:
    text = re.escape(form)
    for mark, group in GROUPS.items():
        text = text.replace(re.escape(mark), group)
    return re.compile(text)
