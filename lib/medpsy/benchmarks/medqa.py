"""MedQA (USMLE): English vignettes of the US licensing exams, the edition with four options.

Jin et al., "What Disease does this Patient Have?". Which edition the report used is not stated; four options is the
commoner practice. It refuses the edition with five: the same question has another letter there.
"""

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("phrases_no_exclude_test*", "test*", "data/test*")


def load(origin: rows.Origin) -> tuple[list[Question], Notes]:
    """Return all test questions."""
    found = rows.read(origin, FILES)
    origin.expect(found, SPEC.published, "test rows")
    return [to_question(row, number) for number, row in enumerate(found, 1)], {}


def to_question(row: Row, number: int) -> Question:
    """Return question `number` (there are no ids); `answer_idx` and `answer` must name the same option."""
    given = row.structure("options")
    if isinstance(given, dict) and given.get("E") is not None:
        raise row.error("options", f"four are expected; letters differ in the five-option edition, use {SPEC.hub_id}")
    if not isinstance(given, dict) or not all(isinstance(given.get(letter), str) for letter in "ABCD"):
        raise row.error("options", "an object with the texts of A, B, C and D is expected")
    options = tuple(given[letter].strip() for letter in "ABCD")
    gold = row.letter("answer_idx", 4)
    if row.text("answer") != options[gold]:
        raise row.error("answer", f"the text of option {LETTERS[gold]} is expected, because that is `answer_idx`")
    subject = row.optional("meta_info")
    return Question(str(number), SPEC.key, subject, row.text("question"), options, gold, None, SPEC.key)


SPEC = SuiteSpec(
    key="medqa",
    title="MedQA (USMLE)",
    hub_id="GBaker/MedQA-USMLE-4-options",
    config=None,
    split="test",
    revision="0fb93dd23a7339b6dcd27e241cb9b5eca62d4d18",
    licence="CC-BY-4.0",  # of this copy; the authors' repository is MIT
    published=1_273,
    load=load,
)
