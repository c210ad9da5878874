"""What a reader of a sister recipe's corpus finds beside it: where it comes from, what was dropped, what it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medpsy.corpus.card import FICTION as INVENTED
from medpsy.corpus.card import FILE, KEPT, MODEL_TEXT, SEEDS, Card
from medpsy.corpus.rows import FILTERS

README = """---
license: {licence_id}
---

# {corpus} of profile {profile}

{purpose} From {sources}; written by {author}. {rows:,} rows, {tokens}. {warning}

| | {head} |
|---|{rule}|
{funnel}

Columns: {columns}. Licence: {licence}. All numbers: `{file}`. Load with
`datasets.load_dataset("parquet", data_files="part-*.parquet")`.
"""


@dataclass(frozen=True)
class Origins:
    """Where rows come from.

    Args:
        purpose: what the corpus is for, a sentence.
        sources: description of each source -> its licence.
        author: who wrote reasoning and answers.
        fiction: whether all of it is the miniature's.
    """

    purpose: str
    sources: Mapping[str, str]
    author: str
    fiction: bool

    @property
    def licence(self) -> str:
        return "; ".join(dict.fromkeys(self.sources.values()))


def readme(card: Card, columns: Sequence[str], origins: Origins) -> str:
    """Return the card as Markdown; steps of the funnel that dropped nothing are left out."""
    kinds = list(card.funnel)
    steps = [step for step in FILTERS if any(card.funnel[kind][step] for kind in kinds)]
    lines = [
        f"| {step} | " + " | ".join(f"{card.funnel[kind][step]:,}" for kind in kinds) + " |"
        for step in (SEEDS, *steps, KEPT)
    ]
    longest = max(card.lengths, default=0)
    return README.format(
        licence_id="apache-2.0" if origins.fiction else "other",
        corpus=card.corpus,
        profile=card.profile,
        purpose=origins.purpose,
        sources="; ".join(card.sources),
        author=card.teacher,
        rows=card.rows,
        tokens=f"{card.tokens:,} tokens (the longest row {longest:,})" if longest else "tokens not counted",
        warning=INVENTED if origins.fiction else MODEL_TEXT,
        head=" | ".join(kinds),
        rule="|".join("---:" for _ in kinds),
        funnel="\n".join(lines),
        columns=", ".join(columns),
        licence=card.licence,
        file=FILE,
    )
