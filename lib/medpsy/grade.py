"""Grade what a user has saved: `medpsy grade answers` and `medpsy grade healthbench`.

Files are JSON lines, plain or gzipped. A malformed row is refused with file, row, field and fix; nothing is guessed. A
question without a response has failed, and a criterion without a judgment, with null, or with two that differ is
unjudged, never "not met": what the files do not say is missing, counted and named.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from medpsy import strict
from medpsy.data.healthbench import AXES, THEMES, to_conversation
from medpsy.data.questions import LETTERS, Conversation, Question
from medpsy.data.rows import DataError, Row, content, json_lines, written
from medpsy.engines import base
from medpsy.engines.base import Sampling
from medpsy.files import write_text, write_whole
from medpsy.grading import rubric
from medpsy.grading.readers import BIASED, NO_GOLD, OUTCOMES, READERS, outcome, split, why_no_answer
from medpsy.grading.rubric import MET, NOT_MET, UNJUDGED
from medpsy.judge import judged
from medpsy.stats import proportion_margin
from medpsy.store import ResponseStore, Session
from medpsy.study import Study

FAILED = ("failed", "error", "abort")
FINISH_REASONS = base.FINISH_REASONS | {"content_filter": "stop"} | dict.fromkeys(FAILED, "failed")
NAMED = 5  # identifiers named in a summary
ENDING = 200  # characters of an answer's end shown for a case that nobody can read
PROBLEMS = {  # found in the files -> what it is called in print
    "missing": "questions without a response (failed), or criteria without a verdict (unjudged)",
    "failed": "responses that are null or failed (nothing was judged)",
    "null": "criteria whose verdict is null (unjudged)",
    "conflicting": "criteria with verdicts that differ (unjudged)",
    "duplicates": "verdicts beyond those that a criterion needs (they change nothing where they agree)",
    "unknown_ids": "rows whose id is not in the file of questions or examples (left out)",
    "repeated_ids": "further responses with the same id (left out; the first counts)",
    "unknown_criteria": "verdicts on criteria that are not in the example's rubric (left out)",
    "unknown_reasons": "responses with a finish_reason that is not known (read as if they were complete)",
}


# Rows of the user's files.


def _options(value: object) -> list[str]:
    if isinstance(value, dict):
        if sorted(value) != list(LETTERS[: len(value)]):
            given = ", ".join(sorted(value))
            raise ValueError(f"letters {given} leave a gap or do not begin at A; letter them A, B, C ...")
        value = [value[letter] for letter in sorted(value)]
    if not isinstance(value, list):
        raise ValueError('write ["first", "second"] or {"A": "first", "B": "second"}')
    for option in value:
        if isinstance(option, bool) or not isinstance(option, str | int | float):
            raise ValueError(f"option {option!r} is not text; write each option as a string")
    if not 2 <= len(value) <= len(LETTERS):
        raise ValueError(f"{len(value)} options; give 2 to {len(LETTERS)}")
    return [str(option) for option in value]


Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Identifier = Annotated[Word, BeforeValidator(lambda name: str(name) if type(name) is int else name)]


class _Question(BaseModel, strict=True):
    id: Identifier
    question: str
    options: Annotated[list[str], BeforeValidator(_options)]
    gold: int | None

    @field_validator("gold", mode="plain")
    @classmethod
    def _index(cls, gold: object, info: ValidationInfo) -> int | None:
        letters = LETTERS[: len(info.data.get("options", LETTERS))]
        if gold is None or (type(gold) is int and 0 <= gold < len(letters)):  # no isinstance: True is no number
            return gold
        if isinstance(gold, str) and (letter := gold.strip().upper()) in tuple(letters):
            return letters.index(letter)
        fix = f"write a letter A to {letters[-1]}, an index 0 to {len(letters) - 1} as a number, or null"
        raise ValueError(f"it names no option; {fix}")


class _Response(BaseModel, strict=True):
    id: Identifier
    text: str | None
    finish_reason: str | None = None


class _Reply(_Response, strict=True):
    id: Identifier = Field(alias="prompt_id")


class _Verdict(BaseModel, strict=True):
    prompt_id: Identifier
    criterion: Word
    criteria_met: bool | None
    judge: Word | None = None


def _rows(path: Path | str, what: str = "") -> list[Row]:
    """Return the rows of a file; there must be some if `what` says of which kind."""
    rows = json_lines(content(Path(path)), Path(path).name)
    if what and not rows:
        raise DataError(f"{Path(path).name}: no {what} in this file; write one JSON object a line")
    return rows


def _frame(rows: Iterable[Row], model: type[BaseModel]) -> pd.DataFrame:
    """Return the rows as columns of `model` and ``line``."""
    checked = [row.checked(model).model_dump() | {"line": row.number} for row in rows]
    return pd.DataFrame(checked, columns=[*model.model_fields, "line"], dtype=object)


def load_questions(path: Path | str) -> dict[str, Question]:
    """Return the questions of a file, ``{id, question, options, gold}``, by id, in file order.

    Raises:
        DataError: a row is malformed; the message names file, row, field, value and fix.
    """
    questions: dict[str, Question] = {}
    for row in _rows(path, "questions"):
        given = row.checked(_Question)
        question = Question(given.id, "own", "", given.question, tuple(given.options), given.gold, None, "own")
        if questions.setdefault(question.id, question) is not question:
            raise row.error("id", "it is there already; give each question its own")
    return questions


def load_examples(path: Path | str) -> dict[str, Conversation]:
    """Return the examples of a file in HealthBench's published schema by prompt id; a criterion needs no level.

    Raises:
        DataError: as `load_questions`.
    """
    examples: dict[str, Conversation] = {}
    for row in _rows(path, "examples"):
        example = to_conversation(row, "healthbench", levels=False)
        if examples.setdefault(example.id, example) is not example:
            raise row.error("prompt_id", "it is there already; keep one row per example")
    return examples


def _named(identifiers: Iterable[str]) -> dict[str, Any]:
    """Return how many there are and the first few, each named once."""
    names = list(identifiers)
    return {"count": len(names), "first": list(dict.fromkeys(names))[:NAMED]}


def _matched(responses: pd.DataFrame, asked: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first response to each of `asked` by id, and which are missing, unknown or repeated."""
    unknown, again = ~responses["id"].isin(asked), responses["id"].duplicated()
    given = {row.id: row for row in responses[~unknown & ~again].itertuples()}
    return given, {
        "missing": _named(name for name in asked if name not in given),
        "unknown_ids": _named(responses.loc[unknown, "id"]),
        "repeated_ids": _named(responses.loc[again & ~unknown, "id"]),
    }


