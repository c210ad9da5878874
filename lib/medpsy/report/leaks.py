"""Keys stay in the environment: finds the value of a secret in what is about to be written.

Refuses by exact value only; it does not guess at texts that look like keys.
"""

import html
import json
import os
from collections.abc import Iterable, Mapping

import pandas as pd

SHORTEST = 8  # characters; shorter values are placeholders such as EMPTY and would match ordinary words


class SecretFound(ValueError):
    """The value of a secret would have been written to a result or a page."""


def secrets(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment's variables whose name ends with ``_TOKEN`` or ``_KEY`` (any case), by name."""
    variables = os.environ if environment is None else environment
    named = {name: value.strip() for name, value in variables.items() if name.upper().endswith(("_TOKEN", "_KEY"))}
    return {name: value for name, value in named.items() if len(value) >= SHORTEST}


def refuse(texts: str | Iterable[str], where: str) -> None:
    """Raise `SecretFound` if one of `texts` holds a secret; the message names the variable, never its value."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    for name, value in secrets().items():
        forms = {value, json.dumps(value)[1:-1], html.escape(value)}  # as it is, inside JSON, inside a page
        if any(form in text for text in texts for form in forms):
            raise SecretFound(f"{where} holds the value of ${name}; remove it from the settings or outputs")


def refuse_frame(frame: pd.DataFrame, where: str) -> None:
    """Raise `SecretFound` if a text column of `frame` holds a secret."""
    if not secrets():
        return
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            refuse([str(value) for value in frame[column]], f"{where}, column {column!r}")
