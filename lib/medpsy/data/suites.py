"""The seven suites of Table 1, and the one way to load them, the open suites, a Chinese set and the set for RL.

A suite is read from the hub at a pinned revision, from local files, or generated for the miniature; after that nothing
can tell which. Answers, explanations and votes that would give the key away are never read.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from medpsy import strict
from medpsy.data import healthbench
from medpsy.data.questions import LETTERS, Conversation, Labelled, Question
from medpsy.data.rows import DataError, Origin, Row, SuiteSpec, find, from_files, from_hub, read, sources

Items = Iterable[Question] | Iterable[Conversation] | Iterable[Labelled]

# MMLU (Health), Hendrycks et al.: subjects and unweighted mean are those of the model card; pooling the 1,089 questions
# does not give the published decimals. Other "medical" selections (nine subjects, or five) are not comparable.
MMLU_HEADER = ("question", "A", "B", "C", "D", "answer")  # the original csv files have no header row


def mmlu_health(origin: Origin) -> list[Question]:
    """Return the test questions of the six subjects, in the order of `MMLU_SUBJECTS`, from either form: csv (letters)
    or hub (`choices`, answer 0 to 3)."""
    questions: list[Question] = []
    for subject, published in MMLU_SUBJECTS.items():
        if origin.data_dir is None:
            rows = from_hub(origin, subject)
        else:
            names = [f"{subject}_test.*", f"test/{subject}_test.*", f"{subject}/test*"]
            rows = from_files(find(origin.data_dir, names), MMLU_HEADER)
        origin.expect(rows, published, f"test rows of {subject}")
        for number, row in enumerate(rows, 1):
            if "choices" in row.values:
                options, gold = row.texts("choices"), row.integer("answer")
                row.expect(len(options) == 4, "choices", "four options are expected")
                row.expect(row.text("subject") == subject, "subject", f"{subject} is expected in this file")
                row.expect(0 <= gold <= 3, "answer", "0 to 3 is expected in a copy with the column `choices`")
            else:
                options, gold = tuple(row.option(letter) for letter in "ABCD"), row.letter("answer", 4)
            asked = (f"{subject}/{number}", "mmlu_health", subject, row.text("question"))
            questions.append(Question(*asked, options, gold, None, subject))
    return questions


# AfriMed-QA, Olatunji et al.: expert multiple choice of African medical schools, two to five options. Which subset and
# rule the report used is not stated. Copies without the column `tier` (version 1) or with other keys are refused.
AFRIMED_ROWS = 15_275  # multiple choice, short answers and consumer queries
FILLERS = ("", "n/a", "nan")  # in any case; "NA" is an option (sodium)
NUMBERED = re.compile(r"option([1-5])")


def afrimedqa(origin: Origin) -> list[Question]:
    """Return the expert multiple-choice questions that have two options at least; without a gold those with several
    right options, without a key, or whose key names a filler."""
    rows, expert = read(origin, ("afri_med_qa*", "train*", "data/train*")), []
    if origin.data_dir is None:
        origin.expect(rows, AFRIMED_ROWS, "rows of all types")
    for row in rows:
        if row.text("question_type") == "mcq":
            row.expect("tier" in row.values, "tier", f"version 2 is expected, as in {SUITES['afrimedqa'].hub_id}")
            expert += [row] if row.optional("tier").lower() == "expert" else []
    origin.expect(expert, SUITES["afrimedqa"].published, "expert multiple-choice rows")
    return [question for row in expert if (question := _afrimed_question(row))]


def _afrimed_question(row: Row) -> Question | None:
    """Return a question without fillers among its options, None where fewer than two are left; its gold is the one
    option that `correct_answer` (``"option4"``, a comma list) names, counted with the fillers."""
    given = row.structure("answer_options") if row.optional("answer_options") else {}
    named = isinstance(given, dict) and all(NUMBERED.fullmatch(name) for name in given)
    row.expect(named, "answer_options", "an object with option1 to option5 is expected")
    plain = all(text is None or isinstance(text, str | int | float) for text in given.values())
    row.expect(plain, "answer_options", "texts are expected")
    texts = {int(name[-1]): "" if text is None else str(text).strip() for name, text in sorted(given.items())}
    options = {number: text for number, text in texts.items() if text.casefold() not in FILLERS}
    if len(options) < 2:
        return None
    names = [name.strip() for name in row.optional("correct_answer").split(",") if name.strip()]
    known = all(NUMBERED.fullmatch(name) for name in names)
    row.expect(known, "correct_answer", 'option1 to option5 is expected, or several like "option2,option4"')
    numbers = {int(name[-1]) for name in names}
    gold = list(options).index(*numbers) if len(numbers) == 1 and numbers <= options.keys() else None
    stem = row.optional("question_clean") or row.text("question")  # line breaks of lab lists survive in the former
    asked = (row.text("sample_id"), "afrimedqa", row.optional("specialty"), stem)
    return Question(*asked, tuple(options.values()), gold, None, "afrimedqa")


# MMLU-Pro Health, Wang et al.: the category "health" of MMLU-Pro. Copies with another number of health questions (early
# revisions, selections) are refused. Most rows descend from MMLU, so the suite overlaps MMLU (Health) in content.
MMLU_PRO_ROWS = 12_032  # of all categories in the test split since mid-2024; earlier revisions have 12,186 or 12,187
PADDING = "N/A"  # some mirrors fill every list up to ten with it; "None" and "NA" are options


def mmlu_pro_health(origin: Origin) -> list[Question]:
    """Return the health questions of the test split, three to ten options each; `answer` and `answer_index` must name
    the same option."""
    rows, questions = read(origin, ("test*", "data/test*")), []
    if origin.data_dir is None:
        origin.expect(rows, MMLU_PRO_ROWS, "test rows of all categories")
    for row in rows:
        original = row.text("category") == row.text("category").lower()
        row.expect(original, "category", "lower case is expected; this is not the original data set")
    health = [row for row in rows if row.text("category") == "health"]
    origin.expect(health, SUITES["mmlu_pro_health"].published, 'test rows with category "health"')
    for row in health:
        options = row.texts("options")
        while len(row.texts("options")) >= len(LETTERS) and options and options[-1] == PADDING:
            options = options[:-1]
        row.expect(3 <= len(options) <= len(LETTERS), "options", "three to ten options are expected")
        gold = row.letter("answer", len(options))
        same = row.integer("answer_index") == gold
        row.expect(same, "answer_index", f"{gold} is expected, because `answer` is {LETTERS[gold]}")
        asked = (str(row.integer("question_id")), "mmlu_pro_health", row.text("src").removeprefix("ori_mmlu-"))
        questions.append(Question(*asked, row.text("question"), options, gold, None, "mmlu_pro_health"))
    return questions


# MedMCQA, Pal et al.: Indian entrance exams; the validation split, since the test key is withheld. The explanation
# (`exp`) often states the answer and is never read.
MEDMCQA_OPTIONS = ("opa", "opb", "opc", "opd")


def medmcqa(origin: Origin) -> list[Question]:
    """Return all validation questions, `single` and `multi` alike: both have exactly one right option."""
    rows = read(origin, ("validation*", "data/validation*", "dev*", "data/dev*"))
    refuse_withheld(rows)
    origin.expect(rows, SUITES["medmcqa"].published, "validation rows")
    base = medmcqa_numbering(rows) if origin.data_dir else 0  # the pinned copy counts from 0, or is wrong
    return [medmcqa_question(row, base) for row in rows]


def refuse_withheld(rows: Iterable[Row]) -> None:
    """Stop at MedMCQA's test split, in which every answer is -1."""
    for row in rows:
        if row.integer("cop") == -1:
            raise row.error("cop", "this is the test split, whose answers are withheld; use the validation split")


