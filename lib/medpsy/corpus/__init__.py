"""Training data: question seeds, a teacher that answers them, filters, and a card for each corpus.

A notebook calls::

    made = corpus.recipe(study, sampling=..., filters=..., batch=2000)
    built = corpus.build(study, "teacher-broad", "corpus1", kinds={"questions": 350}, recipe=made)
    rows = corpus.load(study, "corpus1")  # a datasets.Dataset
"""

from medpsy.corpus.building import Built, build
from medpsy.corpus.card import Card
from medpsy.corpus.recipe import Recipe, recipe
from medpsy.corpus.seeds import CORPORA, Seed, seeds
from medpsy.corpus.storage import card, load

__all__ = ["CORPORA", "Built", "Card", "Recipe", "Seed", "build", "card", "load", "recipe", "seeds"]