def printed_problems(summary: Mapping[str, Any]) -> list[str]:
    """Return what was wrong with the files, a line each."""
    counted = {text: summary[name] for name, text in PROBLEMS.items() if summary.get(name, {}).get("count")}
    return [f"{text}: {problem['count']:,}, e.g. {'; '.join(problem['first'])}" for text, problem in counted.items()]


# Answers to questions with options.


class GradedRow(NamedTuple):
    """One question of the user's file with what became of its response."""

    id: str
    chosen: str | None  # a letter, as is `gold`
    gold: str | None
    outcome: str  # one of `medpsy.grading.readers.OUTCOMES`, or "no gold"
    how: str  # where the choice was found, or why there is none
    ending: str | None  # the end of an answer in which no choice could be read


def answers(
    questions: Path | str, responses: Path | str, *, reader: str = "lenient", opens_thinking: bool = False
) -> tuple[list[GradedRow], dict[str, Any]]:
    """Return a row per question of a file, in order, and the summary ``{accuracy, margin, outcomes, rows, ...}``.

    Accuracy is 100 x correct / questions with gold (None without any); its margin (95 %) covers the choice of
    questions. `outcomes` counts questions with gold; unknown, repeated and missing responses are counted and named.

    Args:
        reader: a name in `READERS`.
        opens_thinking: the chat template opened the reasoning, so a response without its end marker is no answer.

    Raises:
        ValueError: there is no such reader, or a row is malformed (DataError: file, row, field, value and fix).
    """
    if reader not in READERS:
        raise ValueError(f"no reader {reader!r}; {strict.nearest(reader, READERS)}")
    asked = load_questions(questions)
    given, problems = _matched(_frame(_rows(responses), _Response), asked)
    reasons = {name: _reason(row.finish_reason) for name, row in given.items()}
    rows = [
        grade_response(question, given[name].text if name in given else None, reasons.get(name), reader, opens_thinking)
        for name, question in asked.items()
    ]
    counts = Counter(row.outcome for row in rows)
    outcomes = {name: counts[name] for name in OUTCOMES}
    total = sum(outcomes.values())
    summary = {
        "accuracy": 100 * outcomes["correct"] / total if total else None,
        "margin": proportion_margin(outcomes["correct"], total) if total else None,
        "outcomes": outcomes,
        "rows": len(rows),
        "without_gold": counts[NO_GOLD],
        "reader": reader,
        "biased": reader in BIASED,
        **problems,
        "unknown_reasons": _named(
            row.finish_reason for name, row in given.items() if row.finish_reason and reasons[name] is None
        ),
    }
    return rows, summary