def medmcqa_numbering(rows: Sequence[Row]) -> int:
    """Return the number that stands for option A, 0 (hub copy) or 1 (original json): a 0 or a 4 among them decides;
    refuses rows with both or neither."""
    seen = {row.integer("cop") for row in rows}
    if (0 in seen) != (4 in seen):
        return 0 if 0 in seen else 1
    what = "both 0 and 4 occur; two copies are mixed" if 0 in seen else "neither 0 nor 4 occurs; use the whole file"
    raise DataError(f"{sources(rows)}, field 'cop': {what}")


def medmcqa_question(row: Row, base: int) -> Question:
    """Return a question; `base` is the number of option A in `cop`."""
    cop, options = row.integer("cop"), tuple(row.option(field) for field in MEDMCQA_OPTIONS)
    row.expect(base <= cop <= base + 3, "cop", f"{base} to {base + 3} is expected here")
    asked = (row.text("id"), "medmcqa", row.optional("subject_name"), row.text("question"))
    return Question(*asked, options, cop - base, None, "medmcqa")


# MedQA (USMLE), Jin et al.: the edition with four options. Which one the report used is not stated; four is the
# commoner practice. The edition with five is refused: the same question has another letter there.


def medqa(origin: Origin) -> list[Question]:
    """Return all test questions, which have no ids; `answer_idx` and `answer` must name the same option."""
    rows, questions = read(origin, ("phrases_no_exclude_test*", "test*", "data/test*")), []
    origin.expect(rows, SUITES["medqa"].published, "test rows")
    for number, row in enumerate(rows, 1):
        given = row.structure("options")
        if isinstance(given, dict) and given.get("E") is not None:
            hub_id = SUITES["medqa"].hub_id
            raise row.error("options", f"four are expected; letters differ in the five-option edition, use {hub_id}")
        options, gold = medqa_options(row), row.letter("answer_idx", 4)
        same = row.text("answer") == options[gold]
        row.expect(same, "answer", f"the text of option {LETTERS[gold]} is expected, because that is `answer_idx`")
        asked = (str(number), "medqa", row.optional("meta_info"), row.text("question"))
        questions.append(Question(*asked, options, gold, None, "medqa"))
    return questions


