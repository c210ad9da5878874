"""PubMedQA: yes, no or maybe over an abstract without its conclusion; the 500 official test questions.

Jin et al., "PubMedQA". The test set is a list of PMIDs that only the authors' repository carries; evaluating on all
1,000 labelled rows mixes in the training half, so it refuses to run without that list. The conclusion
(`long_answer`) and the annotators' votes (`reasoning_*_pred`) give the answer away and are never read.
"""

from collections import Counter
from collections.abc import Iterable

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import DataError, Row
from medpsy.benchmarks.question import Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("ori_pqal*", "pqa_labeled/train*", "train*")
TEST_LIST = "test_ground_truth*"
LIST_HELP = (
    "the 500 official test PMIDs are not in the hub copy: put test_ground_truth.json (folder data of the repository "
    "pubmedqa/pubmedqa, commit 1cbae8e) into a folder and give it as data_dir; with ori_pqal.json beside it nothing "
    "is fetched, otherwise the rows come from the hub"
)
LABELLED = 1_000
CHOICES = ("yes", "no", "maybe")  # lettered A, B, C in this order
BALANCE = {"yes": 276, "no": 169, "maybe": 55}  # of the 500, counted
NO_HEADING = "UNLABELLED"  # how MEDLINE marks a passage without a heading


def load(origin: rows.Origin) -> tuple[list[Question], Notes]:
    """Return the official test questions, in the order of the rows."""
    keys = test_keys(origin)
    found = labelled_rows(origin)
    origin.expect(found, LABELLED, "labelled rows")
    chosen = [row for row in found if pmid(row) in keys]
    origin.expect(chosen, SPEC.published, "rows of the official test list")
    questions = [to_question(row, keys) for row in chosen]
    notes: Notes = {"rows from": rows.sources(found), "labelled rows": len(found)}
    left = {"not in the test list": len(found) - len(chosen), "listed without a row": len(keys) - len(chosen)}
    return questions, {**notes, **left, **balance(questions)}


def test_keys(origin: rows.Origin) -> dict[str, str]:
    """Return PMID to answer for the official test set."""
    if origin.data_dir is None or not rows.has(origin.data_dir, [TEST_LIST]):
        raise DataError(f"pubmedqa: {LIST_HELP}")
    path, *others = rows.find(origin.data_dir, [TEST_LIST])
    if others:
        raise DataError(f"{origin.data_dir}: {path.name} and {others[0].name} are both test lists; keep one")
    keys = rows.read_json(rows.read_text(path), path)
    if not isinstance(keys, dict) or not all(answer in CHOICES for answer in keys.values()):
        raise DataError(f"{path.name}: an object of PMIDs with yes, no or maybe is expected; fetch the file again")
    if not origin.partial and Counter(keys.values()) != BALANCE:
        counts = dict(Counter(keys.values()))
        raise DataError(f"{path.name}: {counts} found, {BALANCE} expected; fetch the file again (partial=True: a part)")
    return keys


def labelled_rows(origin: rows.Origin) -> list[Row]:
    """Return the labelled rows of the folder, or of the hub where the folder holds the list alone."""
    if rows.has(origin.data_dir, FILES):
        return rows.read(origin, FILES)
    return rows.from_hub(origin, origin.config)


def pmid(row: Row) -> str:
    """Return the PMID: the key of a row in the original, `pubid` in the hub copy."""
    return row.key or str(row.integer("pubid"))


def to_question(row: Row, keys: dict[str, str]) -> Question:
    """Return a question; the row's own answer must equal the one in the official list."""
    ident, answer = pmid(row), row.text("final_decision")
    if answer not in CHOICES:
        raise row.error("final_decision", "yes, no or maybe is expected")
    if answer != keys[ident]:
        raise row.error("final_decision", f"the official list says {keys[ident]} for PMID {ident}; fetch both again")
    stem = row.text("QUESTION" if "QUESTION" in row.values else "question")
    return Question(ident, SPEC.key, "", stem, CHOICES, CHOICES.index(answer), context(row), weight_group=SPEC.key)


def context(row: Row) -> str:
    """Return the abstract without its conclusion: one line per passage, its section named."""
    if "QUESTION" in row.values:
        passages, labels, field = row.texts("CONTEXTS"), row.texts("LABELS"), "LABELS"
    else:
        inner = Row(struct(row), row.source, row.number)
        passages, labels, field = inner.texts("contexts"), inner.texts("labels"), "context"
    if not passages or len(passages) != len(labels):
        raise row.error(field, f"one label per passage is expected; {len(labels)} for {len(passages)}")
    return "\n".join(line(label, passage) for label, passage in zip(labels, passages, strict=True))


def struct(row: Row) -> dict:
    """Return the object that holds passages and labels in the hub copy."""
    value = row.structure("context")
    if not isinstance(value, dict):
        raise row.error("context", "an object with `contexts` and `labels` is expected")
    return value


def line(label: str, passage: str) -> str:
    """Return a passage with its section's name before it, where it has one."""
    return passage if label in ("", NO_HEADING) else f"{label}: {passage}"


def balance(questions: Iterable[Question]) -> Notes:
    """Return how many questions have each answer."""
    golds = Counter(question.gold for question in questions)
    return {f"gold {choice}": golds[index] for index, choice in enumerate(CHOICES)}


SPEC = SuiteSpec(
    key="pubmedqa",
    title="PubMedQA",
    hub_id="qiaojin/PubMedQA",
    config="pqa_labeled",
    split="train",  # the only split of every config
    revision="9001f2853fb87cab8d220904e0de81ac6973b318",
    licence="MIT",
    published=500,
    load=load,
)
