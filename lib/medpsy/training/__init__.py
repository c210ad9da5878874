"""From backbone to checkpoint: stages as jobs, the processes that do them, and what they logged.

The frameworks are imported by the processes that train.
"""

from medpsy.training.data import question_files, rl_set
from medpsy.training.jobs import launch
from medpsy.training.stages import (
    annotate,
    annotate_job,
    annotate_model,
    curves,
    fill_cards,
    loss_findings,
    recipe_job,
    recorded,
    rl_jobs,
    sft_jobs,
    switch_jobs,
)
