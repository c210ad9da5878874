"""Resume points of a training: folders `checkpoint-N` in its work folder, of which only whole ones count.

A trainer's processes write their parts of one beside each other, and the last file of the first process says nothing of
the others'. So a mark is set when all of them are through, and older points go only then.
"""

import shutil
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

WHOLE = "whole"  # the mark: an empty file
KEPT = 2  # points at a time, the best one among them where the best counts
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


class ResumePoints(TrainerCallback):
    """Marks a resume point as whole and removes those that it replaces; the trainer itself must remove none.

    Transformers calls it in every process, when that has written its part.
    """

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / WHOLE).touch()
            rotate_checkpoints(args.output_dir, KEPT, state.best_model_checkpoint)
