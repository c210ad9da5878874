"""What a run measured of itself, kept beside its responses: a replay tells it again instead of measuring anew.

Seconds, memory and the logs of trainings differ from run to run and machine to machine; tables made of them are those
of the run that the responses come from.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from medpsy.files import write_text
from medpsy.generation import refuse, replaying

FOLDER = "notes"  # within a store of responses
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
T = TypeVar("T")  # plain data, as JSON holds it


def noted(store: Path, name: str, make: Callable[[], T]) -> T:
    """Return what `make` returns and keep it under `name`; in a replay, return what was kept.

    Args:
        store: folder of the store of responses.

    Raises:
        medpsy.generation.NotStored: this is a replay, and nothing was kept.
        ValueError: `name` cannot name a file, or what was kept is not JSON.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"note {name!r} cannot name a file; use letters, digits, _ . and -")
    path = store / FOLDER / f"{name}.json"
    if not replaying():
        made = make()
        write_text(path, json.dumps(made, indent=1) + "\n")
        return json.loads(path.read_text(encoding="utf-8"))  # as a replay will have it
    if not path.is_file():
        refuse(f"note {name!r} is not stored")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{FOLDER}/{path.name} is not JSON ({error}); get the bundle again") from None
