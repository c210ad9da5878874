"""Grade what a user has saved: `medpsy grade answers` and `medpsy grade healthbench`.

Files are JSON lines, plain or gzipped. A malformed row is refused with file, row, field and fix; nothing is guessed. A
question without a response has failed, and a criterion without a judgment, with null, or with two that differ is
unjudged, never "not met": what the files do not say is missing, counted and named.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from medpsy import prompts, strict
from medpsy.data.healthbench import AXES, THEMES, to_conversation
from medpsy.data.questions import LETTERS, Conversation, Question
from medpsy.data.rows import DataError, Row, content, json_lines, written
from medpsy.engines import base
from medpsy.files import write_text
from medpsy.grading import rubric
from medpsy.grading.readers import BIASED, NO_GOLD, OUTCOMES, READERS, outcome, split, why_no_answer
from medpsy.grading.rubric import MET, NOT_MET, UNJUDGED
from medpsy.judge import judged
from medpsy.stats import proportion_margin
from medpsy.store import Progress, ResponseStore, Session
from medpsy.study import Study

FINISH_REASONS = base.FINISH_REASONS | {"content_filter": "stop"}
FINISH_REASONS |= dict.fromkeys(("failed", "error", "abort"), "failed")
NAMED = 5  # identifiers named in a summary
SHOWN = 40  # characters of a criterion in a message
PROBLEMS = strict.read(Path(__file__).with_name("grade.yaml"))


def _lettered(options: object) -> object:
    """Return the options of ``{"A": "first", "B": "second"}`` in order; whatever is no mapping as it is."""
    if not isinstance(options, dict):
        return options
    if sorted(options) != list(LETTERS[: len(options)]):
        raise ValueError(f"letters {', '.join(sorted(options))}: a gap, or no A to begin with; letter them A, B, C ...")
    return [options[letter] for letter in sorted(options)]


Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Identifier = Annotated[Word, BeforeValidator(lambda name: str(name) if type(name) is int else name)]
Option = Annotated[str, BeforeValidator(lambda text: str(text) if type(text) in (int, float) else text)]


class _Question(BaseModel, strict=True):
    id: Identifier
    question: str
    options: Annotated[list[Option], Field(min_length=2, max_length=len(LETTERS)), BeforeValidator(_lettered)]
    gold: int | None

    @field_validator("gold", mode="plain")
    @classmethod
    def _index(cls, gold: object, info: ValidationInfo) -> int | None:
        letters = LETTERS[: len(info.data.get("options", LETTERS))]
        if gold is None or (type(gold) is int and 0 <= gold < len(letters)):  # no isinstance: True is no number
            return gold
        if isinstance(gold, str) and (letter := gold.strip().upper()) in tuple(letters):
            return letters.index(letter)
        raise ValueError(
            f"it must be a letter A to {letters[-1]}, an index 0 to {len(letters) - 1} as a number, or null"
        )


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


def _rows(path: Path | str, what: str) -> list[Row]:
    rows = json_lines(content(Path(path)), Path(path).name)
    if not rows and what != "responses":  # none is an answer: all have failed
        raise DataError(f"{Path(path).name}: no {what} in this file; write one JSON object a line")
    return rows


def _by_id(path: Path | str, what: str, key: str, read: Callable[[Row], Any]) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for row in _rows(path, what):
        item = read(row)
        if items.setdefault(item.id, item) is not item:
            raise row.error(key, f"it is there already; give each of the {what} its own")
    return items


def load_questions(path: Path | str) -> dict[str, Question]:
    """Return the questions of a file, ``{id, question, options, gold}``, by id; a DataError names a malformed row."""
    given = _by_id(path, "questions", "id", lambda row: row.checked(_Question))
    return {q.id: Question(q.id, "own", "", q.question, tuple(q.options), q.gold, None, "own") for q in given.values()}


def load_examples(path: Path | str) -> dict[str, Conversation]:
    """Return the examples of a file in HealthBench's published schema by prompt id; a criterion needs no level."""
    return _by_id(path, "examples", "prompt_id", lambda row: to_conversation(row, "healthbench", levels=False))


def _responses(path: Path | str, model: type[_Response], asked: Collection[str]) -> tuple[dict, dict[str, Any]]:
    """Return (text, finish reason) of the first response to each of `asked` by id, and what is wrong with the rows."""
    given, wrong = {}, {"unknown_ids": [], "repeated_ids": [], "unknown_reasons": []}
    for row in _rows(path, "responses"):
        response = row.checked(model)
        word = response.finish_reason or ""
        reason = FINISH_REASONS.get(word.lower())
        if response.id not in asked:
            wrong["unknown_ids"].append(response.id)
        elif response.id in given:
            wrong["repeated_ids"].append(response.id)
        else:
            given[response.id] = (None if reason == "failed" else response.text, reason)
            wrong["unknown_reasons"] += [word] * (bool(word) and reason is None)
    wrong["missing"] = [name for name in asked if name not in given]
    return given, {name: _named(ids) for name, ids in wrong.items()}


