"""The newest line of a training process, left in its work folder for whoever watches."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

PROGRESS = "progress.json"


def tell(work: Path, line: Mapping[str, object]) -> None:
    """Put `line` in the place of the one before, never seen half written."""
    temporary = work / f"{PROGRESS}.new"
    temporary.write_text(json.dumps(line), encoding="utf-8")
    os.replace(temporary, work / PROGRESS)


def told(path: Path) -> str:
    """Return the newest line of the work folder `path` in words, or an empty text where nothing has been logged."""
    try:
        row = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    words = {
        "loss": "loss {:.3f}",
        "reward": "reward {:.2f}",
        "rewards/margins": "margin {:.2f}",
        "completions/mean_length": "{:.0f} tokens",
    }
    said = [form.format(row[key]) for key, form in words.items() if isinstance(row.get(key), int | float)]
    return ", ".join([f"{row['name']}: step {row['step']} of {row['steps']}", *said, f"{row['seconds']:.0f} s"])
