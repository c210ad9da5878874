"""Pairs of a right and a wrong response to the same question, for preference optimization.

The responses are a model's own, sampled and graded as for difficulty (`medpsy.training.difficulty`), and stand in a
pair as they were written. A wrong response names another option than the gold one; one that was cut off or names no
single option is neither right nor wrong. Refuses a question that a suite asks.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medpsy import prompts, strict
from medpsy.benchmarks.question import Question
from medpsy.corpus import contamination
from medpsy.corpus.card import FILE, KEPT, SEEDS, Card
from medpsy.corpus.rows import FILTERS, marked, without_opening
from medpsy.corpus.storage import folder
from medpsy.engines.base import Sampling
from medpsy.engines.identity import file_digest
from medpsy.folders import whole_folder
from medpsy.grading.reasoning import split
from medpsy.recipes.corpora import OPENMED_PAIRS
from medpsy.recipes.describing import Origins, readme
from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec, Study
from medpsy.training.difficulty import graded
from medpsy.training.pairs import SCHEMA, Pair, write_pairs
from medpsy.training.rl_questions import NEAR, NGRAM

SHARD = "part-00000.parquet"  # its name is that of a corpus's first shard
PURPOSE = "Pairs of a right (chosen) and a wrong (rejected) response to the same multiple-choice question."
NEITHER, ONLY_RIGHT, ONLY_WRONG, PAIRED = "neither", "only right", "only wrong", "paired"


@dataclass(frozen=True)
class Pairs:
    """Pairs on the disk; `counts` says what became of questions and attempts."""

    rows: tuple[Pair, ...]
    counts: dict[str, int]
    card: Card
    folder: Path


@dataclass
class Tried:
    """The distinct right and wrong responses to one question as they were written, in the order of their runs."""

    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        if self.right and self.wrong:
            return PAIRED
        return ONLY_RIGHT if self.right else ONLY_WRONG if self.wrong else NEITHER


def preference_pairs(
    study: Study,
    model: str,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Mapping[str, Any],
    per_question: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Pairs:
    """Let `model` attempt training `questions`, pair right with wrong responses, and write corpus
    ``"openmed-pairs/<model>"``.

    Responses come from the study's store; only missing ones are generated.

    Args:
        sampling: fields of `medpsy.engines.base.Sampling` but for the seed, which is the study's.
        per_question: most pairs of one question; no response is in two of them.

    Raises:
        ValueError: a question that a suite asks, bad settings, or no pair; nothing is written then.
    """
    if per_question < 1:
        raise ValueError(f"per_question is {per_question}; give at least 1 pair")
    index = refuse_suites(study, questions)
    chosen = strict.build(Sampling, dict(sampling), strict.Place("sampling"), seed=study.seed)
    tried, counts = {question.id: Tried() for question in questions}, Counter()
    settings = {"attempts": attempts, "sampling": chosen, "progress": progress}
    for answers, rewards in graded(study, model, questions, **settings):
        for question, row, reward in zip(questions, answers.itertuples(), rewards, strict=True):
            counts[_sort(tried[question.id], row, reward, study.model(model))] += 1
    counts += Counter(f"questions {one.kind}" for one in tried.values())
    rows = tuple(pair for one in questions for pair in pairs(one, tried[one.id], per_question, study.seed))
    if not rows:
        raise ValueError(
            f"{OPENMED_PAIRS}: no question has a right and a wrong response ({dict(counts)}); try more often"
        )
    made = {"attempts": attempts, "sampling": asdict(chosen), "per_question": per_question, "counts": dict(counts)}
    card = _write(study, study.model(model), rows, len(questions), index, made)
    return Pairs(rows, dict(counts), card, folder(study, pairs_of(model)))


def pairs_of(model: str) -> str:
    """Return the name of the corpus of pairs that `model` wrote."""
    return f"{OPENMED_PAIRS}/{model}"


def refuse_suites(study: Study, questions: Sequence[Question]) -> contamination.Contamination:
    """Return the index of the study's suites, after no question was found in it.

    Raises:
        ValueError: names the question, the suites and why.
    """
    index = contamination.Contamination(contamination.stems(study), near=NEAR, ngram=NGRAM)
    for question in questions:
        stem = contamination.stem(question)
        if hit := index.hit(stem, stem):
            asked = ", ".join(sorted(hit.suites))
            raise ValueError(
                f"question {question.id!r} is one of {asked} ({hit.rule}); pairs are made of training ones"
            )
    return index


def pairs(question: Question, tried: Tried, most: int, seed: int) -> list[Pair]:
    """Return at most `most` pairs of `question`, drawn by seed; none of its responses is in two."""
    rng = random.Random(f"{seed}/{question.suite}/{question.id}")
    right, wrong = (rng.sample(side, len(side)) for side in (tried.right, tried.wrong))
    messages, name = prompts.closed_ended(question), f"{question.suite}/{question.id}"
    both = list(zip(right, wrong, strict=False))[:most]
    return [Pair(f"{name}#{number}", messages, good, bad) for number, (good, bad) in enumerate(both)]


def _sort(tried: Tried, row: Any, reward: Any, model: ModelSpec) -> str:
    """Put a response where it belongs, unless it is there; return what it is, for the counts."""
    if reward is None:
        return "attempts failed"
    parts = split(row.text, opens_thinking=model.opens_thinking, finish_reason=row.finish_reason)
    several = marked(without_opening(parts.reasoning)) or marked(parts.answer or "")
    if row.finish_reason != "stop" or reward.chosen is None or several:
        return "attempts without a single option"
    side, said = tried.right if reward.right else tried.wrong, row.text.strip()
    if said not in side:
        side.append(said)
    return "attempts right" if reward.right else "attempts wrong"


def _write(
    study: Study,
    model: ModelSpec,
    rows: Sequence[Pair],
    asked: int,
    index: contamination.Contamination,
    settings: dict[str, object],
) -> Card:
    fiction = study.source == "mini"
    licence = "Apache-2.0" if fiction else "that of the questions"
    origins = Origins(PURPOSE, {"training questions": licence}, model.name, fiction)
    with whole_folder(folder(study, pairs_of(model.name))) as scratch:
        shards = {SHARD: file_digest(write_pairs(scratch / SHARD, rows))}
        funnel = {"pairs": {SEEDS: asked, **dict.fromkeys(FILTERS, 0), KEPT: len(rows)}}
        digests = {f"suite/{key}": found for key, found in index.digests.items()}
        digests[f"model/{model.name}"] = ResponseStore(study.store_dir).fingerprint(model)
        card = Card(
            pairs_of(model.name), study.profile, model.name, settings, funnel, {}, {"pairs": 0}, {}, index.sizes, {},
            {}, list(origins.sources), licence, digests, shards,
        )  # fmt: skip
        (scratch / "README.md").write_text(readme(card, SCHEMA.names, origins), encoding="utf-8")
        (scratch / FILE).write_text(card.text(), encoding="utf-8")
    return card