def _reason(word: str | None) -> str | None:
    """Return the finish reason that a service's `word` stands for; None where it is not given or not known."""
    return FINISH_REASONS.get((word or "").lower())


def grade_response(
    question: Question, text: str | None, finish_reason: str | None, reader: str, opens_thinking: bool = False
) -> GradedRow:
    """Split, read and grade one response; a `text` of None stands for one that is missing."""
    parts = reading = chosen = ending = None
    how = "failed"
    if text is not None and finish_reason != "failed":
        parts = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
        how = why_no_answer(parts, text)
    if parts and parts.answer is not None:
        reading = READERS[reader](parts.answer, question)
        how = reading.how
        if reading.choice is None:
            ending = parts.answer.strip()[-ENDING:] or None
        else:
            chosen = LETTERS[reading.choice]
    gold = None if question.gold is None else LETTERS[question.gold]
    return GradedRow(question.id, chosen, gold, outcome(parts, reading, question, finish_reason), how, ending)


def write_answers(rows: Iterable[GradedRow], path: Path | str) -> None:
    """Write the rows as JSON lines; the file appears only when it is complete."""
    write_text(Path(path), written(row._asdict() for row in rows))


def printed_answers(summary: Mapping[str, Any]) -> str:
    """Return the summary as a few lines of text."""
    total = sum(summary["outcomes"].values())
    score = f"{summary['accuracy']:.2f} ± {summary['margin']:.2f} (95 %)" if total else "no question has a gold"
    lines = [f"accuracy {score}, {total:,} questions with gold, reader {summary['reader']}"]
    lines += [f"  {name}: {count:,}" for name, count in summary["outcomes"].items()]
    if summary["without_gold"]:
        lines.append(f"  without gold, not graded: {summary['without_gold']:,}")
    lines += printed_problems(summary)
    if summary["biased"]:
        lines.append(f"reader {summary['reader']} looks at the gold: this score is biased upwards")
    return "\n".join(lines)


# Judgments of HealthBench criteria.

UNNAMED = "judge not named"
SHOWN = 40  # characters of a strange criterion in a message
OUTCOME = {True: MET, False: NOT_MET, None: UNJUDGED}
MISSING, CONFLICTING = "missing", "conflicting"