def medqa_options(row: Row) -> tuple[str, ...]:
    given = row.structure("options")
    whole = isinstance(given, dict) and all(isinstance(given.get(letter), str) for letter in "ABCD")
    row.expect(whole, "options", "an object with the texts of A, B, C and D is expected")
    return tuple(given[letter].strip() for letter in "ABCD")


# MedXpertQA (Text), Zuo et al.: expert-level questions with ten options. Rows about images (`MM-...`) are left out.
# The original stem ends with all its options; that list is cut, so that no prompt shows them twice.
OPTION_LIST = re.compile(r"\s*Answer Choices:\s*\(A\)")


def medxpertqa(origin: Origin) -> list[Question]:
    """Return all questions without images, from either form: hub (object, letter) or original (list, list with a
    letter)."""
    rows, questions = read(origin, ("Text/test*", "medxpertqa_text*", "*text*", "test*", "data/test*")), []
    text_only = [row for row in rows if not row.text("id").startswith("MM-") and not row.values.get("images")]
    origin.expect(text_only, SUITES["medxpertqa"].published, "test rows without images")
    for row in text_only:
        given, labels = row.structure("options"), row.values.get("label")
        if isinstance(given, list):
            given = _by_letter(row, "options", "letter", "content")
        whole = set(given) == set(LETTERS) and all(isinstance(text, str) for text in given.values())
        row.expect(whole, "options", "ten texts, A to J, are expected")
        stem = OPTION_LIST.split(row.text("question"))[0].strip()
        row.expect(stem, "question", "a question is expected before its list of options")
        labels = labels if isinstance(labels, list) else [labels]
        single = len(labels) == 1 and isinstance(labels[0], str) and labels[0].strip() in tuple(LETTERS)
        row.expect(single, "label", "exactly one letter, A to J, is expected, alone or in a list")
        options, gold = tuple(given[letter].strip() for letter in LETTERS), LETTERS.index(labels[0].strip())
        asked = (row.text("id"), "medxpertqa", row.optional("body_system"), stem)
        questions.append(Question(*asked, options, gold, None, "medxpertqa"))
    return questions


def _by_letter(row: Row, field: str, letter: str, text: str) -> dict:
    """Return the texts of a list of objects, each with its letter, by their letters."""
    given = row.structure(field)
    whole = all(isinstance(item, dict) and {letter, text} <= item.keys() for item in given)
    row.expect(isinstance(given, list) and whole, field, f"objects with `{letter}` and `{text}` are expected")
    return {item[letter]: item[text] for item in given}


