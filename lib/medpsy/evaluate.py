"""The one place where suite, engine and reader meet: which option each model chose, and whether it is right.

Refuses to fold outcomes together: `correct`, `wrong`, `unreadable` (finished without a single option), `cut off` (hit
the token limit) and `failed` (no response, or no reading because the parser failed) stay five. Computes no margin.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from medpsy import benchmarks, loaded, prompts, strict, tokens
from medpsy.benchmarks import SUITES
from medpsy.benchmarks.question import Question
from medpsy.engines.base import Prompt
from medpsy.grading.outcomes import outcome
from medpsy.grading.reasoning import Split, split
from medpsy.readings import PARSER, PARSER_FAILED, Read, check_reader, read
from medpsy.responses import ResponseStore
from medpsy.scoring import scores
from medpsy.sessions import Session
from medpsy.study import ModelSpec, Study

__all__ = ["closed_ended", "questions", "reasoning_tokens", "scores", "with_reader"]

ASKED = ["model", "suite", "subject", "weight_group", "question_id", "run", "key", "gold"]
COST = ["prompt_tokens", "reasoning_tokens", "completion_tokens", "finish_reason", "seconds"]
COLUMNS = [*ASKED, "chosen", "outcome", *COST, "how", "parser_key"]
AT_ONCE = 10_000  # responses whose text is held at a time


def closed_ended(
    study: Study,
    models: Sequence[str],
    *,
    suites: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Ask `models` the study's questions in all its runs and grade what they chose, read by the study's parser.

    Responses come from the study's store; only missing ones are generated, each model's in one session of its engine.

    Args:
        suites: keys of suites; all of the study's by default.
        progress: called with a line of text every few seconds while a model works.

    Returns:
        One row per model, question and run; columns as in `COLUMNS`. ``gold`` and ``chosen`` are indices into the
        options; ``outcome`` is one of the five, or ``"no gold"`` for a question without a key; ``how`` says where the
        choice stood or why there is none; ``reasoning_tokens`` is missing for models behind an endpoint.
    """
    _check_models(study, models)
    session = Session(study, ResponseStore(study.store_dir), progress)
    asked = questions(study, suites)
    frames = [_responses(session, name, asked) for name in models]
    return _graded(session, pd.concat(frames, ignore_index=True), asked, PARSER)


