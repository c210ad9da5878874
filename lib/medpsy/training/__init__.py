"""From backbone to checkpoint: stages as jobs, what they will cost, and the processes that do them.

A notebook calls these names and little else of the package::

    jobs = training.sft_jobs(study, {"sft1": SFTConfig(...), "sft2": SFTConfig(...)}, seeds=[7])
    forecast = training.sft_forecast(study, jobs, mfu=0.2)
    records = training.launch(jobs, progress=print)

The frameworks are imported by the processes that train.
"""

from medpsy.training.card import fill_cards
from medpsy.training.data import question_files, rl_set, write_open_questions, write_questions
from medpsy.training.jobs import launch
from medpsy.training.logs import curves, loss_findings
from medpsy.training.rl_stages import annotate, annotate_switch, rl_forecast, rl_jobs, switch_jobs
from medpsy.training.stages import recipe_job, recorded, sft_forecast, sft_jobs

__all__ = [
    "annotate", "annotate_switch", "curves", "fill_cards", "launch", "loss_findings", "question_files", "recipe_job",
    "recorded", "rl_forecast", "rl_jobs", "rl_set", "sft_forecast", "sft_jobs", "switch_jobs", "write_open_questions",
    "write_questions",
]  # fmt: skip
