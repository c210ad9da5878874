"""Question seeds: what the teacher is asked. Questions only; no seed holds an answer.

A seed of the miniature comes from a training cell, never from a held-out one; elsewhere from the training split of a
public set. One seed after another is made, so a corpus may have more of them than memory holds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medpsy import strict
from medpsy.corpus.recipe import Recipe
from medpsy.engines.base import Message
from medpsy.study import Study

CORPORA = ("corpus1", "corpus2")  # report 2.1: broad; smaller and of higher value


@dataclass(frozen=True)
class Seed:
    """One question to the teacher.

    Args:
        id: ``corpus/kind/...``, unique within the study.
        messages: the prompt, template-neutral.
        stem: the words that make it this question and no other: context and stem without options, or the user's turns.
        facts: ids of the miniature's facts that an answer rests on.
        run: which sample of the teacher, where the same prompt is asked more than once.
    """

    id: str
    corpus: str
    kind: str
    messages: tuple[Message, ...]
    stem: str
    facts: tuple[str, ...] = ()
    run: int = 0


def seeds(study: Study, corpus: str, kinds: Mapping[str, int], recipe: Recipe) -> Iterator[Seed]:
    """Return the seeds of `corpus`, kind after kind; more of a kind contain the fewer ones.

    Args:
        kinds: kind -> number of seeds.

    Raises:
        ValueError: an unknown corpus or kind, a number below 1, or no kind at all; before anything is read.
    """
    from medpsy.corpus import hub_seeds, mini_seeds  # late: each makes seeds, as this module says

    if corpus not in CORPORA:
        raise ValueError(f"corpus {corpus!r} is unknown; {strict.nearest(corpus, CORPORA)}")
    made = mini_seeds if study.source == "mini" else hub_seeds
    known = made.kinds(corpus)
    if not kinds:
        raise ValueError(f"{corpus}: no kind of seeds is asked for, so it would be empty; known are {', '.join(known)}")
    for kind, count in kinds.items():
        if kind not in known:
            raise ValueError(f"{corpus}: kind {kind!r} is unknown; {strict.nearest(kind, known)}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{corpus}.{kind}: {count!r} seeds; give at least 1, or leave the kind out")
    return (seed for kind, count in kinds.items() for seed in made.seeds(study, corpus, kind, count, recipe))
