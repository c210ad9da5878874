"""The corpora as a reader sees them: counts, what was dropped, coverage, the teacher's errors, and the verdicts."""

from collections.abc import Sequence
from math import hypot

import pyarrow.dataset as ds

from medpsy.benchmarks import OPEN_SUITES, SUITES
from medpsy.corpus import Built
from medpsy.corpus.card import KEPT, SEEDS, Card
from medpsy.corpus.contamination import NGRAM, RULES
from medpsy.corpus.rows import FILTERS
from medpsy.corpus.truth import RIGHT, UNTOLD, WRONG
from medpsy.report import compare
from medpsy.report.display import Table
from medpsy.report.result import read_result
from medpsy.statistics import proportion_margin
from medpsy.study import Study

SHOWN = 400  # characters of a text in the table of examples
CHOICES = {"corpus1": ("questions",), "corpus2": ("vignette", "contraindication", "trial")}  # kinds with options


def teacher(study: Study, name: str = "") -> str:
    """Return `name`, or the teacher that 02_teacher_selection chose where it is empty.

    Raises:
        medpsy.report.ResultError: the section has not run.
        ValueError: the study has no such model.
    """
    chosen = name or read_result(study.section_dir("02_teacher_selection")).chosen["teacher"]
    return study.model(chosen).name


def corpora_table(built: Sequence[Built]) -> Table:
    """Return rows and tokens of each corpus by kind of seed."""
    rows = []
    for card in (one.card for one in built):
        for kind, counts in card.funnel.items():
            tokens, kept = card.kind_tokens[kind], counts[KEPT]
            rows.append([label(card), kind, counts[SEEDS], kept, tokens, tokens / kept if kept else None])
    columns = ["Corpus", "Kind", "Seeds", "Rows", "Tokens", "Tokens per row"]
    note = "Tokens of the whole row, prompt included, in the chat template of the target that needs most."
    return Table(columns, rows, "What the corpora hold", note, decimals=1)


def funnel_table(built: Sequence[Built]) -> Table:
    """Return what each filter dropped, in their order."""
    steps = (SEEDS, *FILTERS, KEPT)
    rows = [
        [label(one.card), kind, *(counts[step] for step in steps)]
        for one in built
        for kind, counts in one.card.funnel.items()
    ]
    limits = built[0].card.settings["filters"]
    note = (
        f"Too long: over {limits['packed_length']:,} tokens. Near duplicate: {limits['near']:g} of the runs of five "
        "words are shared. Nothing is cut to fit, and no row is dropped for being wrong."
    )
    return Table(["Corpus", "Kind", *(step.capitalize() for step in steps)], rows, "Filters", note)


def contamination_table(built: Sequence[Built]) -> Table:
    """Return the rows dropped because they repeat a question of a suite, by suite and rule."""
    titles = {key: spec.title for key, spec in {**SUITES, **OPEN_SUITES}.items()}
    ngram = built[0].card.settings["filters"]["ngram"]
    rules = [rule for rule in RULES if ngram or rule != NGRAM]
    rows = []
    for suite, size in built[0].card.checked.items():
        hits = [one.card.leaks[suite][rule] for one in built for rule in rules]
        rows.append([titles[suite], size, *hits])
    names = [f"{label(one.card)}: {rule}" for one in built for rule in rules]
    compared = f"runs of {ngram} words and stems" if ngram else "whole stems"
    note = (
        f"Every question of a suite counts, asked or not; {compared} are compared. One row may repeat several suites."
    )
    return Table(["Suite", "Questions", *names], rows, "Rows that repeat a suite (dropped)", note)


def coverage_table(built: Sequence[Built]) -> Table:
    """Return how many of the world's facts the rows rest on; without rows outside the miniature."""
    rows = [
        [relation, counts["facts"], *(one.card.coverage[relation]["covered"] for one in built)]
        for relation, counts in built[0].card.coverage.items()
    ]
    names = [f"{label(one.card)}: covered" for one in built]
    note = "A fact is covered by a row whose question needs it. Real corpora have no list of facts to compare with."
    return Table(["Relation", "Facts of the world", *names], rows, "Topic coverage", note)


def teacher_error_table(built: Sequence[Built]) -> Table:
    """Return how often the rows that are kept are wrong by the world's truth; without rows outside the miniature."""
    rows = []
    for one in built:
        for kind, counts in one.card.errors.items():
            share, margin = _error(one.card, (kind,))
            rows.append([label(one.card), kind, counts[RIGHT], counts[WRONG], counts[UNTOLD], share, margin])
    columns = ["Corpus", "Kind", "Right", "Wrong", "Not told", "Error (%)", "Error (%) ±"]
    note = (
        "Options chosen, and facts stated in dialogues, of the rows that are kept; 95 % margins as of independent "
        "statements. Wrong rows stay: the report has no such filter, and could not have one."
    )
    return Table(columns, rows, "The teacher's errors, by the world", note, decimals=1)