# PubMedQA, Jin et al.: yes, no or maybe over an abstract without its conclusion; the 500 official test questions. Only
# the authors' repository says which of the 1,000 labelled rows they are (folder data of pubmedqa/pubmedqa, commit
# 1cbae8e); its list of PMIDs lies beside this module, since asking all rows mixes in the training half.
PUBMEDQA_LABELLED = 1_000
PUBMEDQA_CHOICES = ("yes", "no", "maybe")  # lettered A, B, C in this order
PUBMEDQA_BALANCE = {"yes": 276, "no": 169, "maybe": 55}  # of the 500, counted
NO_HEADING = "UNLABELLED"  # how MEDLINE marks a passage without a heading


def pubmedqa(origin: Origin) -> list[Question]:
    labelled = read(origin, ("ori_pqal*", "pqa_labeled/train*", "train*"))
    origin.expect(labelled, PUBMEDQA_LABELLED, "labelled rows")
    pairs = [(row.key or str(row.integer("pubid")), row) for row in labelled]  # the PMID is a key in the original
    pairs = [(pmid, row) for pmid, row in pairs if pmid in official_ids()]
    origin.expect([row for _, row in pairs], SUITES["pubmedqa"].published, "rows of the official test list")
    questions = [_pubmed_question(row, pmid) for pmid, row in pairs]
    answers = Counter(PUBMEDQA_CHOICES[question.gold] for question in questions)
    if not origin.partial and answers != PUBMEDQA_BALANCE:
        problem = f"answers {dict(answers)}, {PUBMEDQA_BALANCE} expected"
        raise DataError(f"{sources(labelled)}: {problem}; fetch the rows again")
    return questions


@cache
def official_ids() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("pubmedqa_test.txt").read_text(encoding="utf-8").split())


def _pubmed_question(row: Row, pmid: str) -> Question:
    """Return a labelled row as question; the context has one line per passage, its section named."""
    answer = row.text("final_decision")
    row.expect(answer in PUBMEDQA_CHOICES, "final_decision", "yes, no or maybe is expected")
    if original := "QUESTION" in row.values:
        stem, passages, labels = row.text("QUESTION"), row.texts("CONTEXTS"), row.texts("LABELS")
    else:
        context = row.structure("context")
        row.expect(isinstance(context, dict), "context", "an object with `contexts` and `labels` is expected")
        inner = Row(context, row.source, row.number)
        stem, passages, labels = row.text("question"), inner.texts("contexts"), inner.texts("labels")
    counts = f"{len(labels)} for {len(passages)}"
    alike, field = passages and len(passages) == len(labels), "LABELS" if original else "context"
    row.expect(alike, field, f"one label per passage is expected; {counts}")
    pairs = zip(labels, passages, strict=True)
    context = "\n".join(text if label in ("", NO_HEADING) else f"{label}: {text}" for label, text in pairs)
    return Question(pmid, "pubmedqa", "", stem, PUBMEDQA_CHOICES, PUBMEDQA_CHOICES.index(answer), context, "pubmedqa")


# CMExam, Liu et al.: multiple choice of China's licensing examination. No suite of the report; section 12 asks it of a
# model that was trained on Chinese. The explanation states the answer and is never read.


def cmexam(origin: Origin) -> list[Question]:
    """Return the test questions, which have no ids; without a gold those whose key is missing, names several letters or
    one that is not offered."""
    questions = []
    for number, row in enumerate(read(origin, ("test*", "data/test*")), 1):
        given, key = _by_letter(row, "Options", "key", "value"), row.optional("Answer")
        whole = 2 <= len(given) <= len(LETTERS) and all(isinstance(text, str) for text in given.values())
        row.expect(whole, "Options", f"2 to {len(LETTERS)} texts are expected")
        gold = [*given].index(key) if key in given else None
        options, stem = tuple(text.strip() for text in given.values()), row.text("Question")
        questions.append(Question(str(number), "cmexam", "", stem, options, gold, None, "cmexam"))
    return questions


