"""The card of a corpus: what it holds, where that comes from, what was dropped and how far the teacher can be trusted.

The same rows always give the same card: it holds no time and no machine.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medpsy.corpus.contamination import Hit
from medpsy.corpus.rows import CONTAMINATED, FILTERS, TrainingRow
from medpsy.corpus.seeds import Seed

FILE = "card.json"
KEPT, SEEDS = "kept", "seeds"

README = """---
license: {licence_id}
---

# {corpus} of profile {profile}

Training data that a teacher wrote: questions from {sources}; every word of reasoning and answer by {teacher}.
{rows:,} rows, {tokens:,} tokens (the longest row {longest:,}). {warning}

| | {head} |
|---|{rule}|
{funnel}

Columns: id, corpus, kind, messages (the prompt), reasoning, answer, facts, teacher, key (of the response in the store),
tokens (of the whole row in the chat template of the target that needs most). Licence: {licence}. All numbers:
`{file}`. Load with `datasets.load_dataset("parquet", data_files="part-*.parquet")`.
"""
FICTION = "All of it is fictional medicine: every name is invented, and nothing in it is medical advice."
MODEL_TEXT = "A model wrote it and no physician has read it: it holds errors, and nothing in it is medical advice."


@dataclass(frozen=True)
class Card:
    """What is known of one corpus.

    Args:
        settings: sampling, filters and targets.
        funnel: kind -> seeds, what each filter dropped, and rows kept.
        lengths: tokens of a row -> number of such rows.
        kind_tokens: kind -> tokens.
        coverage: relation -> facts of the world, and those that rows rest on; empty outside the miniature.
        checked: suite -> questions and conversations that rows were compared with.
        leaks: suite -> rule -> rows dropped; a row may repeat several suites.
        errors: kind -> statements that were right, wrong, not told; empty outside the miniature.
        inputs: name -> digest of what went in.
        shards: file -> SHA-256.
    """

    corpus: str
    profile: str
    teacher: str
    settings: dict[str, object]
    funnel: dict[str, dict[str, int]]
    lengths: dict[int, int]
    kind_tokens: dict[str, int]
    coverage: dict[str, dict[str, int]]
    checked: dict[str, int]
    leaks: dict[str, dict[str, int]]
    errors: dict[str, dict[str, int]]
    sources: list[str]
    licence: str
    inputs: dict[str, str]
    shards: dict[str, str]

    @property
    def rows(self) -> int:
        return sum(counts[KEPT] for counts in self.funnel.values())

    @property
    def tokens(self) -> int:
        return sum(self.kind_tokens.values())

    def text(self) -> str:
        """Return the card as JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"

    def readme(self) -> str:
        """Return the card as Markdown, for a reader of the folder."""
        kinds = list(self.funnel)
        lines = [
            f"| {step} | " + " | ".join(f"{self.funnel[kind][step]:,}" for kind in kinds) + " |"
            for step in (SEEDS, *FILTERS, KEPT)
        ]
        fiction = bool(self.coverage)
        return README.format(
            licence_id="apache-2.0" if fiction else "other",
            corpus=self.corpus,
            profile=self.profile,
            sources="; ".join(self.sources),
            teacher=self.teacher,
            rows=self.rows,
            tokens=self.tokens,
            longest=max(self.lengths, default=0),
            warning=FICTION if fiction else MODEL_TEXT,
            head=" | ".join(kinds),
            rule="|".join("---:" for _ in kinds),
            funnel="\n".join(lines),
            licence=self.licence,
            file=FILE,
        )


def read(path: Path) -> Card:
    """Return the card that `Card.text` wrote to `path`."""
    found = json.loads(path.read_text(encoding="utf-8"))
    found["lengths"] = {int(tokens): rows for tokens, rows in found["lengths"].items()}
    return Card(**found)


@dataclass
class Tally:
    """Counts while rows go by; its size does not grow with them."""

    funnel: dict[str, Counter] = field(default_factory=dict)
    lengths: Counter = field(default_factory=Counter)
    kind_tokens: Counter = field(default_factory=Counter)
    facts: Counter = field(default_factory=Counter)
    leaks: dict[str, Counter] = field(default_factory=dict)
    errors: dict[str, Counter] = field(default_factory=dict)

    def seed(self, seed: Seed | TrainingRow) -> None:
        self.funnel.setdefault(seed.kind, Counter())[SEEDS] += 1

    def drop(self, seed: Seed | TrainingRow, step: str) -> None:
        self.funnel[seed.kind][step] += 1

    def leak(self, seed: Seed | TrainingRow, hit: Hit) -> None:
        self.drop(seed, CONTAMINATED)
        for suite in hit.suites:
            self.leaks.setdefault(suite, Counter())[hit.rule] += 1

    def keep(self, row: TrainingRow, statements: Iterable[str]) -> None:
        """Count a row that stays, and what is true of its `statements`."""
        self.funnel[row.kind][KEPT] += 1
        self.lengths[row.tokens] += 1
        self.kind_tokens[row.kind] += row.tokens
        self.facts.update(row.facts)
        self.errors.setdefault(row.kind, Counter()).update(statements)
