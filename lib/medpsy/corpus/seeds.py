"""Question seeds: what the teacher is asked. No seed holds an answer.

A seed of the miniature comes from a training cell: cells are drawn in an order that the study's seed shuffles, and when
all are drawn the next round asks each again, with other options or for another sample. Elsewhere seeds are the
questions of public training splits: answers, explanations and reasoning are never read. A twentieth of them is in no
corpus: held-out questions of reinforcement learning are taken from there, and AlphaMedQA is made of the same training
splits. One seed after another is made, so a corpus may have more of them than memory holds.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from medpsy import prompts, strict
from medpsy.data import rows
from medpsy.data.questions import LETTERS, Question
from medpsy.data.rows import DataError, Origin, Row
from medpsy.data.suites import MEDMCQA_OPTIONS, SUITES, Lettered, medqa_options, split_options
from medpsy.engines.base import Message
from medpsy.mini import voices
from medpsy.mini import world as worlds
from medpsy.mini.world import Case, Dialogue, cases, dialogues, draw_options
from medpsy.study import Study

T = TypeVar("T")
Given = Mapping[str, str] | None  # fields of `HubCopy`, as parameters name another copy of a set


@dataclass(frozen=True)
class Seed:
    id: str  # ``corpus/kind/...``, unique within the study
    corpus: str
    kind: str
    messages: tuple[Message, ...]  # the prompt, template-neutral
    stem: str  # what makes it this question and no other: context and stem without options, or the user's turns
    facts: tuple[str, ...] = ()  # ids of the miniature's facts that an answer rests on
    run: int = 0  # which sample of the teacher, where the same prompt is asked more than once


def user_words(messages: Sequence[Message]) -> str:
    return " ".join(turn["content"] for turn in messages if turn["role"] == "user")


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


HELD_OUT = 0.05  # ours: share of real questions that no corpus holds


def is_held_out(question: str) -> bool:
    """Return whether a real question is kept out of every corpus; the same words always are, or never."""
    same = plain(question).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(same, digest_size=16).digest()[:4], "big") / 2**32 < HELD_OUT


@dataclass(frozen=True)
class PublicSet:
    hub_id: str  # empty where the set is on no hub that we know
    revision: str | None  # None where none is known; the study must then name one
    licence: str
    read: Callable[[Row], Lettered | None] | None = None  # stem and options of a row; None of one that asks nothing
    files: tuple[str, ...] = ("train*", "data/train*", "phrases_no_exclude_train*")  # of a local folder
    data_file: str = ""  # which part of the hub copy
    write: Callable[[Path], Path] | None = None  # writes the miniature's copy to a folder


@dataclass(frozen=True)
class HubCopy:
    """Another copy of a public set than the known one; what is empty stays as it is known. Commits are the study's."""

    hub_id: str = ""
    data_file: str = ""
    data_dir: str = ""

    def origin(self, study: Study, known: PublicSet) -> Origin:
        """Return where the set is read from: the user's folder, this copy, or the known one, at the study's commit."""
        folder = study.root / Path(self.data_dir).expanduser() if self.data_dir else None
        commit = study.commit(self.hub_id) if self.hub_id else study.commit(known.hub_id, known.revision)
        return Origin(self.hub_id or known.hub_id, None, "train", commit, folder)


@dataclass(frozen=True)
class Copy:
    """The copy of a set that a recipe reads; `fiction` where the miniature writes it."""

    origin: Origin
    licence: str
    fiction: bool

    @property
    def described(self) -> str:
        """The place for a record; of a folder its name alone."""
        return "fictional medicine" if self.fiction else str(self.origin)

    @property
    def author(self) -> str:
        return "a program" if self.fiction else f"the authors of {self.described}"

    def read(self, file: str) -> list[Row]:
        """Return the rows of one file; a local folder may hold it without the hub's folders above it."""
        if self.origin.data_dir is None:
            return rows.from_hub(self.origin, None, file)
        return rows.from_files(rows.find(self.origin.data_dir, (file, Path(file).name)))


def copy(study: Study, name: str, known: PublicSet, given: Given) -> Copy:
    """Return the copy of set `name` that the study reads; the miniature is `given` none, and nobody a ``data_file``."""
    if study.source == "mini":
        if given:
            raise ValueError(f"{name}: origin {dict(given)} belongs to a real study; the miniature makes its own files")
        folder = known.write(study.outputs / "data" / name) if known.write else None
        return Copy(Origin(known.hub_id, None, "train", None, folder), "Apache-2.0", True)
    chosen = strict.build(HubCopy, dict(given or {}), strict.Place(f"origin of {name}"), data_file="")
    if not (chosen.data_dir or chosen.hub_id or known.hub_id):
        raise DataError(f"{name}: it is on no hub that we know; give data_dir, a folder with its files")
    return Copy(chosen.origin(study, known), known.licence, False)