# AlphaMedQA, Liu et al., "Beyond Distillation": for reinforcement learning, built from the training splits of MedQA and
# MedMCQA. Its schema is not confirmed: a column `question`, options inside it or in a column of their own, and `answer`
# as a letter or a text. Each form is read; anything else stops with the row, so that a wrong guess cannot pass for a
# reward.
OWN_LINE = re.compile(r"^[ \t]*(?:\(([A-J])\)|([A-J])[.):])[ \t]+", re.MULTILINE)  # "A. x", "A) x", "(A) x" per line
BRACKETED = re.compile(r"(?<!\S)\(([A-J])\)[ \t]+")  # "(A) x (B) y" on one line
# "A: x B: y C: z" on one line, always with the same mark; of two alone, prose ("type A. ... type B. ...") is not told
INLINE = tuple(re.compile(rf"(?<!\S)([A-J]){mark}[ \t]+") for mark in (":", r"\)", r"\."))
FEWEST_INLINE = 3
HEADING = re.compile(r"\s*(?:answer choices|answer options|options|choices)\s*:?\s*$", re.IGNORECASE)


class Lettered(NamedTuple):
    """A text split into what stands before its options and the options."""

    stem: str
    options: tuple[str, ...]


def split_options(text: str) -> Lettered | None:
    """Return stem and options of `text`, or None if it does not end with at least two, lettered from A without gaps, a
    line each or all on one line."""
    forms = [(OWN_LINE, 2), (BRACKETED, 2), *((mark, FEWEST_INLINE) for mark in INLINE)]
    return next(filter(None, (_split_at(text, mark, fewest) for mark, fewest in forms)), None)


def _split_at(text: str, mark: re.Pattern[str], fewest: int) -> Lettered | None:
    """Return stem and options if the marks from the last A onwards read A, B, C, ... to the end, `fewest` or more."""
    marks = list(mark.finditer(text))
    names = [next(group for group in match.groups() if group) for match in marks]
    start = max((place for place, name in enumerate(names) if name == "A"), default=0)
    run = marks[start:]
    if len(run) < fewest or names[start:] != list(LETTERS[: len(run)]):
        return None
    ends = [following.start() for _, following in pairwise(run)] + [len(text)]
    options = tuple(text[match.end() : end].strip() for match, end in zip(run, ends, strict=True))
    return Lettered(HEADING.sub("", text[: run[0].start()]).strip(), options)


FEWEST, MOST = 17_500, 20_000  # ours: holds the report's 18K, a survey's 19,178 and a recalled mix of 19,778
LETTER = re.compile(r"\(?([A-J])\)?[.:)]?(?:\s+(.+))?", re.DOTALL)  # "B", "(B)", "B.", "B. text"


def alphamed(origin: Origin) -> list[Question]:
    """Return the training questions that have options; refuses other than about as many rows as published, on whose
    number sources disagree."""
    rows = read(origin, ("train*", "data/train*"))
    if not origin.partial and not FEWEST <= len(rows) <= MOST:
        where = sources(rows) or origin.data_dir
        raise DataError(f"{where}: {len(rows):,} rows, {FEWEST:,} to {MOST:,} expected; use the complete copy")
    questions = []
    for number, row in enumerate(rows, 1):
        if parts := lettered(row):
            row.expect(parts.stem, "question", "a question is expected before its options")
            gold = _gold(row, parts.options)
            questions.append(Question(str(number), "alphamed", "", parts.stem, parts.options, gold, None, "alphamed"))
    return questions


def lettered(row: Row) -> Lettered | None:
    """Return stem and options of a row of AlphaMedQA, or None if it has no options anywhere."""
    stem, given = row.text("question"), row.values.get("options")
    inside = split_options(stem)
    if given is None or given == "":
        return inside
    if isinstance(given, str) and (parts := split_options(given)):
        return Lettered(stem, parts.options)
    given = row.structure("options")
    if isinstance(given, dict):
        named = {name: text for name, text in given.items() if text is not None}  # a struct column fills gaps with null
        row.expect(sorted(named) == list(LETTERS[: len(named)]), "options", "letters from A without gaps are expected")
        given = [named[name] for name in sorted(named)]
    whole = 2 <= len(given) <= len(LETTERS) and all(isinstance(text, str) for text in given)
    row.expect(whole, "options", f"2 to {len(LETTERS)} texts are expected")
    # The same list may also end the question; it must not be shown twice.
    return Lettered(inside.stem if inside else stem, tuple(text.strip() for text in given))


