"""Training data: question seeds, a teacher that answers them, filters, and a card for each corpus.

A notebook calls::

    made = corpus.build(study, "teacher-broad", "corpus1", {"questions": 350}, sampling=..., filters=..., batch=2000)
    rows = corpus.load(study, "corpus1")  # a datasets.Dataset
"""

from medpsy.corpus.building import build, card, digests, load
from medpsy.corpus.seeds import Seed, behind, draw_seeds

__all__ = ["Seed", "behind", "build", "card", "digests", "draw_seeds", "load"]
