"""What a trainer says of each step, kept in its own state so that a resumed run tells the whole story.

Adds the seconds since the start, time before a kill included, and leaves a line for whoever watches.
"""

import time
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medpsy.training import progress


class Journal(TrainerCallback):
    """Puts ``seconds`` into every row of a trainer's log and the newest row into `PROGRESS`."""

    def __init__(self, name: str, work: Path) -> None:
        self._name, self._work = name, work
        self._before, self._begun = 0.0, time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object):
        self._before = max((row.get("seconds", 0.0) for row in state.log_history), default=0.0)
        self._begun = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object):
        row = state.log_history[-1]
        row["seconds"] = self._before + time.monotonic() - self._begun
        if state.is_world_process_zero:
            line = {"name": self._name, "step": state.global_step, "steps": state.max_steps} | row
            progress.tell(self._work, line)
