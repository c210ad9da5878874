"""HealthBench's meta-evaluation: what physicians said about criteria of responses, to measure judges against.

Arora et al., "HealthBench": 60,896 labels of 29,511 (response, consensus criterion) pairs. The rows have no points, so
nothing here can be scored; they only tell how often a judge agrees with physicians.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medpsy.benchmarks.conversation import Conversation, Criterion
from medpsy.benchmarks.fields import DataError, Row
from medpsy.benchmarks.healthbench import HUB_ID, REVISION, message, objects, read_rows
from medpsy.benchmarks.rows import Origin

KEY = "healthbench_meta"
FILE = "2025-05-07-06-14-12_oss_meta_eval.jsonl"
NAMES = ("*meta_eval*", "meta.*")
ROWS, LABELS = 29_511, 60_896
POINTS = 5.0  # ours: the rows state none; the published consensus criteria have 5


@dataclass(frozen=True)
class Labelled:
    """One criterion of one response, and what physicians said about it.

    Args:
        conversation: with this criterion alone as its rubric, so that a judge can be asked (`medpsy.judging.judged`).
        answer: the response.
        category: the consensus criterion's kind, as the file names it.
        labels: whether it is met, by each physician.
        completion_id: names the response; may be empty.
    """

    conversation: Conversation
    answer: str
    category: str
    labels: tuple[bool, ...]
    completion_id: str = ""


def load_labelled(data_dir: Path | None = None, *, partial: bool = False) -> tuple[Labelled, ...]:
    """Return the rows of the meta-evaluation, from the hub or from a folder.

    Raises:
        DataError: naming file, row and field, or the number of rows or labels expected.
    """
    origin = Origin(HUB_ID, None, "train", REVISION, data_dir, partial)
    found = read_rows(origin, FILE, NAMES)
    origin.expect(found, ROWS, "rows")
    labelled = tuple(to_labelled(row) for row in found)
    total = sum(len(one.labels) for one in labelled)
    if not partial and total != LABELS:
        raise DataError(f"{FILE}: {total:,} physicians' labels, {LABELS:,} expected; fetch the file again")
    return labelled


def to_labelled(row: Row) -> Labelled:
    """Return one row."""
    turns = tuple(message(turn, at) for at, turn in enumerate(objects(row, "prompt")))
    labels = row.structure("binary_labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, bool) for label in labels):
        raise row.error("binary_labels", "a list of true or false that is not empty is expected")
    criterion = Criterion(row.text("rubric"), POINTS, "", ())
    try:
        conversation = Conversation(row.text("prompt_id"), KEY, turns, (criterion,), "")
    except ValueError as error:
        raise row.error("prompt", str(error)) from None
    answer, category = row.option("completion"), row.text("category")
    return Labelled(conversation, answer, category, tuple(labels), row.optional("completion_id"))


def physician_pairs(labelled: Iterable[Labelled], met: Iterable[bool | None]) -> tuple[list[bool], list[bool | None]]:
    """Return physicians' labels and the judge's, one item per physician's label, for `medpsy.statistics.macro_f1`.

    Args:
        met: what the judge said about each element of `labelled`; None where it is unjudged.
    """
    pairs = [(label, said) for one, said in zip(labelled, met, strict=True) for label in one.labels]
    return [label for label, _ in pairs], [said for _, said in pairs]
