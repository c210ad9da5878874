"""Texts in which every word of the miniature occurs, for training its tokenizer."""

import random
from itertools import islice

from medpsy.mini import corpus, judges, language
from medpsy.mini.thinking import CHOOSING, Voice
from medpsy.mini.world import World

EACH = 2000  # samples of every kind; enough that no wording is missed


def vocabulary_texts(world: World) -> list[str]:
    """Return prompts, completions and facts without the tags of thinking, which are tokens of their own."""
    rng, voice = random.Random("vocabulary"), Voice(wordings=dict.fromkeys(CHOOSING, 1.0))
    everything = frozenset(fact.id for fact in world.facts)
    rows = [
        corpus.thinker_samples(world, everything, voice, "<think>\n", rng),
        corpus.parser_samples(world, rng),
        judges.samples(world, judges.Ear(), rng),
    ]
    samples = [sample for row in rows for sample in islice(row, EACH)]
    texts = [message["content"] for sample in samples for message in sample.messages]
    texts += [sample.completion.replace(corpus.END, "") for sample in samples]
    texts += [language.state(fact, form) for fact in world.facts for form in range(3)]
    return [text.replace("<think>", "").replace("</think>", "") for text in texts]
