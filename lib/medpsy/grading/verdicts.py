"""Read what a judge replied about one criterion.

A judge is asked for a JSON object with `explanation` and `criteria_met` (`medpsy.prompts.judge`). Nothing here guesses:
whatever is not one clear verdict is ``"unjudged"`` with the reason, so that it can be asked again or stay missing. With
negative criteria a wrong "not met" raises a score.
"""

import json
import re
from dataclasses import dataclass

MET, NOT_MET, UNJUDGED = "met", "not met", "unjudged"
OUTCOMES = (MET, NOT_MET, UNJUDGED)
KEY = "criteria_met"

NO_OBJECT = "no JSON object"
BROKEN = "broken JSON"
NO_KEY = f"no {KEY}"
NEITHER = f"{KEY} is neither true nor false"
CONFLICT = "conflicting verdicts"

_OBJECT = re.compile(r"\{\s*(?:\"|\})")  # how JSON objects begin; braces in prose rarely do
# A judge may write the value as text. The two words say what they say; taken for truthy, "false" would be met.
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Verdict:
    """One judge's word on one criterion.

    Args:
        outcome: ``"met"``, ``"not met"`` or ``"unjudged"``.
        explanation: the judge's own; empty where it gave none.
        reason: why the criterion is unjudged; None otherwise.
    """

    outcome: str
    explanation: str = ""
    reason: str | None = None


class _Conflict(ValueError):
    """One object says two different things under one key."""


def unjudged(reason: str) -> Verdict:
    """Return the verdict that is none, and why."""
    return Verdict(UNJUDGED, "", reason)


def read_verdict(text: str) -> Verdict:
    """Return the verdict in `text`, which may hold chatter, a code fence or several objects that agree.

    An object that is cut off, or broken in any other way, makes the whole reply unreadable: what stands inside it may
    be a quotation.
    """
    try:
        objects = _objects(text)
    except _Conflict:
        return unjudged(CONFLICT)
    except (ValueError, RecursionError):  # malformed, a number too long to convert, or nested without end
        return unjudged(BROKEN)
    if not objects:
        return unjudged(NO_OBJECT)
    verdicts = [_verdict(one) for one in objects if KEY in one]
    if not verdicts:
        return unjudged(NO_KEY)
    if len({one.outcome for one in verdicts}) > 1:
        return unjudged(CONFLICT)
    return verdicts[0]


def _objects(text: str) -> list[dict]:
    """Return the JSON objects in `text` that are in no other object."""
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_mapping)  # not strict: line breaks inside texts
    found, at = [], 0
    while begin := _OBJECT.search(text, at):
        value, at = decoder.raw_decode(text, begin.start())
        found.append(value)
    return found


def _mapping(pairs: list[tuple[str, object]]) -> dict:
    together = dict(pairs)
    if any(value != together[key] for key, value in pairs if key == KEY):
        raise _Conflict
    return together


def _verdict(said: dict) -> Verdict:
    met = said[KEY]
    if isinstance(met, str):
        met = _WORDS.get(met.strip().lower())
    if not isinstance(met, bool):
        return unjudged(NEITHER)
    explanation = said.get("explanation")
    return Verdict(MET if met else NOT_MET, explanation if isinstance(explanation, str) else "")
