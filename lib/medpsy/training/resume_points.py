"""Resume points of a training: folders `checkpoint-N` in its work folder, of which only whole ones count.

A trainer's processes write their parts of one beside each other, and the last file of the first process says nothing of
the others'. So a mark is set when all of them are through.
"""

import shutil
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

WHOLE = "whole"  # the mark: an empty file
POINTS = f"{PREFIX_CHECKPOINT_DIR}-*"


def last_checkpoint(work: Path) -> str | None:
    """Return the newest whole resume point in `work`, or None; a half-written one is passed over."""
    found = filter(is_whole, work.glob(POINTS))
    return max(map(str, found), key=lambda path: int(path.rpartition("-")[2]), default=None)


def drop_half_written(work: Path) -> None:
    """Remove what a killed training left of a resume point: another number of processes would not write over it all."""
    for point in work.glob(POINTS):
        if not is_whole(point):
            shutil.rmtree(point)


def is_whole(point: Path) -> bool:
    """Return whether every process wrote its part of the resume point `point` to the end."""
    return (point / WHOLE).is_file()


class MarkWhole(TrainerCallback):
    """Sets the mark; transformers calls it in every process, when that has written its part."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / WHOLE).touch()