def _gold(row: Row, options: tuple[str, ...]) -> int:
    """Return the index that `answer` names by letter, by text or by both; they must not contradict each other."""
    answer = row.text("answer")
    same = {index for index, option in enumerate(options) if plain(option) == plain(answer)}
    match = LETTER.fullmatch(answer)
    if match and match[1] in LETTERS[: len(options)]:
        index = LETTERS.index(match[1])
        if match[2] is None or plain(match[2]) == plain(options[index]):
            same.add(index)
    what = "several options" if same else "no option"
    wanted = f"the letter or the exact text of one of {len(options)} is expected"
    row.expect(len(same) == 1, "answer", f"it fits {what}; {wanted}")
    return same.pop()


def plain(text: str) -> str:
    """Return `text` without case, outer punctuation and repeated white space."""
    return " ".join(text.casefold().split()).strip(" .")


LISTED = strict.read(Path(__file__).with_name("suites.yaml"))
MMLU_SUBJECTS: dict[str, int] = LISTED["mmlu_health"].pop("subjects")
LISTED = {key: {**LISTED.get(about.pop("like", ""), {}), **about} for key, about in LISTED.items()}
READ = {each.__name__: each for each in (mmlu_health, afrimedqa, mmlu_pro_health, medmcqa, medqa, medxpertqa, pubmedqa)}
REPORTED = tuple(READ)
READ |= {key: partial(healthbench.read, key, LISTED[key]["published"]) for key in healthbench.FILES}
READ[healthbench.PHYSICIANS] = partial(healthbench.labelled, LISTED[healthbench.PHYSICIANS]["published"])
READ |= {"alphamed": alphamed, "cmexam": cmexam}
EVERY = {key: SuiteSpec(key=key, read=READ[key], **about) for key, about in LISTED.items()}
OPEN_SUITES: dict[str, SuiteSpec] = {key: EVERY[key] for key in healthbench.FILES}
RL_SET: SuiteSpec = EVERY["alphamed"]  # no suite: for training only
PHYSICIANS: SuiteSpec = EVERY[healthbench.PHYSICIANS]  # no suite either: by its labels judges are measured
SUITES: dict[str, SuiteSpec] = {key: EVERY[key] for key in REPORTED}


@dataclass(frozen=True)
class Suite:
    """A benchmark as this study evaluates it, ready to be asked."""

    key: str
    title: str
    items: tuple[Question, ...] | tuple[Conversation, ...] | tuple[Labelled, ...]
    digest: str  # of all items in order: two loads with one digest ask the same


def load(key: str, *, data_dir: Path | None = None, revision: str | None = None, partial: bool = False) -> Suite:
    """Return the real suite `key` of `EVERY`, checked: a `DataError` names file, row and field. Nothing is fetched
    where `data_dir` holds the files of the hub copy or of the original release; `revision` is by default the pinned
    one."""
    spec = EVERY[key]
    if data_dir is not None and not Path(data_dir).is_dir():
        raise DataError(f"{key}: data_dir {data_dir} is not a folder; give the folder that holds the files")
    origin = Origin(spec.hub_id, spec.config, spec.split, revision or spec.revision, data_dir, partial)
    return build(spec, spec.read(origin))


def build(spec: SuiteSpec, items: Items) -> Suite:
    """Return the suite after the checks that hold for all, the miniature's included: not empty, no id twice."""
    items = tuple(items)
    if not items:
        raise DataError(f"{spec.key}: no {'conversation' if spec.key in OPEN_SUITES else 'question'} is left")
    if stray := next((item for item in items if item.suite != spec.key), None):
        raise DataError(f"{spec.key}: {stray.id!r} says it belongs to suite {stray.suite!r}")
    ident, times = Counter(item.id for item in items).most_common(1)[0]
    if times > 1:
        raise DataError(f"{spec.key}: id {ident!r} occurs {times} times; remove the file or rows read twice")
    return Suite(spec.key, spec.title, items, digest(items))


def digest(items: Items) -> str:
    """Return the SHA-256 over every field of every question or conversation, in order."""
    total = hashlib.sha256()
    for item in items:  # `dataclasses.astuple` would copy every text, a second per suite
        values = json.dumps(item, default=lambda item: [getattr(item, field.name) for field in fields(item)])
        total.update(values.encode() + b"\n")
    return total.hexdigest()
