"""Write the corpora of the sister recipes: filtered, beside a card, loaded as any corpus with `medpsy.corpus.load`.

Dropped and counted: rows with a second think block, rows longer than a pack, exact duplicates, and rows that repeat
what a suite asks. Near duplicates stay: the turns of one trace are alike by nature.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from medpsy.corpus.card import FILE, KEPT, SEEDS, Card, Tally
from medpsy.corpus.contamination import RULES, Contamination, stems
from medpsy.corpus.lengths import Lengths
from medpsy.corpus.recipe import Filters
from medpsy.corpus.rows import EXACT, FILTERS, SCHEMA, TOO_LONG, UNREADABLE, TrainingRow, marked
from medpsy.corpus.storage import Writer, folder
from medpsy.corpus.words import digest, words
from medpsy.folders import whole_folder
from medpsy.recipes.describing import Origins, readme
from medpsy.responses import ResponseStore
from medpsy.study import Study


@dataclass(frozen=True)
class Written:
    """A corpus on the disk."""

    card: Card
    folder: Path


def write(
    study: Study,
    name: str,
    rows: Sequence[TrainingRow],
    *,
    filters: Filters,
    origins: Origins,
    schema: pa.Schema = SCHEMA,
) -> Written:
    """Filter `rows` and write them as corpus `name` of the study, whole or not at all; equal rows give equal files.

    Raises:
        ValueError: the study trains no model by whose tokenizer rows could be measured, or no row is left; then an
            older corpus stays.
    """
    if not study.targets:
        raise ValueError(f"targets: params/{study.profile}/study.yaml names none; name the models to measure rows by")
    index, tally = Contamination(stems(study), near=filters.near, ngram=filters.ngram), Tally()
    targets = [study.model(one) for one in dict.fromkeys(study.targets.values())]
    store = ResponseStore(study.store_dir)
    with whole_folder(folder(study, name)) as scratch:
        writer = Writer(scratch, schema=schema)
        for row in _kept(_measured(rows, Lengths(store, targets), filters, tally), index, tally):
            writer.add(row)
        writer.flush()
        if not tally.lengths:
            counts = {step: sum(one[step] for one in tally.funnel.values()) for step in (SEEDS, *FILTERS)}
            raise ValueError(f"{name}: no row is left ({counts}); nothing is written: take more rows, or other filters")
        digests = {f"rows/{name}": _digest(rows)} | {f"suite/{key}": found for key, found in index.digests.items()}
        digests |= {f"model/{one.name}": store.fingerprint(one) for one in targets}
        settings = {"filters": asdict(filters), "targets": [one.name for one in targets]}
        card = described(study, name, tally, index, origins, settings=settings, inputs=digests, shards=writer.digests)
        (scratch / "README.md").write_text(readme(card, schema.names, origins), encoding="utf-8")
        (scratch / FILE).write_text(card.text(), encoding="utf-8")
    return Written(card, folder(study, name))


def described(
    study: Study,
    name: str,
    tally: Tally,
    index: Contamination,
    origins: Origins,
    *,
    settings: dict[str, object],
    inputs: dict[str, str],
    shards: dict[str, str],
) -> Card:
    """Return the card of what was counted."""
    return Card(
        name,
        study.profile,
        origins.author,
        settings,
        {kind: {step: found[step] for step in (SEEDS, *FILTERS, KEPT)} for kind, found in tally.funnel.items()},
        dict(sorted(tally.lengths.items())),
        {kind: tally.kind_tokens[kind] for kind in tally.funnel},
        {},
        index.sizes,
        {suite: {rule: tally.leaks.get(suite, {}).get(rule, 0) for rule in RULES} for suite in index.sizes},
        {},
        list(origins.sources),
        origins.licence,
        inputs,
        shards,
    )


def _measured(rows: Sequence[TrainingRow], lengths: Lengths, filters: Filters, tally: Tally) -> Iterator[TrainingRow]:
    """Yield the readable rows that fit a pack, with their tokens."""
    readable = []
    for row in rows:
        tally.seed(row)
        if marked(row.reasoning) or marked(row.answer):
            tally.drop(row, UNREADABLE)
        else:
            readable.append(row)
    for row, tokens in zip(readable, lengths.longest(readable), strict=True):
        if tokens > filters.packed_length:
            tally.drop(row, TOO_LONG)
        else:
            yield row.counted(tokens)


def _kept(rows: Iterator[TrainingRow], index: Contamination, tally: Tally) -> Iterator[TrainingRow]:
    """Yield the rows that are neither duplicates nor a suite's."""
    seen = set()
    for row in rows:
        mark = digest(" ".join(words(row.text)))
        if mark in seen:
            tally.drop(row, EXACT)
        elif hit := index.hit(stem(row), row.text):
            tally.leak(row, hit)
        else:
            seen.add(mark)
            tally.keep(row, ())
            yield row


def stem(row: TrainingRow) -> str:
    """Return the words that ask: the turns of the user."""
    return " ".join(turn["content"] for turn in row.messages if turn["role"] == "user")


def _digest(rows: Sequence[TrainingRow]) -> str:
    found = hashlib.sha256()
    for row in rows:
        found.update(repr((row.id, *row.written)).encode())
    return found.hexdigest()