def drawn(items: Sequence[T], count: int, seed: str) -> list[T]:
    """Return `count` of `items` in their own order, drawn by `seed`; 0 means all; more contain the fewer."""
    if not 0 <= count <= len(items):
        raise ValueError(f"{seed}: {count:,} rows are asked for, {len(items):,} are there; 0 means all")
    places = list(range(len(items)))
    random.Random(seed).shuffle(places)
    return [items[place] for place in sorted(places[: count or len(items)])]


def draw_seeds(
    study: Study, corpus: str, kinds: Mapping[str, int], origins: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Seed]:
    """Return the seeds of `corpus`, kind after kind; more of a kind contain the fewer ones. `kinds`: kind -> number of
    seeds; what cannot be meant is a ValueError before anything is read. `origins`: kind -> fields of `HubCopy`, another
    copy of its set."""
    known = MINI_KINDS[corpus] if study.source == "mini" else tuple(SOURCES)
    if not kinds:
        raise ValueError(f"{corpus}: no kind of seeds is asked for, so it would be empty; known are {', '.join(known)}")
    for kind, count in kinds.items():
        if kind not in known:
            raise ValueError(f"{corpus}: kind {kind!r} is unknown; {strict.nearest(kind, known)}")
        if type(count) is not int or count < 1:
            raise ValueError(f"{corpus}.{kind}: {count!r} seeds; give at least 1, or leave the kind out")
    copies = hub_copies(study, kinds, origins)
    if study.source == "mini":
        return (seed for kind, count in kinds.items() for seed in mini_seeds(study, corpus, kind, count))
    return (seed for kind, count in kinds.items() for seed in hub_seeds(study, corpus, kind, count, copies[kind]))


def hub_copies(
    study: Study, kinds: Iterable[str], origins: Mapping[str, Mapping[str, str]] | None
) -> dict[str, HubCopy]:
    place = strict.Place(f"params/{study.profile}/03_training_data.yaml", ("origins",))
    given = {kind: strict.build(HubCopy, dict(raw), place.at(kind)) for kind, raw in (origins or {}).items()}
    return {kind: given.get(kind, HubCopy()) for kind in kinds}


BUFFER = 10_000  # rows the shuffle draws from; ours: some tens of MB
BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}  # ending -> reader of `datasets`
# Genesis rows are one text with bold headings; what follows the options proposes and explains an answer.
HEADED = re.compile(
    r"\*\*Question:?\*\*:?\s*(?P<stem>.+?)\s*\*\*Options:?\*\*:?\s*(?P<options>.+?)\s*(?:\*\*|\Z)", re.DOTALL
)


def read_genesis(row: Row) -> Lettered | None:
    match = HEADED.search(row.text("text"))
    return split_options(f"{match['stem']}\n{match['options']}") if match else None


def read_patient(row: Row) -> Lettered | None:
    """Return what a patient wrote to a doctor; an instruction to the model and the doctor's reply are not read."""
    return Lettered(asked, ()) if (asked := row.option("input")) else None


def read_question(row: Row, options: tuple[str, ...] = ()) -> Lettered:
    return Lettered(row.text("question"), options)


def of_suite(key: str, options: Callable[[Row], tuple[str, ...]]) -> PublicSet:
    spec = SUITES[key]
    return PublicSet(spec.hub_id, spec.revision, spec.licence, lambda row: read_question(row, options(row)))


LISTED = strict.read(Path(__file__).with_name("seeds.yaml"))
MINI_KINDS, FACT_FORMS, QUESTION_FORMS = (LISTED.pop(name) for name in ("mini_kinds", "fact_forms", "question_forms"))
READ = {each.__name__: each for each in (read_genesis, read_patient, read_question)}
SOURCES = {kind: PublicSet(**{**about, "read": READ[about["read"]]}) for kind, about in LISTED.items()}
SOURCES["medmcqa"] = of_suite("medmcqa", lambda row: tuple(map(row.option, MEDMCQA_OPTIONS)))
SOURCES["medqa"] = of_suite("medqa", medqa_options)


def sources(study: Study, kinds: Iterable[str], origins: Mapping[str, Mapping[str, str]] | None) -> dict[str, str]:
    """Return where `kinds` of seeds come from, and each one's licence; a local folder by its name alone."""
    if study.source == "mini":
        return dict(MINI_LICENCES)
    places = {kind: copy.origin(study, SOURCES[kind]) for kind, copy in hub_copies(study, kinds, origins).items()}
    return {f"{kind} (questions of {place})": SOURCES[kind].licence for kind, place in places.items()}