def with_reader(
    study: Study, graded: pd.DataFrame, reader: str, *, progress: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """Return `graded` with ``chosen``, ``outcome`` and ``how`` by another reader of the same stored responses.

    Args:
        reader: ``"parser"``, ``"cascade"`` (a strict rule first, the parser for what it cannot read) or a rule of
            `medpsy.grading.readers.READERS`.
    """
    check_reader(reader)
    session = Session(study, ResponseStore(study.store_dir), progress)
    return _graded(session, graded, questions(study, list(graded["suite"].unique()), every=True), reader)


def questions(
    study: Study, suites: Sequence[str] | None = None, *, every: bool = False
) -> dict[str, dict[str, Question]]:
    """Return the questions the study asks (or `every` one there is), by suite and id."""
    chosen: dict[str, dict[str, Question]] = {}
    for key in study.suites if suites is None else suites:
        if key not in SUITES:
            raise ValueError(f"suite {key!r} is unknown; {strict.nearest(key, SUITES)}")
        there = loaded.suite(study, key, benchmarks.load_suite).questions
        size = 0 if every else study.questions_per_suite
        chosen[key] = {question.id: question for question in benchmarks.sample(there, size, study.seed)}
    return chosen


def _check_models(study: Study, models: Sequence[str]) -> None:
    for name in models:
        study.model(name)
    if not models or len(set(models)) < len(models):
        raise ValueError(f"models: {list(models)} must name each model once, and at least one")


def _responses(session: Session, name: str, asked: dict[str, dict[str, Question]]) -> pd.DataFrame:
    """Return one row per question and run of one model, with what it cost but not what it chose."""
    study, every = session.study, [one for group in asked.values() for one in group.values()]
    wanted = [Prompt(f"{one.suite}/{one.id}", prompts.closed_ended(one)) for one in every]
    session.fill(name, wanted, range(study.runs), study.sampling)
    known = [(one.suite, one.subject, one.weight_group, one.id, one.gold) for one in every]
    about = pd.DataFrame(known, columns=["suite", "subject", "weight_group", "question_id", "gold"])
    frames = []
    for run in range(study.runs):  # one run's texts at a time
        frame = session.answer(name, wanted, run, study.sampling)
        frame["reasoning_tokens"] = reasoning_tokens(session.store, study.model(name), frame)
        frames.append(pd.concat([frame.drop(columns="text"), about.astype({"gold": "Int64"})], axis=1)[[*ASKED, *COST]])
    return pd.concat(frames, ignore_index=True)


def reasoning_tokens(store: ResponseStore, model: ModelSpec, frame: pd.DataFrame) -> pd.array:
    """Return the tokens of each response's reasoning; missing where an endpoint hides the tokenizer.

    Args:
        frame: columns ``text``, ``finish_reason``, ``completion_tokens``, all of `model`.

    Written again as text, reasoning may have other tokens than were generated, but never more than the whole response.
    """
    if model.base_url:
        return pd.array([None] * len(frame), dtype="Int64")
    parts = _splits(frame, model)
    texts = [part.reasoning if part.answer is not None else "" for part in parts]
    counted = tokens.counted(store, model, texts)
    whole = frame["completion_tokens"].to_numpy()
    nothing_else = np.array([part.answer is None for part in parts], dtype=bool)
    return pd.array(np.where(nothing_else, whole, np.minimum(counted, whole)), dtype="Int64")


def _splits(frame: pd.DataFrame, model: ModelSpec) -> list[Split]:
    pairs = zip(frame["text"], frame["finish_reason"], strict=True)
    return [split(text, opens_thinking=model.opens_thinking, finish_reason=reason) for text, reason in pairs]


def _graded(session: Session, frame: pd.DataFrame, asked: dict[str, dict[str, Question]], reader: str) -> pd.DataFrame:
    """Return `frame` with every answer read by `reader` and every response's outcome."""
    frame = frame.reset_index(drop=True)
    about = [_question(asked, *names) for names in zip(frame["suite"], frame["question_id"], strict=True)]
    parts = _parts(session, frame)
    answers = [part.answer if part else None for part in parts]
    items = [(question, answer) for question, answer in zip(about, answers, strict=True) if answer is not None]
    reads = iter(read(session, items, reader))
    got = [None if answer is None else next(reads) for answer in answers]
    rows = zip(parts, got, about, frame["finish_reason"], strict=True)
    return frame.assign(
        chosen=pd.array([one.reading.choice if one else None for one in got], dtype="Int64"),
        outcome=[_outcome(*row) for row in rows],
        how=[
            one.reading.how if one else part.state if part else "failed" for part, one in zip(parts, got, strict=True)
        ],
        parser_key=[one.parser_key if one else None for one in got],
    )[COLUMNS]


def _question(asked: dict[str, dict[str, Question]], suite: str, ident: str) -> Question:
    if ident not in asked[suite]:
        raise ValueError(f"{suite}: question {ident!r} is not in the suite as it is now; grade again with closed_ended")
    return asked[suite][ident]


def _parts(session: Session, frame: pd.DataFrame) -> list[Split | None]:
    """Return each response split, its reasoning dropped, or None where there is none; some thousands at a time."""
    found: dict[int, Split | None] = {}
    for name, rows in frame.groupby("model", sort=False):
        model = session.study.model(name)
        for start in range(0, len(rows), AT_ONCE):
            part = rows.iloc[start : start + AT_ONCE]
            texts = session.store.lookup(list(part["key"]), ["text", "finish_reason"], model=model)
            failed = texts["finish_reason"] == "failed"
            for at, one, gone in zip(part.index, _splits(texts, model), failed, strict=True):
                found[at] = None if gone else Split("", one.answer, one.state)
    return [found[at] for at in frame.index]


def _outcome(part: Split | None, got: Read | None, question: Question, finish_reason: str) -> str:
    """Return the outcome; a parser that failed leaves a response ungraded, which is no fault of the response."""
    if got and got.reading.how == PARSER_FAILED:
        return outcome(None, None, question, "failed")
    return outcome(part, got.reading if got else None, question, finish_reason)
