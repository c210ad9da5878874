"""The data of the two sister recipes: what is trained on first, open questions for a judge, and preference pairs.

A notebook calls::

    made = recipes.o1_corpus(study, configs={"en": 400, "zh": 200}, filters=filters)
    asked = recipes.open_questions(study, config="en", rows=64, held_out=32, seed=7)
    made = recipes.tool_corpus(study, configs={"en": 400}, synthetic={"corpus1": 200}, traces=200, filters=filters)
    calls = recipes.call_forms(study, ["qwen3-small", "small-openmed-sft"], prompts=60, sampling=sampling)
    choices = recipes.choice_questions(study, "medmcqa", size=200, held_out=40, seed=7)
    pairs = recipes.preference_pairs(study, "small-sft1", choices.train, attempts=4, sampling=sampling)

Corpora lie in ``study.corpora_dir`` and are read like any other, with `medpsy.corpus.load`.
"""

from medpsy.recipes.calling import call_forms
from medpsy.recipes.choices import choice_questions
from medpsy.recipes.corpora import NAMES, O1, OPENMED_PAIRS, OPENMED_SFT, o1_corpus, tool_corpus
from medpsy.recipes.open_set import OpenSet, open_questions
from medpsy.recipes.openmed import MERGES, OPENMED, openmed_parts
from medpsy.recipes.preferences import Pairs, preference_pairs
from medpsy.recipes.writing import Written

__all__ = [
    "MERGES",
    "NAMES",
    "O1",
    "OPENMED",
    "OPENMED_PAIRS",
    "OPENMED_SFT",
    "OpenSet",
    "Pairs",
    "Written",
    "call_forms",
    "choice_questions",
    "o1_corpus",
    "open_questions",
    "openmed_parts",
    "preference_pairs",
    "tool_corpus",
]
