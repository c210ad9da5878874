"""From seeds to a corpus: the teacher writes, the filters drop, the rest is Parquet shards beside a card.

Only with its card is a corpus complete; the same rows always give the same files and card, which hold no time and no
machine. One batch is in memory at a time. Rows that others wrote (the sister recipes') go through the same filters but
for near duplicates: the turns of one trace are alike by nature.
"""

import hashlib
import json
import resource
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Template

from medpsy import licences, prompts, strict
from medpsy.corpus.filters import RULES, Contamination, Duplicates, Filters, stems
from medpsy.corpus.rows import (
    CONTAMINATED,
    FILTERS,
    SCHEMA,
    TOO_LONG,
    TOOL_SCHEMA,
    Lengths,
    TrainingRow,
    row_of_response,
)
from medpsy.corpus.seeds import Seed, draw_seeds, sources, user_words
from medpsy.engines.base import Prompt, Sampling
from medpsy.files import whole_folder
from medpsy.store import Progress, ResponseStore, Session, noted
from medpsy.study import ModelSpec, Study

CARD_FILE = "card.json"
SHARD_ROWS = 2_000  # ours: at 4,096 tokens a row some 30 MB of text
KEPT, SEEDS = "kept", "seeds"
STEPS = (SEEDS, *FILTERS, KEPT)
CARD = Path(__file__).with_name("card.md.jinja")  # what people read of a corpus
MAKE = "run 03_training_data (for a corpus of a sister recipe 12_gspo_judge or 13_openmed)"


@dataclass(frozen=True)
class Origins:
    purpose: str  # what the corpus is for, in sentences
    sources: Mapping[str, str]  # description of each source -> its licence
    author: str  # of reasoning and answers
    fiction: bool  # all of it is the miniature's


@dataclass(frozen=True)
class Card:
    corpus: str
    profile: str
    teacher: str
    settings: dict[str, object]  # sampling, filters and targets
    funnel: dict[str, dict[str, int]]  # kind -> seeds, what each filter dropped, and rows kept
    tokens: int
    longest: int  # tokens of the longest row
    checked: dict[str, int]  # suite -> questions and conversations that rows were compared with
    leaks: dict[str, dict[str, int]]  # suite -> rule -> rows dropped; a row may repeat several suites
    inputs: dict[str, str]  # name -> digest of what went in
    shards: dict[str, str]  # file -> SHA-256

    @property
    def rows(self) -> int:
        return sum(counts[KEPT] for counts in self.funnel.values())

    def write(self, folder: Path, origins: Origins) -> None:
        told = {"card": self, "steps": STEPS, "file": CARD_FILE, "purpose": origins.purpose, "fiction": origins.fiction}
        licences.write_card(folder, origins.sources, Template(CARD.read_text(encoding="utf-8")).render(told))
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"
        (folder / CARD_FILE).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Written:
    """A corpus on the disk. `effort` of a teacher: ``seconds``, responses ``generated`` that were not stored before,
    and ``peak_mib``: most memory that this process has held so far; an engine of its own process is not in it."""

    card: Card
    folder: Path
    effort: dict[str, float] = field(default_factory=dict)


def digests(corpora: Sequence[Written]) -> dict[str, str]:
    """Return by name the digests of what went into `corpora` (seeds, suites, prompt, models) and of every shard."""
    inputs = {name: stated for made in corpora for name, stated in made.card.inputs.items()}
    return inputs | {f"{made.card.corpus}/{name}": sha for made in corpora for name, sha in made.card.shards.items()}


def folder(study: Study, corpus: str) -> Path:
    return study.corpora_dir / corpus


def card(study: Study, corpus: str) -> Card:
    """Return the card of a complete corpus; FileNotFoundError where there is none, or a shard it names is gone."""
    path, name = folder(study, corpus) / CARD_FILE, f"{corpus} of profile {study.profile}"
    if not path.is_file():
        raise FileNotFoundError(f"{name} is not complete: it has no {CARD_FILE}; {MAKE}")
    try:
        known = Card(**json.loads(path.read_text(encoding="utf-8")))
    except TypeError:
        raise ValueError(f"{name}: its {CARD_FILE} is of another version of this library; {MAKE} again") from None
    if missing := [shard for shard in known.shards if not (path.parent / shard).is_file()]:
        raise FileNotFoundError(f"{name}: {missing[0]} is missing; {MAKE}")
    return known


