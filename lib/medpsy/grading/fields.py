"""Find the answer field of a JSON object in an answer, even where the JSON is broken.

Evaluates nothing: the field is found as text, whatever else the object holds.
"""

import json
import re

_FIELD = re.compile(
    r"\"(?:answer_choice|final_answer|answer|choice|option|answer_letter)\"\s*:\s*"
    r"(?P<value>\"(?:[^\"\\]|\\.){0,2000}\"|null|[A-J]\b|-?\d[\d.]{0,20})",
    re.I,
)


def last_field(answer: str) -> str | None:
    """Return the value of the last answer field as text, ``""`` where it is null, None where there is no such field."""
    found = None
    for found in _FIELD.finditer(answer):  # noqa: B007 (the last one is wanted)
        pass
    if found is None or found["value"].lower() == "null":
        return None if found is None else ""
    return _unescaped(found["value"]) if found["value"].startswith('"') else found["value"]


def _unescaped(quoted: str) -> str:
    try:
        return json.loads(quoted, strict=False)
    except json.JSONDecodeError:
        return quoted[1:-1]
