"""Training data: question seeds, a teacher that answers them, filters, and a card for each corpus."""

from medpsy.corpus.building import build, card, digests, load
from medpsy.corpus.seeds import Seed, behind, draw_seeds
