"""From seeds to a corpus: the teacher writes, the filters drop, the rest is written. One batch in memory at a time."""

import hashlib
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from medpsy import prompts
from medpsy.corpus import hub_seeds, mini_seeds, truth
from medpsy.corpus.card import FILE, KEPT, SEEDS, Card, Tally
from medpsy.corpus.contamination import RULES, Contamination, stems
from medpsy.corpus.duplicates import Duplicates
from medpsy.corpus.lengths import Lengths
from medpsy.corpus.recipe import Recipe
from medpsy.corpus.rows import FILTERS, TOO_LONG, TrainingRow, read
from medpsy.corpus.seeds import Seed, seeds
from medpsy.corpus.storage import Writer, folder
from medpsy.corpus.teacher import LastingSession, responses
from medpsy.folders import whole_folder
from medpsy.noted import noted
from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec, Study

INDEX = ".seen.sqlite"


@dataclass(frozen=True)
class Built:
    """A corpus that was made, and what making it took.

    Args:
        generated: responses that were not stored before.
        peak_mib: most memory this process has held so far; an engine of its own process is not in it.
    """

    card: Card
    folder: Path
    seconds: float
    generated: int
    peak_mib: float


def build(
    study: Study,
    teacher: str,
    corpus: str,
    *,
    kinds: Mapping[str, int],
    recipe: Recipe,
    progress: Callable[[str], None] | None = None,
) -> Built:
    """Let `teacher` answer the seeds of `corpus`, filter its rows, and write them beside their card.

    Responses come from the study's store; only missing ones are generated. The same responses give the same files.

    Args:
        kinds: kind of seeds -> how many.

    Raises:
        ValueError: bad settings, or no row is left; then nothing is written, and an older corpus stays.
    """
    started = perf_counter()
    asked = Hashed(seeds(study, corpus, kinds, recipe))
    with LastingSession(study, ResponseStore(study.store_dir), progress) as session:
        line = _Line(study, session.store, study.model(teacher), recipe)
        with whole_folder(folder(study, corpus)) as scratch:
            writer = Writer(scratch)
            line.run(responses(session, teacher, asked, recipe.sampling, recipe.batch), scratch, writer)
            _require_rows(line.tally, corpus, study.model(teacher))
            card = line.card(corpus, asked.digest, list(kinds), writer.digests)
            (scratch / "README.md").write_text(card.readme(), encoding="utf-8")
            (scratch / FILE).write_text(card.text(), encoding="utf-8")
    took = perf_counter() - started
    effort = noted(study.store_dir, f"effort-{corpus}", lambda: [took, session.counts["generated"], peak_mib()])
    return Built(card, folder(study, corpus), *effort)


class Hashed:
    """Seeds as they pass, and in the end the digest of them all."""

    def __init__(self, passing: Iterable[Seed]) -> None:
        self._passing, self._hash = passing, hashlib.sha256()

    def __iter__(self) -> Iterator[Seed]:
        for seed in self._passing:
            self._hash.update(repr((seed.id, seed.messages, seed.run)).encode())
            yield seed

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class _Line:
    """The filters in their order, and what they count."""

    def __init__(self, study: Study, store: ResponseStore, teacher: ModelSpec, recipe: Recipe) -> None:
        self.study, self.store, self.teacher, self.recipe = study, store, teacher, recipe
        self.tally = Tally()
        self.targets = [study.model(name) for name in recipe.targets]
        self.suites = Contamination(stems(study), near=recipe.filters.near, ngram=recipe.filters.ngram)

    def run(self, batches: Iterable[list[tuple[Seed, object]]], scratch: Path, writer: Writer) -> None:
        """Filter all batches and write what is left."""
        seen, lengths = Duplicates(scratch / INDEX, self.recipe.filters.near), Lengths(self.store, self.targets)
        try:
            for batch in batches:
                for seed, row in self._measured(batch, lengths):
                    self._sift(seed, row, seen, writer)
            writer.flush()
        finally:
            seen.close()
            (scratch / INDEX).unlink()

    def _measured(self, batch: list[tuple[Seed, object]], lengths: Lengths) -> list[tuple[Seed, TrainingRow]]:
        """Return the readable rows of a batch with their tokens, the too long ones dropped."""
        readable = []
        for seed, response in batch:
            self.tally.seed(seed)
            row = read(seed, response, self.teacher)
            if isinstance(row, TrainingRow):
                readable.append((seed, row))
            else:
                self.tally.drop(seed, row)
        fitting = []
        for (seed, row), tokens in zip(readable, lengths.longest([row for _, row in readable]), strict=True):
            if tokens > self.recipe.filters.packed_length:
                self.tally.drop(seed, TOO_LONG)
            else:
                fitting.append((seed, row.counted(tokens)))
        return fitting

    def _sift(self, seed: Seed, row: TrainingRow, seen: Duplicates, writer: Writer) -> None:
        """Write `row` unless it is a duplicate or contaminated; only what is written counts as seen."""
        mark = seen.mark(row.text)
        if step := seen.like(mark):
            self.tally.drop(seed, step)
        elif hit := self.suites.hit(seed.stem, row.text):
            self.tally.leak(seed, hit)
        else:
            seen.add(mark)
            writer.add(row)
            self.tally.keep(row, truth.statements(seed, row) if self.study.source == "mini" else ())

    def card(self, corpus: str, digest: str, kinds: list[str], shards: dict[str, str]) -> Card:
        """Return the card of what was counted."""
        tally, inputs = self.tally, {f"seeds/{corpus}": digest}
        inputs |= {f"suite/{suite}": found for suite, found in self.suites.digests.items()}
        inputs["prompt/closed_ended"] = prompts.version("closed_ended")
        models = [self.teacher, *self.targets]
        inputs |= {f"model/{model.name}": self.store.fingerprint(model) for model in models}
        mini = self.study.source == "mini"
        sources = {mini_seeds.SOURCE: mini_seeds.LICENCE} if mini else hub_seeds.described(kinds, self.recipe)
        return Card(
            corpus,
            self.study.profile,
            self.teacher.name,
            self.recipe.as_data(),
            {kind: {step: tally.funnel[kind][step] for step in (SEEDS, *FILTERS, KEPT)} for kind in kinds},
            dict(sorted(tally.lengths.items())),
            {kind: tally.kind_tokens[kind] for kind in kinds},
            mini_seeds.coverage(tally.facts) if mini else {},
            self.suites.sizes,
            {suite: {rule: tally.leaks.get(suite, {}).get(rule, 0) for rule in RULES} for suite in self.suites.sizes},
            {kind: truth.counted(tally.errors.get(kind, {})) for kind in kinds} if mini else {},
            list(sources),
            "; ".join(dict.fromkeys(sources.values())),
            inputs,
            shards,
        )


def _require_rows(tally: Tally, corpus: str, teacher: ModelSpec) -> None:
    counts = {step: sum(found[step] for found in tally.funnel.values()) for step in (SEEDS, *FILTERS, KEPT)}
    if not counts[KEPT]:
        dropped = ", ".join(f"{step} {counts[step]:,}" for step in FILTERS if counts[step])
        raise ValueError(
            f"{corpus}: none of {counts[SEEDS]:,} responses of teacher {teacher.name!r} became a row ({dropped}); "
            "nothing is written: read some of them, then change the teacher, its sampling or the filters"
        )


def peak_mib() -> float:
    """Return the most memory this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
