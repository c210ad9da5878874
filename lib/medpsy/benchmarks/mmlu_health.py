"""MMLU (Health): six subjects of MMLU, scored as the unweighted mean of six accuracies.

Hendrycks et al., "Measuring Massive Multitask Language Understanding". The subjects and the mean are those of the
model card; pooling the 1,089 questions does not give the published decimals. It refuses other "medical" selections
of MMLU (nine subjects, or five), whose scores are not comparable.
"""

from collections.abc import Iterable

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import DataError, Row
from medpsy.benchmarks.question import Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

SUBJECTS = {  # questions in the test split, counted
    "anatomy": 135,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_medicine": 173,
    "medical_genetics": 100,
    "professional_medicine": 272,
}
HEADER = ("question", "A", "B", "C", "D", "answer")  # the original csv files have no header row
ONE_FILE = ("all/test*", "test.*", "test-*")  # all subjects in one, told apart by the column `subject`


def load(origin: rows.Origin) -> tuple[list[Question], Notes]:
    """Return the test questions of the six subjects, in the order of `SUBJECTS`."""
    questions: list[Question] = []
    notes: Notes = {}
    for subject, found in by_subject(origin).items():
        origin.expect(found, SUBJECTS[subject], f"test rows of {subject}")
        questions += [to_question(row, subject, number) for number, row in enumerate(found, 1)]
        notes[subject] = len(found)
    return questions, notes


def by_subject(origin: rows.Origin) -> dict[str, list[Row]]:
    """Return the rows of each subject, from whichever layout is there."""
    if origin.data_dir is None:
        return {subject: rows.from_hub(origin, subject) for subject in SUBJECTS}
    if rows.has(origin.data_dir, ONE_FILE):
        return split_by_subject(rows.from_files(rows.find(origin.data_dir, ONE_FILE)))
    return {
        subject: rows.from_files(rows.find(origin.data_dir, subject_files(subject)), HEADER) for subject in SUBJECTS
    }


def subject_files(subject: str) -> tuple[str, ...]:
    """Return the names under which one subject's test split is published."""
    return (f"{subject}_test.*", f"test/{subject}_test.*", f"{subject}/test*")


def split_by_subject(found: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of the six subjects out of one file with a column `subject`."""
    groups: dict[str, list[Row]] = {subject: [] for subject in SUBJECTS}
    for row in found:
        groups.get(row.text("subject"), []).append(row)
    missing = [subject for subject, members in groups.items() if not members]
    if missing:
        raise DataError(f"{rows.sources(found)}: no rows of {', '.join(missing)}; all six subjects are needed")
    return groups


def to_question(row: Row, subject: str, number: int) -> Question:
    """Return question `number` of a subject from either form: csv (letters) or hub (`choices`, answer 0 to 3)."""
    hub_form = "choices" in row.values
    options = row.texts("choices") if hub_form else tuple(row.option(letter) for letter in "ABCD")
    if len(options) != 4:
        raise row.error("choices", "four options are expected")
    if hub_form and row.text("subject") != subject:
        raise row.error("subject", f"{subject} is expected in this file")
    gold = hub_gold(row) if hub_form else row.letter("answer", 4)
    ident = f"{subject}/{number}"
    return Question(ident, SPEC.key, subject, row.text("question"), options, gold, None, weight_group=subject)


def hub_gold(row: Row) -> int:
    """Return the index that a class label holds."""
    gold = row.integer("answer")
    if not 0 <= gold <= 3:
        raise row.error("answer", "0 to 3 is expected in a copy with the column `choices`")
    return gold


SPEC = SuiteSpec(
    key="mmlu_health",
    title="MMLU (Health)",
    hub_id="cais/mmlu",
    config=None,  # one config per subject
    split="test",
    revision="c30699e8356da336a370243923dbaf21066bb9fe",  # as inspect_evals pins it
    licence="MIT",
    published=sum(SUBJECTS.values()),
    load=load,
)