def load(study: Study, corpus: str):
    """Return the rows of `corpus` as a `datasets.Dataset`; one that is not as its card says is refused."""
    import datasets  # late: takes a second to import

    known = card(study, corpus)
    files = [str(folder(study, corpus) / name) for name in sorted(known.shards)]
    rows = datasets.load_dataset("parquet", data_files=files, split="train")
    if len(rows) != known.rows:
        raise ValueError(f"{corpus}: {len(rows):,} rows, {known.rows:,} by its {CARD_FILE}; delete it and {MAKE}")
    return rows


def build(
    study: Study,
    teacher: str,
    corpus: str,
    kinds: Mapping[str, int],
    *,
    sampling: Mapping[str, Any],
    filters: Mapping[str, Any],
    batch: int,
    targets: Sequence[str] = (),
    origins: Mapping[str, Mapping[str, str]] | None = None,
    progress: Progress = None,
) -> Written:
    """Let `teacher` answer the seeds of `corpus`, filter its rows, and write them beside their card. Bad settings, or
    no row that is left, are a ValueError; then nothing is written, and an older corpus stays. `kinds` and `origins` are
    those of `medpsy.corpus.draw_seeds`; `sampling` and `filters` fields of `Sampling` but for the seed, which is the
    study's, and of `Filters`; `batch` seeds are in memory at a time; tokenizer and chat template of the `targets`, by
    default the study's own, measure a row."""
    started, place = perf_counter(), strict.Place(f"params/{study.profile}/03_training_data.yaml")
    how = strict.build(Sampling, dict(sampling), place.at("sampling"), seed=study.seed)
    dropping = strict.build(Filters, dict(filters), place.at("filters"))
    measures, spec = _measures(study, targets), study.model(teacher)
    if batch < 1:
        raise place.at("batch").error(f"{batch}; it must be at least 1 seed")
    seeds = draw_seeds(study, corpus, kinds, origins)
    made_of = sources(study, kinds, origins) | licences.of_model(spec)
    purpose = f"Training data that a teacher wrote: every word of reasoning and answer is by {teacher}."
    store = ResponseStore(study.store_dir)
    inputs = {"prompt/closed_ended": prompts.version("closed_ended"), f"model/{teacher}": store.fingerprint(spec)}
    settings = {"sampling": asdict(how), "filters": asdict(dropping), "targets": measures}
    where = Origins(purpose, made_of, teacher, study.source == "mini")
    with ExitStack() as stack:
        session = Session(study, store, progress, stack)
        answered = _answered(session, spec, seeds, how, batch)
        written = _write(study, corpus, answered, dropping, dropping.near, settings, where, inputs=inputs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    took = [perf_counter() - started, store.generated, peak]
    effort = noted(study.store_dir, f"effort-{corpus}", lambda: took)
    return replace(written, effort=dict(zip(("seconds", "generated", "peak_mib"), effort, strict=True)))


def write_corpus(
    study: Study, name: str, rows: Sequence[TrainingRow], *, filters: Mapping[str, Any], origins: Origins
) -> Written:
    """Filter `rows`, those with a second think block among what is dropped, and write them as corpus `name` of the
    study; `filters` and errors as those of `build`."""
    dropping = strict.build(Filters, dict(filters), strict.Place("filters"))
    candidates = [Candidate(row.kind, (row.id, *row.written), user_words(row.messages), row.readable) for row in rows]
    settings = {"filters": asdict(dropping), "targets": _measures(study)}
    schema = TOOL_SCHEMA if any(row.prompt_tools for row in rows) else SCHEMA
    return _write(study, name, [candidates], dropping, 1, settings, origins, schema=schema)


class Candidate(NamedTuple):
    kind: str
    asked: tuple  # what tells it from all others, for the digest of what went in
    stem: str  # the words that ask
    row: TrainingRow | str  # or the filter that has dropped it already


def _measures(study: Study, targets: Sequence[str] = ()) -> list[str]:
    names = list(dict.fromkeys(targets or study.targets.values()))
    if not names:
        raise ValueError(f"targets: params/{study.profile}/study.yaml names none; name the models to measure rows by")
    if remote := [name for name in names if study.model(name).base_url]:
        raise ValueError(f"targets: {remote[0]!r} is behind an endpoint; name a model whose tokenizer can be read")
    return names


def _write(
    study: Study,
    name: str,
    batches: Iterable[Sequence[Candidate]],
    filters: Filters,
    near: float,  # similarity from which two rows are near duplicates; 1 leaves only exact ones
    settings: dict[str, Any],
    origins: Origins,
    *,
    inputs: Mapping[str, str] | None = None,  # digests of what went in beside candidates, suites and targets
    schema: pa.Schema = SCHEMA,
) -> Written:
    store, targets = ResponseStore(study.store_dir), [study.model(target) for target in settings["targets"]]
    suites = Contamination(stems(study), near=filters.near, ngram=filters.ngram)
    lengths, asked_digest = Lengths(store, targets), hashlib.sha256()
    funnel: dict[str, Counter] = {}
    leaks = {suite: dict.fromkeys(RULES, 0) for suite in suites.sizes}

    def kept(batch: Sequence[Candidate], seen: Duplicates) -> Iterator[TrainingRow]:
        """Yield what the filters leave of `batch`, and count; only what is left counts as seen."""
        tokens = iter(lengths.longest([row for *_, row in batch if not isinstance(row, str)]))
        for kind, asked, stem, row in batch:
            counts = funnel.setdefault(kind, Counter())
            asked_digest.update(repr(asked).encode())
            counts[SEEDS] += 1
            if isinstance(row, str):
                counts[row] += 1
            elif (row := replace(row, tokens=next(tokens))).tokens > filters.packed_length:
                counts[TOO_LONG] += 1
            elif like := seen.like(mark := seen.mark(row.text)):
                counts[like] += 1
            elif hit := suites.hit(stem, row.text):
                counts[CONTAMINATED] += 1
                for suite in hit.suites:
                    leaks[suite][hit.rule] += 1
            else:
                counts[KEPT] += 1
                seen.add(mark)
                yield row

    with whole_folder(folder(study, name)) as scratch:
        shards, tokens, longest, index = {}, 0, 0, scratch / ".seen.sqlite"
        with closing(Duplicates(index, near)) as seen:
            left = (row for batch in batches for row in kept(batch, seen))
            while rows := list(islice(left, SHARD_ROWS)):
                shard = scratch / f"part-{len(shards):05d}.parquet"
                pq.write_table(pa.Table.from_pylist([vars(row) for row in rows], schema), shard, compression="zstd")
                shards[shard.name] = hashlib.sha256(shard.read_bytes()).hexdigest()
                tokens, longest = tokens + sum(row.tokens for row in rows), max(longest, *(row.tokens for row in rows))
        index.unlink()
        if not shards:
            whole = sum(funnel.values(), Counter())
            dropped = ", ".join(f"{step} {whole[step]:,}" for step in FILTERS if whole[step])
            raise ValueError(
                f"{name}: no row is left of {whole[SEEDS]:,} that {origins.author} wrote ({dropped}); nothing is "
                "written: read some of them, then change who writes, the sampling or the filters"
            )
        went_in = {f"seeds/{name}": asked_digest.hexdigest(), **(inputs or {})}
        went_in |= {f"suite/{suite}": stated for suite, stated in suites.digests.items()}
        went_in |= {f"model/{model.name}": store.fingerprint(model) for model in targets}
        funnels = {kind: {step: counts[step] for step in STEPS} for kind, counts in funnel.items()}
        counts = (funnels, tokens, longest, suites.sizes, leaks)
        made = Card(name, study.profile, origins.author, settings, *counts, went_in, shards)
        made.write(scratch, origins)
    return Written(made, folder(study, name))


def _answered(
    session: Session, teacher: ModelSpec, seeds: Iterator[Seed], sampling: Sampling, batch: int
) -> Iterator[list[Candidate]]:
    while some := list(islice(seeds, batch)):
        answers = {}
        for run in dict.fromkeys(seed.run for seed in some):
            asked = [Prompt(seed.id, seed.messages) for seed in some if seed.run == run]
            (rows,) = session.ask(teacher.name, asked, (run,), sampling)
            answers |= {row.prompt_id: row for row in rows.itertuples(index=False)}
        made = [(seed, row_of_response(seed, answers[seed.id], teacher)) for seed in some]
        yield [Candidate(seed.kind, (seed.id, seed.messages, seed.run), seed.stem, row) for seed, row in made]