def hub_seeds(study: Study, corpus: str, kind: str, count: int, copy: HubCopy) -> Iterator[Seed]:
    """Yield `count` seeds of `kind`, none of them held out. Fewer questions are a DataError."""
    made, apart = 0, 0
    for row in _hub_rows(study, kind, SOURCES[kind], copy):
        asked = SOURCES[kind].read(row)
        if asked and is_held_out(asked.stem):
            apart += 1
        elif asked:
            made += 1
            ident, messages = f"{corpus}/{kind}/{made}", ({"role": "user", "content": asked.stem},)
            if 2 <= len(asked.options) <= len(LETTERS):
                question = Question(ident, kind, "", asked.stem, asked.options, None, None, kind)
                messages = prompts.closed_ended(question)
            yield Seed(ident, corpus, kind, messages, asked.stem)
        if made == count:
            return
    there = f"{made:,} questions are there besides {apart:,} held-out ones"
    raise DataError(f"{kind}: {there}, {count:,} are asked for; lower {corpus}.{kind}")


def _hub_rows(study: Study, kind: str, known: PublicSet, copy: HubCopy) -> Iterator[Row]:
    """Yield the rows of a set in random order; their numbers count in that order."""
    import datasets
    from datasets.exceptions import DatasetsError

    place = copy.origin(study, known)
    if place.data_dir:
        name, paths = place.data_dir.name, rows.find(place.data_dir, known.files)
        builder = BUILDERS[rows.kind(paths[0]).removesuffix(".gz")]
        choice = {"path": builder, "data_files": [str(path) for path in paths]}
    else:
        name, files = place.hub_id, copy.data_file or known.data_file or None
        rows.require_commit(name, place.revision)
        choice = {"path": name, "revision": place.revision, "data_files": files}
    try:
        shuffled = datasets.load_dataset(**choice, split="train", streaming=True)
        for number, values in enumerate(shuffled.shuffle(seed=study.seed, buffer_size=BUFFER), 1):
            yield Row(values, f"{kind} of {Path(name).name}, shuffled", number)
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:  # no network, gated, no such file
        raise DataError(rows.hub_message(name, error)) from error


MINI_LICENCES = {"the miniature's training cells (fictional medicine)": "Apache-2.0"}  # ours


@lru_cache(maxsize=1)
def pools() -> dict[str, dict[str, Case | Dialogue]]:
    """Return kind -> cell -> what is asked there, training cells only."""
    world = worlds.build()
    asked, talks = cases(world, held_out=False), [talk for talk in dialogues(world) if not talk.held_out]
    kinds = {
        "facts": [talk for talk in talks if talk.form in FACT_FORMS],
        "explanations": [talk for talk in talks if talk.form not in FACT_FORMS],
        "questions": [case for form in QUESTION_FORMS for case in asked[form]],
    }
    kinds |= {form: asked[form] for form in MINI_KINDS["corpus2"]}
    return {kind: {item.cell: item for item in items} for kind, items in kinds.items()}


def mini_seeds(study: Study, corpus: str, kind: str, count: int) -> Iterator[Seed]:
    cells = list(pools()[kind])
    random.Random(f"seeds/{study.seed}/{kind}").shuffle(cells)
    for number in range(count):
        draw, place = divmod(number, len(cells))
        cell = cells[place]
        item, ident = pools()[kind][cell], f"{corpus}/{kind}/{cell}#{draw}"
        if isinstance(item, Dialogue):
            yield Seed(ident, corpus, kind, item.messages, user_words(item.messages), dialogue_facts(item), draw)
            continue
        messages = prompts.closed_ended(voices.as_question(item, mini_options(item, draw)))
        stem = f"{item.context} {item.stem}" if item.context else item.stem
        run = draw if item.form == "trial" else 0  # whose options never change; of the others another draw is another
        yield Seed(ident, corpus, kind, messages, stem, tuple(fact.id for fact in item.facts), run)


def mini_options(case: Case, draw: int) -> tuple[str, ...]:
    """Return the options of the `draw`-th seed of `case`; they depend on its cell and the draw alone."""
    rng = random.Random(f"seed/{case.cell}/{draw}")
    return draw_options(case, rng.choice(voices.OPTION_COUNTS), rng)


def behind(seed: str) -> tuple[Case, tuple[str, ...]] | Dialogue:
    """Return the case of the miniature's seed with the id `seed`, and its options, or its dialogue: what an answer can
    be checked against."""
    _, kind, place = seed.split("/", 2)
    cell, _, draw = place.rpartition("#")
    item = pools()[kind][cell]
    return item if isinstance(item, Dialogue) else (item, mini_options(item, int(draw)))


def dialogue_facts(talk: Dialogue) -> tuple[str, ...]:
    """Return the ids of the facts that a good response to `talk` rests on."""
    world = worlds.build()
    facts = [item.fact for item, points, _ in talk.items if item.fact and points > 0]
    if talk.unnamed:
        facts.append(world.get("signs", talk.about))
    if any(item.safe_drug for item, _, _ in talk.items):
        first = world.get("first_drug", talk.about)
        harms = world.get("harms", first.objects[0])
        facts += [first, harms]
        facts += [world.get("second_drug", talk.about)] if harms.objects[0] == talk.organ else []
    return tuple(dict.fromkeys(fact.id for fact in facts))
