"""MedXpertQA (Text): expert-level questions with ten options.

Zuo et al., "MedXpertQA". Rows about images (`MM-...`) are recognised, left out and counted. The original stem ends
with all its options; that list is cut, so that no prompt shows them twice.
"""

import re

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("Text/test*", "medxpertqa_text*", "*text*", "test*", "data/test*")
OPTION_LIST = re.compile(r"\s*Answer Choices:\s*\(A\)")


def load(origin: rows.Origin) -> tuple[list[Question], Notes]:
    """Return all questions without images."""
    found = rows.read(origin, FILES)
    text_only = [row for row in found if not about_images(row)]
    origin.expect(text_only, SPEC.published, "test rows without images")
    cut = sum(bool(OPTION_LIST.search(row.text("question"))) for row in text_only)
    notes: Notes = {"rows with images left out": len(found) - len(text_only), "option lists cut from stems": cut}
    return [to_question(row) for row in text_only], notes


def about_images(row: Row) -> bool:
    """Return whether a row belongs to the multimodal part."""
    return row.text("id").startswith("MM-") or bool(row.values.get("images"))


def to_question(row: Row) -> Question:
    """Return a question from either form: hub (object, letter) or original (list, list with a letter)."""
    options = ten_options(row)
    stem = OPTION_LIST.split(row.text("question"))[0].strip()
    if not stem:
        raise row.error("question", "a question is expected before its list of options")
    gold = gold_index(row)
    subject = row.optional("body_system")
    return Question(row.text("id"), SPEC.key, subject, stem, options, gold, None, weight_group=SPEC.key)


def ten_options(row: Row) -> tuple[str, ...]:
    """Return the texts of options A to J."""
    given = row.structure("options")
    if isinstance(given, list):
        if not all(isinstance(item, dict) and {"letter", "content"} <= item.keys() for item in given):
            raise row.error("options", "objects with `letter` and `content` are expected")
        given = {item["letter"]: item["content"] for item in given}
    if set(given) != set(LETTERS) or not all(isinstance(text, str) for text in given.values()):
        raise row.error("options", "ten texts, A to J, are expected")
    return tuple(given[letter].strip() for letter in LETTERS)


def gold_index(row: Row) -> int:
    """Return the index named by `label`: a letter, or a list with one letter."""
    label = row.values.get("label")
    if isinstance(label, list) and len(label) != 1:
        raise row.error("label", "exactly one letter is expected")
    label = label[0] if isinstance(label, list) else label
    if not isinstance(label, str) or label.strip() not in tuple(LETTERS):
        raise row.error("label", "a letter from A to J is expected, alone or in a list")
    return LETTERS.index(label.strip())


SPEC = SuiteSpec(
    key="medxpertqa",
    title="MedXpertQA",
    hub_id="TsinghuaC3I/MedXpertQA",
    config="Text",
    split="test",
    revision="7e7c465a68eb2b866926bfa59c8c9d17a8daba65",
    licence="MIT",
    published=2_450,
    load=load,
)