def _named(identifiers: Iterable[str]) -> dict[str, Any]:
    names = list(identifiers)
    return {"count": len(names), "first": list(dict.fromkeys(names))[:NAMED]}


def printed_problems(summary: Mapping[str, Any]) -> list[str]:
    counted = {text: summary[name] for name, text in PROBLEMS.items() if summary.get(name, {}).get("count")}
    return [f"{text}: {problem['count']:,}, e.g. {'; '.join(problem['first'])}" for text, problem in counted.items()]


# Answers to questions with options.


def answers(
    questions: Path | str, responses: Path | str, *, reader: str = "lenient", opens_thinking: bool = False
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row per question of a file, as of `graded`, and the summary ``{accuracy, margin, outcomes, rows, ...}``.
    Accuracy is 100 x correct / questions with gold (None without any); its margin (95 %) covers the choice of
    questions. `outcomes` counts questions with gold; unknown, repeated and missing responses are counted and named.
    `reader` is one of `READERS`; `opens_thinking` says that the chat template opened the reasoning, so a response
    without its end marker is no answer. A ValueError names an unknown reader, or a malformed row (DataError: file, row,
    field, value and fix)."""
    if reader not in READERS:
        raise ValueError(f"no reader {reader!r}; {strict.nearest(reader, READERS)}")
    asked = load_questions(questions)
    given, problems = _responses(responses, _Response, asked)
    absent = (None, None)
    rows = [graded(asked[name], *given.get(name, absent), reader, opens_thinking) for name in asked]
    counts = Counter(row["outcome"] for row in rows)
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
    }
    return rows, summary | problems


def graded(
    question: Question, text: str | None, finish_reason: str | None, reader: str, opens_thinking: bool = False
) -> dict[str, Any]:
    """Return ``{id, chosen, gold, outcome, how}`` of one response: letters, one of `OUTCOMES` or "no gold", and where
    the choice stands or why there is none. A `text` of None is one that is missing or failed."""
    parts, reading, how = None, None, "failed"
    if text is not None:
        parts = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
        reading = None if parts.answer is None else READERS[reader](parts.answer, question)
        how = reading.how if reading else why_no_answer(parts, text)
    chosen, gold = (None if at is None else LETTERS[at] for at in (reading and reading.choice, question.gold))
    result = outcome(parts, reading, question, finish_reason)
    return {"id": question.id, "chosen": chosen, "gold": gold, "outcome": result, "how": how}


def printed_answers(summary: Mapping[str, Any]) -> str:
    total, reader = sum(summary["outcomes"].values()), summary["reader"]
    score = f"{summary['accuracy']:.2f} ± {summary['margin']:.2f} (95 %)" if total else "no question has a gold"
    lines = [f"accuracy {score}, {total:,} questions with gold, reader {reader}"]
    lines += [f"  {name}: {count:,}" for name, count in summary["outcomes"].items()]
    lines += [f"  without gold, not graded: {summary['without_gold']:,}"] * bool(summary["without_gold"])
    biased = [f"reader {reader} looks at the gold: this score is biased upwards"] * summary["biased"]
    return "\n".join(lines + printed_problems(summary) + biased)


# Verdicts on HealthBench criteria.

UNNAMED = "judge not named"
OUTCOME = {True: MET, False: NOT_MET, None: UNJUDGED}
MISSING, CONFLICTING = "missing", "conflicting"


def healthbench(examples: Path | str, verdicts: Path | str) -> dict[str, Any]:
    """Return the scores of a file of verdicts, ``{prompt_id, criterion, criteria_met, judge?}``, on a file of examples.
    The numbers of `medpsy.grading.rubric.scores` (shares, not rounded, null where nothing could be scored) overall, in
    ``themes``, ``axes`` and, where there are several, ``judges`` by name; ``examples``, ``criteria``, ``verdicts``;
    `PROBLEMS` as ``{count, first}``. Of several judges the scores are those of their plain mean (each example's score
    averaged over judges), counts are sums. A DataError names a malformed row."""
    asked = load_examples(examples)
    criteria = pd.DataFrame(
        {"conversation_id": example.id, "criterion": place, "theme": example.theme, **vars(criterion)}
        for example in asked.values()
        for place, criterion in enumerate(example.rubric)
    )
    given = pd.DataFrame([dict(row.checked(_Verdict)) for row in _rows(verdicts, "verdicts")], dtype=object)
    given["outcome"], given["judge"] = given["criteria_met"].map(OUTCOME), given["judge"].fillna(UNNAMED)
    places = pd.MultiIndex.from_frame(criteria[["conversation_id", "text"]])
    there = pd.MultiIndex.from_frame(given[["prompt_id", "criterion"]]).isin(places)
    stranger = ~given["prompt_id"].isin(asked)
    frame = _decided(criteria, given[there], given["judge"].unique())
    labels = frame["conversation_id"] + ", criterion " + (frame["criterion"] + 1).astype(str)
    strange = given[~there & ~stranger]
    together = frame.assign(run=frame["judge"]).drop(columns="judge")  # a mean over judges is one over runs
    judges = {judge: _scores(part) for judge, part in frame.groupby("judge", sort=False)}
    summary = {
        **_scores(together),
        "examples": len(asked),
        "criteria": len(criteria),
        "verdicts": len(given),
        "missing": _named(labels[frame["decided"] == MISSING]),
        "null": _named(labels[frame["decided"] == UNJUDGED]),
        "conflicting": _named(labels[frame["decided"] == CONFLICTING]),
        "unknown_ids": _named(given.loc[stranger, "prompt_id"]),
        "unknown_criteria": _named(strange["prompt_id"] + ": " + strange["criterion"].str[:SHOWN]),
    }
    return summary | ({"judges": judges} if len(judges) > 1 else {})


def _decided(criteria: pd.DataFrame, verdicts: pd.DataFrame, judges: Iterable[str]) -> pd.DataFrame:
    """Return a row per judge and criterion with its outcome. A text that a rubric holds several times has as many
    places: as many verdicts belong to them in order, and otherwise those that agree decide them all. Column ``decided``
    also says why a criterion is unjudged."""
    same = criteria.groupby(["conversation_id", "text"])
    criteria = criteria.assign(rank=same.cumcount(), places=same["text"].transform("size"))
    frame = pd.DataFrame({"judge": judges}).merge(criteria, how="cross")
    given = verdicts.groupby(["judge", "prompt_id", "criterion"])["outcome"].agg(list).to_dict()
    decided = []
    for row in frame.itertuples():
        outcomes = given.get((row.judge, row.conversation_id, row.text), [])
        agreed = CONFLICTING if len(set(outcomes)) > 1 else (outcomes or [MISSING])[0]
        decided.append(outcomes[row.rank] if len(outcomes) == row.places else agreed)
    frame = frame.assign(decided=decided)
    return frame.assign(outcome=frame["decided"].where(frame["decided"].isin([MET, NOT_MET]), UNJUDGED))


def _scores(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the overall numbers, and those of themes and axes by name; None for missing."""
    table = rubric.scores(frame).set_index("name")
    kinds = table.pop("kind")
    table = table.astype(object).where(table.notna(), None)
    parts = {name: table[kinds == kind].to_dict("index") for name, kind in (("themes", "theme"), ("axes", "axis"))}
    return {**table.loc[rubric.OVERALL], **parts}


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
    return "\n".join([*lines, *printed_problems(summary)])


# Where the profile does not say how a judge replies: as simple-evals' grader, whose sampler has these defaults.
REFERENCE = {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_tokens": 2048}


def judge_files(
    study: Study,
    judge: str,
    examples: Path,
    responses: Path,
    verdicts: Path,
    *,
    opens_thinking: bool = False,
    progress: Progress = None,
) -> dict[str, Any]:
    """Ask `judge`, a model of the study, about every criterion of every response (``{prompt_id, text,
    finish_reason?}``); write its verdicts, whole or not, and return what was wrong with the responses: `PROBLEMS` as
    ``{count, first}``. A ValueError says what cannot be: an unknown model, a malformed row, verdicts that are there
    already, or nothing to judge."""
    study.model(judge)
    if verdicts.suffix == ".gz":
        raise ValueError(f"{verdicts}: verdicts are written as plain JSONL; name a file without .gz")
    if verdicts.exists():
        raise ValueError(f"{verdicts} is there already; name a new file, or score it without --judge")
    asked = load_examples(examples)
    given, problems = _responses(responses, _Reply, asked)
    items = []
    for name, (text, reason) in given.items():
        if text is not None:
            answer = split(text, opens_thinking=opens_thinking, finish_reason=reason).answer
            items.append((asked[name], answer or ""))
    if not items:
        raise ValueError(f"{responses}: no response to any of the {len(asked)} examples; nothing to judge")
    session = Session(study, ResponseStore(study.store_dir), progress)
    sampling = study.judge_sampling or base.Sampling(**REFERENCE, seed=study.seed)
    judgments = judged(session, judge, items, sampling=sampling, template=prompts.grader(study))
    rows, met = [], {outcome: value for value, outcome in OUTCOME.items()}
    for (example, _), group in zip(items, judgments, strict=True):
        for criterion, judgment in zip(example.rubric, group, strict=True):
            row = {"prompt_id": example.id, "criterion": criterion.text, "criteria_met": met[judgment.outcome]}
            rows.append(row | {"judge": judge, "explanation": judgment.explanation, "attempts": judgment.attempts})
    write_text(verdicts, written(rows))
    return problems | {"failed": _named(name for name, (text, _) in given.items() if text is None)}