def healthbench(examples: Path | str, verdicts: Path | str, *, seed: int = 0) -> dict[str, Any]:
    """Return the scores of a file of verdicts, ``{prompt_id, criterion, criteria_met, judge?}``, on a file of examples.

    Scores are shares, not rounded, and null where nothing could be scored. Where the verdicts name several judges, the
    scores are those of their plain mean (each example's score averaged over judges) and counts are sums over judges.

    Returns:
        The numbers of `medpsy.grading.rubric.scores` overall; in ``themes``, ``axes`` and, where there are
        several, ``judges`` those of each by name; ``as_published`` (whole points); ``other_implementations`` (name ->
        the score they would give); ``examples``, ``criteria``, ``verdicts``; `PROBLEMS` as ``{count, first}``.

    Raises:
        DataError: a row is malformed; the message names file, row, field, value and fix.
    """
    asked = load_examples(examples)
    criteria = pd.DataFrame(
        [
            (example.id, at, criterion.points, criterion.axis, example.theme, criterion.text)
            for example in asked.values()
            for at, criterion in enumerate(example.rubric)
        ],
        columns=["conversation_id", "criterion", "points", "axis", "theme", "text"],
    )
    given = _frame(_rows(verdicts, "verdicts"), _Verdict)
    given["outcome"], given["judge"] = given["criteria_met"].map(OUTCOME), given["judge"].fillna(UNNAMED)
    pairs = pd.MultiIndex.from_frame(given[["prompt_id", "criterion"]])
    there = pairs.isin(pd.MultiIndex.from_frame(criteria[["conversation_id", "text"]]))
    stranger = ~given["prompt_id"].isin(asked)
    frame = _decided(criteria, given[there], given["judge"].unique())
    labels = frame["conversation_id"] + ", criterion " + (frame["criterion"] + 1).astype(str)
    why = {"missing": MISSING, "null": UNJUDGED, "conflicting": CONFLICTING}
    repeated = frame.loc[frame.index.repeat(frame["more"])]
    together = frame.assign(run=frame["judge"]).drop(columns="judge")  # a mean over judges is one over runs
    summary = {
        **_scores(together, seed),
        "examples": len(asked),
        "criteria": len(criteria),
        "verdicts": len(given),
        **{name: _named(labels[frame["decided"] == word]) for name, word in why.items()},
        "duplicates": _named(repeated["conversation_id"] + ": " + repeated["text"].str[:SHOWN]),
        "unknown_ids": _named(given.loc[stranger, "prompt_id"]),
        "unknown_criteria": _named(
            f"{row.prompt_id} (line {row.line}): {row.criterion[:SHOWN]}"
            for row in given[~there & ~stranger].itertuples()
        ),
    }
    judges = {judge: _scores(part, seed) for judge, part in frame.groupby("judge", sort=False)}
    return summary | ({"judges": judges} if len(judges) > 1 else {})


def _decided(criteria: pd.DataFrame, verdicts: pd.DataFrame, judges: Iterable[str]) -> pd.DataFrame:
    """Return a row per judge and criterion with its outcome.

    A text that a rubric holds several times has as many places: as many verdicts belong to them in order, and a single
    one decides them all. Column ``decided`` also says why a criterion is unjudged; ``more`` (on the first place of a
    text) how many verdicts there are beyond those that it needs.
    """
    same = criteria.groupby(["conversation_id", "text"])
    criteria = criteria.assign(rank=same.cumcount(), places=same["text"].transform("size"))
    frame = pd.DataFrame({"judge": judges}).merge(criteria, how="cross")
    given = verdicts.groupby(["judge", "prompt_id", "criterion"])["outcome"].agg(list).to_dict()
    decided, more = [], []
    for row in frame.itertuples():
        outcomes = given.get((row.judge, row.conversation_id, row.text), [])
        agreed = CONFLICTING if len(set(outcomes)) > 1 else (outcomes or [MISSING])[0]
        decided.append(outcomes[row.rank] if len(outcomes) == row.places else agreed)
        more.append(max(len(outcomes) - row.places, 0) if row.rank == 0 else 0)
    frame = frame.assign(decided=decided, more=more)
    return frame.assign(outcome=frame["decided"].where(frame["decided"].isin([MET, NOT_MET]), UNJUDGED))


