"""From backbone to checkpoint: stages as jobs, what they will cost, and the processes that do them.

A notebook calls these names and nothing else of the package::

    jobs = training.sft_jobs(study, {"sft1": {...}, "sft2": {...}}, seeds=[7])
    forecast = training.sft_forecast(study, jobs, mfu=0.2)
    records = training.launch(jobs, progress=print)

The frameworks are imported by the processes that train, not by the notebook's own.
"""

from medpsy.training.card import enter_scores
from medpsy.training.launch import TrainingError, launch
from medpsy.training.open_questions import OpenQuestion, write_open_questions
from medpsy.training.pairs import Pair, write_pairs
from medpsy.training.recipes import recipe_job
from medpsy.training.rl_questions import question_files, rl_set, write_questions
from medpsy.training.rl_stages import annotate, rl_forecast, rl_jobs
from medpsy.training.seen import seen
from medpsy.training.stages import sft_forecast, sft_jobs
from medpsy.training.switches import switch_jobs, switch_outcomes

__all__ = [
    "OpenQuestion",
    "Pair",
    "TrainingError",
    "annotate",
    "enter_scores",
    "launch",
    "question_files",
    "recipe_job",
    "rl_forecast",
    "rl_jobs",
    "rl_set",
    "seen",
    "sft_forecast",
    "sft_jobs",
    "switch_jobs",
    "switch_outcomes",
    "write_open_questions",
    "write_pairs",
    "write_questions",
]
