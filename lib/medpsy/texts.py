"""Text and JSON that others wrote, as files and tables can hold it."""

import json
import re
from typing import Any

HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a half or a whole surrogate pair


def storable(text: str) -> str:
    """Return `text` with U+FFFD for every half of a surrogate pair, which JSON may hold and UTF-8 may not."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parsed(text: str) -> Any:
    """Return the value of a JSON text; its texts are `storable`.

    Raises:
        ValueError: what is wrong, and where in the text.
    """
    try:
        value = json.loads(text)
        if HALF_PAIR.search(text):
            value = json.loads(storable(json.dumps(value, ensure_ascii=False)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("brackets within brackets, too many to be read") from None
    return value
