"""A fictional medicine, drawn from a seed: invented conditions, drugs, tests, organs and the facts that join them.

Names are made of syllables, so nothing here can be read as advice. Every fact has an id, so what a model was taught and
what it knows can be counted. The world holds no sentences; wording is in `medpsy.mini.language`.
"""

import random
from dataclasses import dataclass
from functools import cached_property, lru_cache

KINDS = {  # kind -> (how many, ending that tells a reader which kind a name is)
    "condition": (40, "osk"),
    "drug": (40, "ix"),
    "test": (20, "ogo"),
    "organ": (16, "um"),
    "agent": (20, "ard"),
    "gene": (20, "ep"),
    "enzyme": (20, "ayl"),
    "symptom": (24, "itch"),
    "region": (8, "una"),
}
RELATIONS = {  # relation -> (kind of subject, kind of object)
    "first_drug": ("condition", "drug"),
    "second_drug": ("condition", "drug"),
    "test": ("condition", "test"),
    "organ": ("condition", "organ"),
    "agent": ("condition", "agent"),
    "gene": ("condition", "gene"),
    "region": ("condition", "region"),
    "signs": ("condition", "symptom"),
    "enzyme": ("drug", "enzyme"),
    "harms": ("drug", "organ"),
}
ONSETS = (
    "b", "bl", "br", "d", "dr", "f", "fl", "g", "gl", "gr", "k", "kl", "kr", "l",
    "m", "n", "p", "pl", "pr", "r", "s", "sk", "st", "t", "tr", "v", "z",
)  # fmt: skip
VOWELS = ("a", "e", "i", "o", "u")


@dataclass(frozen=True)
class Fact:
    """One true sentence: `subject` stands in `relation` to `objects` (two symptoms for ``signs``, else one name)."""

    relation: str
    subject: str
    objects: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.relation}/{self.subject}"


@dataclass(frozen=True)
class World:
    """All names by kind and all facts. Build with `build`; equal seeds give equal worlds."""

    seed: int
    names: dict[str, tuple[str, ...]]
    facts: tuple[Fact, ...]

    @cached_property
    def by_id(self) -> dict[str, Fact]:
        return {fact.id: fact for fact in self.facts}

    def get(self, relation: str, subject: str) -> Fact:
        """Return the fact, or raise KeyError naming relation and subject."""
        return self.by_id[f"{relation}/{subject}"]

    def object(self, relation: str, subject: str) -> str:
        return self.get(relation, subject).objects[0]


def invent_names(rng: random.Random, count: int, ending: str, taken: set[str]) -> tuple[str, ...]:
    """Return `count` new pronounceable names with `ending`; `taken` is extended."""
    names: list[str] = []
    while len(names) < count:
        name = rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ONSETS) + ending
        if name not in taken:
            taken.add(name)
            names.append(name)
    return tuple(names)


def spread(rng: random.Random, pool: tuple[str, ...], count: int) -> list[str]:
    """Return `count` draws from `pool` in which every name occurs equally often, give or take one."""
    draws = list(pool) * (count // len(pool) + 1)
    rng.shuffle(draws)
    return draws[:count] if len(pool) < count else rng.sample(pool, count)


def two_different(rng: random.Random, first: list[str]) -> list[str]:
    """Return a permutation of `first` that leaves no place unchanged."""
    while True:
        second = rng.sample(first, len(first))
        if all(a != b for a, b in zip(first, second, strict=True)):
            return second


@lru_cache(maxsize=4)
def build(seed: int = 11, conditions: int = 40) -> World:
    """Return the world of `seed` with `conditions` conditions (and as many drugs)."""
    rng = random.Random(f"world/{seed}")
    sizes = {kind: (conditions if kind in ("condition", "drug") else size) for kind, (size, _) in KINDS.items()}
    taken: set[str] = set()
    names = {kind: invent_names(rng, sizes[kind], ending, taken) for kind, (_, ending) in KINDS.items()}
    first = spread(rng, names["drug"], conditions)
    columns = {"first_drug": first, "second_drug": two_different(rng, first)}
    for relation in ("test", "organ", "agent", "gene", "region"):
        columns[relation] = spread(rng, names[relation], conditions)
    pairs = [(a, b) for i, a in enumerate(names["symptom"]) for b in names["symptom"][i + 1 :]]
    signs = rng.sample(pairs, conditions)  # distinct pairs, so two signs identify one condition
    facts = [
        Fact(relation, subject, (target,))
        for relation, column in columns.items()
        for subject, target in zip(names["condition"], column, strict=True)
    ]
    facts += [Fact("signs", subject, pair) for subject, pair in zip(names["condition"], signs, strict=True)]
    for relation in ("enzyme", "harms"):
        pool = names["organ" if relation == "harms" else relation]
        column = spread(rng, pool, conditions)
        facts += [Fact(relation, drug, (target,)) for drug, target in zip(names["drug"], column, strict=True)]
    return World(seed, names, tuple(facts))
