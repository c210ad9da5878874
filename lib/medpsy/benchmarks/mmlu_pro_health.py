"""MMLU-Pro Health: the category "health" of MMLU-Pro, three to ten options each.

Wang et al., "MMLU-Pro". It refuses copies with another number of health questions (early revisions, selections).
Most rows descend from MMLU, so the suite overlaps MMLU (Health) in content.
"""

from collections import Counter

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("test*", "data/test*")
ALL_CATEGORIES = 12_032  # rows of the test split since mid-2024; earlier revisions have 12,186 or 12,187
PADDING = "N/A"  # some mirrors fill every list up to ten with it


def load(origin: rows.Origin) -> tuple[list[Question], Notes]:
    """Return the health questions of the test split."""
    found = rows.read(origin, FILES)
    if origin.data_dir is None:
        origin.expect(found, ALL_CATEGORIES, "test rows of all categories")
    health = [row for row in found if category(row) == "health"]
    origin.expect(health, SPEC.published, 'test rows with category "health"')
    questions = [to_question(row) for row in health]
    sizes = Counter(len(question.options) for question in questions)
    shown = ", ".join(f"{size}: {sizes[size]}" for size in sorted(sizes, reverse=True))
    return questions, {"other categories left out": len(found) - len(health), "questions by options": shown}


def category(row: Row) -> str:
    """Return the category, which the original writes in lower case."""
    name = row.text("category")
    if name != name.lower():
        raise row.error("category", "lower case is expected; this is not the original data set")
    return name


def to_question(row: Row) -> Question:
    """Return a question; `answer` and `answer_index` must name the same option."""
    options = without_padding(row.texts("options"))
    if not 3 <= len(options) <= len(LETTERS):
        raise row.error("options", "three to ten options are expected")
    gold = row.letter("answer", len(options))
    if row.integer("answer_index") != gold:
        raise row.error("answer_index", f"{gold} is expected, because `answer` is {LETTERS[gold]}")
    subject = row.text("src").removeprefix("ori_mmlu-")
    ident = str(row.integer("question_id"))
    return Question(ident, SPEC.key, subject, row.text("question"), options, gold, None, weight_group=SPEC.key)


def without_padding(options: tuple[str, ...]) -> tuple[str, ...]:
    """Return `options` without the fillers at the end of a list of ten; "None" and "NA" are options, not fillers."""
    if len(options) < len(LETTERS):
        return options
    while options and options[-1] == PADDING:
        options = options[:-1]
    return options


SPEC = SuiteSpec(
    key="mmlu_pro_health",
    title="MMLU-Pro Health",
    hub_id="TIGER-Lab/MMLU-Pro",
    config=None,
    split="test",
    revision="b189ec765aa7ed75c8acfea42df31fdae71f97be",  # widely pinned; 12,032 test rows
    licence="MIT",
    published=818,
    load=load,
)