def _scores(frame: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return the overall numbers, those of themes and axes, and what others would make of them; None for missing."""
    others = {name: rubric.scores(frame, scoring, replicates=0) for name, scoring in rubric.OTHERS.items()}
    table = rubric.scores(frame, seed=seed).set_index("name")
    kinds = table.pop("kind")
    table = table.astype(object).where(table.notna(), None)
    return {
        **table.loc[rubric.OVERALL],
        "as_published": _or_none(rubric.as_published(frame)["points"].iloc[0]),
        "themes": table[kinds == "theme"].to_dict("index"),
        "axes": table[kinds == "axis"].to_dict("index"),
        "other_implementations": {name: _or_none(other["score"].iloc[0]) for name, other in others.items()},
    }


def _or_none(score: float) -> float | None:
    return None if pd.isna(score) else float(score)


def printed_healthbench(summary: Mapping[str, Any]) -> str:
    """Return the scores as a table in points, and what was wrong with the files, a line each."""
    parts = {**summary.get("judges", {}), **summary["themes"], **summary["axes"]}
    rows = {"HealthBench": summary} | {(THEMES | AXES).get(name, name): part for name, part in parts.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    points = 100 * table[["score", "margin", "low", "high"]].astype(float)
    points = points.rename(columns={"margin": "± 95 %"}).assign(examples=table["n"], unjudged=table["unjudged"])
    lines = [points.to_string(float_format="{:.2f}".format, na_rep="–")]
    if summary["skipped"]:
        lines.append(f"{summary['skipped']:,} examples none of whose positive points was judged are left out")
    if summary["as_published"] is not None:
        lines.append(f"as published (a run is rounded to a whole point): {summary['as_published']:.2f}")
    for name, score in summary["other_implementations"].items():
        lines.append(f"as {name} would score these verdicts: {'–' if score is None else f'{100 * score:.2f}'}")
    return "\n".join([*lines, *printed_problems(summary)])


# A model of a profile as judge of a user's own responses; its file of verdicts is scored as any other.

# Where the profile does not say: as simple-evals' grader, whose sampler has these defaults.
REFERENCE = {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_tokens": 2048}


def judge_files(
    study: Study,
    judge: str,
    files: Mapping[str, Path],
    *,
    opens_thinking: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Ask `judge` about every criterion of every response and write its verdicts, whole or not at all.

    Args:
        judge: a model of the study.
        files: ``examples`` (published schema) and ``responses`` (``{prompt_id, text, finish_reason?}``) to read, and
            ``verdicts`` to write; packed if its name ends in ``.gz``.
        opens_thinking: the chat template opened the reasoning, so a response without its end marker has no answer.

    Returns:
        What was wrong with the responses: each of `PROBLEMS` as ``{count, first}``.

    Raises:
        ValueError: unknown model, malformed row, verdicts that are there already, or nothing to judge.
    """
    study.model(judge)
    if files["verdicts"].exists():
        raise ValueError(f"{files['verdicts']} is there already; name a new file, or score it without --judge")
    examples = load_examples(files["examples"])
    given, problems = _matched(_frame(_rows(files["responses"]), _Reply), examples)
    items, failed = [], []
    for name, row in given.items():
        reason = _reason(row.finish_reason)
        if row.text is None or reason == "failed":
            failed.append(name)
        else:
            parts = split(row.text, opens_thinking=opens_thinking, finish_reason=reason)
            items.append((examples[name], parts.answer or ""))
    if not items:
        raise ValueError(f"{files['responses']}: no response to any of the {len(examples)} examples; nothing to judge")
    session = Session(study, ResponseStore(study.store_dir), progress)
    sampling = study.judge_sampling or Sampling(**REFERENCE, seed=study.seed)
    judgments = judged(session, judge, items, sampling=sampling, attempts=study.judge_attempts)
    met = {outcome: value for value, outcome in OUTCOME.items()}
    rows = [
        {
            "prompt_id": example.id,
            "criterion": criterion.text,
            "criteria_met": met[judgment.outcome],
            "judge": judge,
            "explanation": judgment.explanation,
            "attempts": judgment.attempts,
        }
        for (example, _), group in zip(items, judgments, strict=True)
        for criterion, judgment in zip(example.rubric, group, strict=True)
    ]
    text = written(rows).encode("utf-8")
    packed = gzip.compress(text, mtime=0) if files["verdicts"].suffix == ".gz" else text
    write_whole(files["verdicts"], lambda path: path.write_bytes(packed))
    return problems | {"failed": _named(failed)}