def corpus_effort_table(built: Sequence[Built]) -> Table:
    """Return time, throughput and peak memory of making each corpus."""
    rows = []
    for one in built:
        seeds = sum(counts[SEEDS] for counts in one.card.funnel.values())
        rows.append([label(one.card), seeds, one.generated, one.seconds, seeds / one.seconds, one.peak_mib])
    columns = ["Corpus", "Seeds", "Generated now", "Seconds", "Seeds per second", "Peak memory (MiB)"]
    note = (
        "Responses that were stored are not generated again. Memory is the most that this process has held so far; an "
        "engine in a process of its own is not in it."
    )
    return Table(columns, rows, "Effort", note, decimals=1)


def example_table(built: Sequence[Built]) -> Table:
    """Return the first row of each kind, long texts cut for display."""
    rows = []
    for one in built:
        data = ds.dataset([str(one.folder / name) for name in one.card.shards])
        for kind in one.card.funnel:
            some = data.head(1, filter=ds.field("kind") == kind).to_pylist()
            rows += [[label(one.card), kind, *map(_cut, _texts(row))] for row in some]
    return Table(
        ["Corpus", "Kind", "Prompt", "Reasoning", "Answer"], rows, "One row of each kind, as the teacher wrote it"
    )


def corpus_inputs(built: Sequence[Built]) -> dict[str, str]:
    """Return the digests of what went in (seeds, suites, prompt, models) and of every shard."""
    found = {name: value for one in built for name, value in one.card.inputs.items()}
    shards = {f"{one.card.corpus}/{name}": value for one in built for name, value in one.card.shards.items()}
    return found | shards


def corpus_verdicts(broad: Built, hard: Built) -> list[dict]:
    """Return what can be said of the two corpora: the second smaller, narrower, and harder for the teacher."""
    first, second = broad.card, hard.card
    size = f"{label(second)} is smaller than {label(first)}: {second.rows:,} rows against {first.rows:,}"
    smaller = {"text": size, "verdict": _holds(second.rows < first.rows), "note": "follows from the seeds asked for"}
    return [smaller, _broader(first, second), _harder(first, second)]


def _broader(first: Card, second: Card) -> dict:
    if not first.coverage:
        return {"text": f"{label(first)} is the broader one", "verdict": "not testable", "note": "no list of facts"}
    reach = [sum(counts["covered"] for counts in card.coverage.values()) for card in (first, second)]
    facts = sum(counts["facts"] for counts in first.coverage.values())
    text = f"{label(first)} is the broader one: it rests on {reach[0]} of {facts} facts, {label(second)} on {reach[1]}"
    return {"text": text, "verdict": _holds(reach[0] > reach[1]), "note": "facts that questions need"}


def _harder(first: Card, second: Card) -> dict:
    text = f"{label(second)} is the harder one: on questions with options the teacher errs more often in it"
    (easy, easy_margin), (hard, hard_margin) = (_error(card, CHOICES[card.corpus]) for card in (first, second))
    if easy is None or hard is None:
        return {"text": text, "verdict": "not testable", "note": "no question whose answer is known"}
    margin = hypot(easy_margin, hard_margin)
    shown = f"{text}, by {hard - easy:.1f} ± {margin:.1f} points ({hard:.1f} % against {easy:.1f} %)"
    return {"text": shown, "verdict": compare.pattern_verdict(hard - easy, margin), "note": "independent questions"}


def _error(card: Card, kinds: Sequence[str]) -> tuple[float | None, float | None]:
    """Return the share of wrong statements among those that can be told, in percent, and its margin."""
    counted = [card.errors[kind] for kind in kinds if kind in card.errors]
    right, wrong = (sum(counts[name] for counts in counted) for name in (RIGHT, WRONG))
    total = right + wrong
    return (100 * wrong / total, proportion_margin(wrong, total)) if total else (None, None)


def label(card: Card) -> str:
    """Return the report's name of a corpus: ``Corpus 1``."""
    return card.corpus.replace("corpus", "Corpus ")


def _holds(it_does: bool) -> str:
    return "pattern holds" if it_does else "pattern fails"


def _texts(row: dict) -> tuple[str, str, str]:
    return " / ".join(turn["content"] for turn in row["messages"]), row["reasoning"], row["answer"]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
