"""Prompts that do not change with the calendar: the day that a chat template takes for today.

Some templates write the date into the prompt: they ask for it with ``strftime_now``, or take it from ``date_string`` as
Llama's do. Both get the day that the model's switch ``date_string`` names. A template that asks where nobody named a
day is refused: its prompts of tomorrow would be others.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

SWITCH = "date_string"
FORM = "%d %b %Y"  # as Llama's templates write it: 26 Jul 2024


def dated(switches: Mapping[str, Any]) -> dict[str, Any]:
    """Return `switches` of a chat template and the clock it may ask, for ``apply_chat_template``."""
    return {**switches, "strftime_now": partial(_today, switches.get(SWITCH))}


def _today(day: object, form: str) -> str:
    """Return `day` as `form` wants it, which is a format of ``strftime``."""
    try:
        return datetime.strptime(str(day), FORM).strftime(form)
    except ValueError:
        given = "nobody names one" if day is None else f"{SWITCH} is {day!r}"
        fix = f"give the model chat_template_kwargs: {{{SWITCH}: 26 Jul 2024}} in study.yaml"
        raise ValueError(f"it asks for today's date, and {given}; {fix}") from None
