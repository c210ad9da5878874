"""The two sister recipes: what is trained on first, open questions and what a judge makes of them, preference pairs.

A notebook calls::

    made = recipes.o1_corpus(study, configs={"en": 400, "zh": 200}, filters=filters)
    asked = recipes.open_questions(study, config="en", rows=64, held_out=32, seed=7)
    made = recipes.tool_corpus(study, configs={"en": 400}, synthetic={"corpus1": 200}, traces=200, filters=filters)
    calls = recipes.call_forms(study, ["qwen3-small", "small-openmed-sft"], prompts=60, sampling=sampling)
    choices = recipes.choice_questions(study, "medmcqa", size=200, held_out=40, seed=7)
    answers = recipes.open_answers(study, ["small-o1-sft"], {"en": asked.held_out}, runs=2, longest=120)
    pairs = recipes.preference_pairs(study, "small-sft1", choices.train, attempts=4, sampling=sampling)

Corpora lie in ``study.corpora_dir`` and are read like any other, with `medpsy.corpus.load`.
"""

from medpsy.recipes.adapters import adapters
from medpsy.recipes.answering import closed_answers, open_answers, rewarded
from medpsy.recipes.attacks import attacked
from medpsy.recipes.calling import call_forms
from medpsy.recipes.choices import choice_questions
from medpsy.recipes.corpora import NAMES, O1, OPENMED_PAIRS, OPENMED_SFT, o1_corpus, tool_corpus
from medpsy.recipes.methods import METHODS, checkpoint, greedy, method_jobs, seeds, sft_job, tiered
from medpsy.recipes.open_set import OpenSet, open_questions, unseen
from medpsy.recipes.openmed import MERGES, openmed_jobs, openmed_pair, openmed_parts, openmed_stages, openmed_trainings
from medpsy.recipes.preferences import Pairs, preference_pairs
from medpsy.recipes.writing import Written

__all__ = [
    "MERGES",
    "METHODS",
    "NAMES",
    "O1",
    "OPENMED_PAIRS",
    "OPENMED_SFT",
    "OpenSet",
    "Pairs",
    "Written",
    "adapters",
    "attacked",
    "call_forms",
    "checkpoint",
    "choice_questions",
    "closed_answers",
    "greedy",
    "method_jobs",
    "o1_corpus",
    "open_answers",
    "open_questions",
    "openmed_jobs",
    "openmed_pair",
    "openmed_parts",
    "openmed_stages",
    "openmed_trainings",
    "preference_pairs",
    "rewarded",
    "seeds",
    "sft_job",
    "tiered",
    "tool_corpus",
    "unseen",
]
