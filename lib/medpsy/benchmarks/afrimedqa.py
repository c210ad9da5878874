"""AfriMed-QA: expert multiple-choice questions from African medical schools, two to five options.

Olatunji et al., "AfriMed-QA". Rows with several right options, without a key, or whose key names a filler are kept
apart and counted: they have no gold unless the authors' own practice (`multi="first"`) is asked for. Which subset and
rule the report used is not stated. It refuses copies without the column `tier` (version 1) or with other keys.
"""

import re
from collections import Counter
from dataclasses import dataclass

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.question import Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("afri_med_qa*", "train*", "data/train*")
ALL_ROWS = 15_275  # multiple choice, short answers and consumer queries
EXPERT = 3_910  # expert multiple choice, as in the authors' result files
RULES = ("exclude", "first")
FILLERS = ("", "n/a", "nan")  # in any case; "NA" is an option (sodium)
NUMBERED = re.compile(r"option([1-5])")


@dataclass(frozen=True)
class Key:
    """What `correct_answer` says: `kind` is single, several, none or filler; `first` an index into the options."""

    kind: str
    first: int | None


def load(origin: rows.Origin, *, multi: str = "exclude") -> tuple[list[Question], Notes]:
    """Return the expert multiple-choice questions.

    Args:
        multi: what becomes of rows with several right options: ``"exclude"`` (no gold, so not scored) or ``"first"``
            (the first one listed is the gold, as the authors score).
    """
    if multi not in RULES:
        raise ValueError(f"multi={multi!r} is unknown; use one of {', '.join(RULES)}")
    found = rows.read(origin, FILES)
    if origin.data_dir is None:
        origin.expect(found, ALL_ROWS, "rows of all types")
    expert = [row for row in found if row.text("question_type") == "mcq" and tier(row) == "expert"]
    origin.expect(expert, EXPERT, "expert multiple-choice rows")
    usable = [(row, options) for row in expert if len(options := numbered_options(row)) >= 2]
    notes = {"expert rows": len(expert), "fewer than two options, left out": len(expert) - len(usable)}
    kinds = Counter(read_key(row, options).kind for row, options in usable)
    splits = Counter(f"split {row.optional('split')}" for row, _ in usable)
    questions = [to_question(row, options, multi) for row, options in usable]
    counts = {f"key: {kind}": kinds[kind] for kind in ("single", "several", "none", "filler")}
    gaps = sum(max(options) > len(options) for _, options in usable)
    return questions, {**notes, **counts, **splits, "relettered past a filler": gaps, "several right options": multi}


def tier(row: Row) -> str:
    """Return the tier of a multiple-choice row; the column must exist."""
    if "tier" not in row.values:
        raise row.error("tier", f"version 2 with this column is expected, as in {SPEC.hub_id}")
    return row.optional("tier").lower()


def numbered_options(row: Row) -> dict[int, str]:
    """Return option number (1 to 5, as published) to text, without the fillers.

    Numbers are those before fillers are dropped, because the key counts that way.
    """
    given = row.structure("answer_options") if row.optional("answer_options") else {}
    if not isinstance(given, dict) or not all(NUMBERED.fullmatch(name) for name in given):
        raise row.error("answer_options", "an object with option1 to option5 is expected")
    if not all(text is None or isinstance(text, str | int | float) for text in given.values()):
        raise row.error("answer_options", "texts are expected")
    texts = {int(name[-1]): "" if text is None else str(text).strip() for name, text in given.items()}
    return {number: texts[number] for number in sorted(texts) if texts[number].casefold() not in FILLERS}


def read_key(row: Row, options: dict[int, str]) -> Key:
    """Return what `correct_answer` (``"option4"``, or a comma list) says about `options`."""
    names = [name.strip() for name in row.optional("correct_answer").split(",") if name.strip()]
    matches = [NUMBERED.fullmatch(name) for name in names]
    if not all(matches):
        raise row.error("correct_answer", 'option1 to option5 is expected, or several like "option2,option4"')
    numbers = list(dict.fromkeys(int(match[1]) for match in matches))
    if not numbers:
        return Key("none", None)
    kept = list(options)
    first = kept.index(numbers[0]) if numbers[0] in options else None
    if not set(numbers) <= options.keys():
        return Key("filler", first)
    return Key("single" if len(numbers) == 1 else "several", first)


def to_question(row: Row, options: dict[int, str], multi: str) -> Question:
    """Return a question whose options are lettered without gaps; the gold follows its option."""
    key = read_key(row, options)
    gold = key.first if key.kind == "single" or multi == "first" else None
    stem = row.optional("question_clean") or row.text("question")  # line breaks of lab lists survive in the former
    subject = row.optional("specialty")
    return Question(row.text("sample_id"), SPEC.key, subject, stem, tuple(options.values()), gold, None, SPEC.key)


SPEC = SuiteSpec(
    key="afrimedqa",
    title="AfriMedQA",
    hub_id="afrimedqa/afrimedqa_v2",  # the authors' open copy; intronhealth/afrimedqa_v2 is gated and needs a token
    config=None,
    split="train",  # the only one; the column `split` tells train from test
    revision="3b4382fa0bb51bfc026f5813021ab0ec7be9de8f",
    licence="CC-BY-4.0, elsewhere CC-BY-NC-SA-4.0: treat as non-commercial",
    published=EXPERT,
    load=load,
)
