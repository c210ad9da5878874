"""MedMCQA: Indian medical entrance exams, four options; the validation split, since the test key is withheld.

Pal et al., "MedMCQA". The explanation (`exp`) often states the answer and is never read. It refuses the test split
and a copy whose numbering of answers it cannot tell.
"""

from collections import Counter
from collections.abc import Sequence

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import DataError, Row
from medpsy.benchmarks.question import Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("validation*", "data/validation*", "dev*", "data/dev*")
OPTIONS = ("opa", "opb", "opc", "opd")


def load(origin: rows.Origin, *, cop_base: int | None = None) -> tuple[list[Question], Notes]:
    """Return all validation questions, `single` and `multi` alike: both have exactly one right option.

    Args:
        cop_base: number of the first option in `cop`: 0 (hub copy) or 1 (original json). Needed only where the
            rows do not show it.
    """
    found = rows.read(origin, FILES)
    refuse_withheld(found)
    origin.expect(found, SPEC.published, "validation rows")
    if origin.data_dir is None and origin.hub_id == SPEC.hub_id:
        cop_base = 0  # the pinned copy counts from 0; anything else in it is an error
    base = cop_base if cop_base is not None else numbering(found)
    kinds = Counter(row.text("choice_type") for row in found)
    notes = {f"choice type {name}": count for name, count in sorted(kinds.items())}
    return [to_question(row, base) for row in found], {**notes, "first option in cop": base}


def refuse_withheld(found: Sequence[Row]) -> None:
    """Stop at the test split, in which every answer is -1."""
    for row in found:
        if row.integer("cop") == -1:
            raise row.error("cop", "this is the test split, whose answers are withheld; use the validation split")


def numbering(found: Sequence[Row]) -> int:
    """Return the number that stands for option A: a 0 or a 4 among the answers decides.

    Raises:
        DataError: when both occur, or neither.
    """
    seen = {row.integer("cop") for row in found}
    if (0 in seen) != (4 in seen):
        return 0 if 0 in seen else 1
    what = "both 0 and 4 occur; two copies are mixed" if 0 in seen else "neither 0 nor 4 occurs"
    fix = "pass cop_base=0 if the rows count from 0 (hub copy), cop_base=1 if from 1 (original json)"
    raise DataError(f"{rows.sources(found)}, field 'cop': {what}; {fix}")


def to_question(row: Row, base: int) -> Question:
    """Return a question; `base` is the number of option A in `cop`."""
    cop = row.integer("cop")
    if not base <= cop <= base + 3:
        raise row.error("cop", f"{base} to {base + 3} is expected here")
    options = tuple(row.option(field) for field in OPTIONS)
    subject = row.optional("subject_name")
    return Question(row.text("id"), SPEC.key, subject, row.text("question"), options, cop - base, None, SPEC.key)


SPEC = SuiteSpec(
    key="medmcqa",
    title="MedMCQA",
    hub_id="openlifescienceai/medmcqa",
    config=None,
    split="validation",
    revision="91c6572c454088bf71b679ad90aa8dffcd0d5868",
    licence="Apache-2.0",
    published=4_183,
    load=load,
)
