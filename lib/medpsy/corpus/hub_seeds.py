"""Seeds from public sets: the questions of training splits, and nothing else of a row.

Answers, explanations and reasoning are never read. Rows are streamed and drawn by a seeded shuffle, so a set of any
size takes the memory of the shuffle's buffer. Refuses a hub copy without a commit.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medpsy import prompts
from medpsy import study as studies
from medpsy.benchmarks import alphamed, medmcqa, medqa, rows
from medpsy.benchmarks.fields import DataError, Row
from medpsy.benchmarks.lettered import Lettered, split_options
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.corpus.recipe import HubCopy, Recipe
from medpsy.corpus.seeds import Seed
from medpsy.study import COMMIT, Study

BUFFER = 10_000  # rows the shuffle draws from; ours: some tens of MB
BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}  # ending -> reader of `datasets`
# Genesis rows are one text with bold headings; what follows the options proposes and explains an answer.
HEADED = re.compile(
    r"\*\*Question:?\*\*:?\s*(?P<stem>.+?)\s*\*\*Options:?\*\*:?\s*(?P<options>.+?)\s*(?:\*\*|\Z)", re.DOTALL
)


@dataclass(frozen=True)
class Source:
    """One public set.

    Args:
        revision: empty where none is known; the notebook's `origins` must then name one.
        config, data_file: which part of the hub copy.
        files: patterns by which a local folder holds it.
        read: returns stem and options of a row, or None for a row that asks nothing.
    """

    hub_id: str
    revision: str
    licence: str
    files: tuple[str, ...]
    read: Callable[[Row], Lettered | None]
    config: str | None = None
    data_file: str = ""


def read_medmcqa(row: Row) -> Lettered:
    return Lettered(row.text("question"), tuple(row.option(field) for field in medmcqa.OPTIONS))


def read_medqa(row: Row) -> Lettered:
    given = row.structure("options")
    if not isinstance(given, dict) or not all(isinstance(given.get(letter), str) for letter in "ABCD"):
        raise row.error("options", "an object with the texts of A, B, C and D is expected")
    return Lettered(row.text("question"), tuple(given[letter].strip() for letter in "ABCD"))


def read_alphamed(row: Row) -> Lettered:
    """Return stem and options, or the question alone where it offers none."""
    return alphamed.lettered(row) or Lettered(row.text("question"), ())


def read_genesis(row: Row) -> Lettered | None:
    match = HEADED.search(row.text("text"))
    return split_options(f"{match['stem']}\n{match['options']}") if match else None


TRAIN = ("train*", "data/train*", "phrases_no_exclude_train*")
GENESIS = Source("qvac/GenesisI", "", "CC BY-NC 4.0", ("*",), read_genesis)
SOURCES: dict[str, Source] = {
    "genesis_medicine": replace(GENESIS, data_file="college_medicine/*.jsonl", files=("college_medicine*",)),
    "genesis_biology": replace(GENESIS, data_file="college_biology/*.jsonl", files=("college_biology*",)),
    "medmcqa": Source(medmcqa.SPEC.hub_id, medmcqa.SPEC.revision, medmcqa.SPEC.licence, TRAIN, read_medmcqa),
    "medqa": Source(medqa.SPEC.hub_id, medqa.SPEC.revision, medqa.SPEC.licence, TRAIN, read_medqa),
    "alphamed": Source(alphamed.SPEC.hub_id, "", alphamed.SPEC.licence, TRAIN, read_alphamed),
}


def kinds(corpus: str) -> tuple[str, ...]:
    """Return the kinds of seeds that `corpus` may hold: any public set."""
    return tuple(SOURCES)


def described(kinds: Sequence[str], recipe: Recipe) -> dict[str, str]:
    """Return where `kinds` of seeds come from, each with its licence; a local folder by its name alone."""
    found = {}
    for kind in kinds:
        source, copy = SOURCES[kind], recipe.origins.get(kind, HubCopy())
        hub = f"{copy.hub_id or source.hub_id}@{copy.revision or source.revision}"
        place = f"folder {Path(copy.data_dir).name}" if copy.data_dir else hub
        found[f"{kind} (questions of {place})"] = f"{kind}: {source.licence}"
    return found


def seeds(study: Study, corpus: str, kind: str, count: int, recipe: Recipe) -> Iterator[Seed]:
    """Yield `count` seeds of `kind`, drawn by the study's seed.

    Raises:
        DataError: the set is not to be had, a row is not as expected, or there are fewer questions than asked for.
    """
    copy, made = recipe.origins.get(kind, HubCopy()), 0
    for row in _rows(kind, SOURCES[kind], copy, study.seed):
        if found := SOURCES[kind].read(row):
            made += 1
            yield _seed(corpus, kind, made, found)
        if made == count:
            return
    raise DataError(f"{kind}: {made:,} questions are there, {count:,} are asked for; lower {corpus}.{kind}")


def _seed(corpus: str, kind: str, number: int, found: Lettered) -> Seed:
    ident = f"{corpus}/{kind}/{number}"
    if not 2 <= len(found.options) <= len(LETTERS):
        return Seed(ident, corpus, kind, ({"role": "user", "content": found.stem},), found.stem)
    question = Question(ident, kind, "", found.stem, found.options, None, None, kind)
    return Seed(ident, corpus, kind, prompts.closed_ended(question), found.stem)


def _rows(kind: str, source: Source, copy: HubCopy, seed: int) -> Iterator[Row]:
    """Yield the rows of a set in random order; their numbers count in that order."""
    import datasets
    from datasets.exceptions import DatasetsError

    name = copy.data_dir or copy.hub_id or source.hub_id
    try:
        shuffled = datasets.load_dataset(**_choice(kind, source, copy), streaming=True)
        for number, values in enumerate(shuffled.shuffle(seed=seed, buffer_size=BUFFER), 1):
            yield Row(values, f"{kind} of {Path(name).name}, shuffled", number)
    except DataError:
        raise
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:  # no network, gated, no such file
        raise DataError(rows.hub_message(name, error)) from error


def _choice(kind: str, source: Source, copy: HubCopy) -> dict[str, object]:
    """Return what `datasets.load_dataset` is to read: local files, or a hub copy at its commit."""
    if copy.data_dir:
        paths = rows.find(studies.ROOT / Path(copy.data_dir).expanduser(), source.files)
        builder = BUILDERS[rows.kind(paths[0]).removesuffix(".gz")]
        return {"path": builder, "data_files": [str(path) for path in paths], "split": "train"}
    hub_id = copy.hub_id or source.hub_id
    revision = copy.revision or (source.revision if hub_id == source.hub_id else "")
    if not COMMIT.fullmatch(revision or ""):
        raise DataError(
            f"origins.{kind}: revision {revision!r} of {hub_id} is not a commit; "
            "give 40 hexadecimal digits from the history of its page, or a data_dir"
        )
    part = copy.data_file or source.data_file
    choice = {"data_files": part} if part else {"name": source.config}
    return {"path": hub_id, "revision": revision, "split": "train", **choice}
