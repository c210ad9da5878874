"""What a trainer says of each step, kept in its own state so that a resumed run tells the whole story.

Adds the seconds since the start, time before a kill included, and leaves a line for whoever watches.
"""

import json
import os
import time
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

PROGRESS = "progress.json"


class Journal(TrainerCallback):
    """Puts ``seconds`` into every row of a trainer's log and the newest row into `PROGRESS`."""

    def __init__(self, name: str, work: Path) -> None:
        self._name, self._path = name, work / PROGRESS
        self._before, self._begun = 0.0, time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object):
        self._before = max((row.get("seconds", 0.0) for row in state.log_history), default=0.0)
        self._begun = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object):
        row = state.log_history[-1]
        row["seconds"] = self._before + time.monotonic() - self._begun
        if state.is_world_process_zero:
            line = {"name": self._name, "step": state.global_step, "steps": state.max_steps} | row
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(line), encoding="utf-8")
            os.replace(temporary, self._path)


def told(path: Path) -> str:
    """Return the newest line of the work folder `path` in words, or an empty text where nothing has been logged."""
    try:
        row = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    words = {"loss": "loss {:.3f}", "reward": "reward {:.2f}", "completions/mean_length": "{:.0f} tokens"}
    said = [form.format(row[key]) for key, form in words.items() if isinstance(row.get(key), int | float)]
    return ", ".join([f"{row['name']}: step {row['step']} of {row['steps']}", *said, f"{row['seconds']:.0f} s"])
