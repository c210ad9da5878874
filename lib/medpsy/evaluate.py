"""Suites x models x runs: which option each model chose, and whether it is right.

Outcomes are never folded together: `correct`, `wrong`, `unreadable` (finished without a single option), `cut off` (hit
the token limit) and `failed` (no response, or no reading because the parser failed) stay five. Rules see the answer
alone; the parser sees what the study's `parser_sees` says. Scores are the work of `medpsy.scoring`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medpsy import prompts, strict
from medpsy.data.questions import Question, sample
from medpsy.data.rows import SuiteSpec
from medpsy.data.suites import EVERY, SUITES, Suite, load
from medpsy.engines.base import Prompt
from medpsy.engines.chat import tokenizer_of
from medpsy.grading.readers import LONGEST, READERS, Reading, Split, needs_model, outcome, read_reply, split
from medpsy.store import NotStored, Progress, ResponseStore, Session, replaying
from medpsy.study import ModelSpec, Study

COST = ["prompt_tokens", "reasoning_tokens", "completion_tokens", "finish_reason", "seconds"]
ASKED = ["model", "suite", "subject", "weight_group", "question_id", "run", "key", "gold"]
COLUMNS = [*ASKED, "chosen", "outcome", *COST, "how", "parser_key"]
LENGTHS = ["model", "suite", "item", "run", "key", "tokens", "reasoning", "answer", "cut_off", "outcome"]
PARSER, CASCADE = "parser", "cascade"
FIRST_RULE = "strict"  # of the cascade; ours: it reads only plain formats, so it leaves doubtful ones to the model
PARSER_FAILED = "parser failed"
AT_ONCE = 10_000  # responses whose text is held at a time
BATCH = 1000  # texts tokenized at a time; bounds the memory that their token ids take
Asked = Mapping[str, Mapping[str, Question]]  # by suite and id
Ask = Callable[[Asked], pd.DataFrame]
Variants = Callable[[Question], Iterable[Question]]


def closed_ended(
    study: Study, models: Sequence[str], *, variants: Variants | None = None, progress: Progress = None
) -> pd.DataFrame:
    """Ask `models` the study's questions in all its runs and grade what they chose, read by the study's parser.
    Responses come from the study's store; only missing ones are generated, each model's of a round in one session of
    its engine. `variants` returns what is asked in the place of a question, e.g. with its options in another order,
    each under an id of its own, by which it is seeded.
    Returns one row per model, question and run with `COLUMNS`: ``gold`` and ``chosen`` are indices into the options;
    ``outcome`` is one of the five, or ``"no gold"``; ``how`` says where the choice stood or why there is none."""
    check_models(study, models)
    session = Session(study, ResponseStore(study.store_dir), progress)

    def ask(asked: Asked) -> pd.DataFrame:
        for suite, group in asked.items() if variants else ():
            asked = {**asked, suite: {each.id: each for item in group.values() for each in variants(item)}}
        return answered(session, models, asked)

    return in_rounds(session, questions(study), ask)


def in_rounds(session: Session, asked: Asked, ask: Ask, nothing: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return what `ask` returns of all that is `asked`, by suite and id, after the study's rounds. Where only what is
    there so far is shown, that of the last round of which nothing is missing: a sample of every suite that the study's
    seed drew, whatever was answered first. Without one, return `nothing`, or raise NotStored."""
    study = session.study

    def part(group: Mapping[str, Question], number: int) -> dict[str, Question]:
        size = -(-len(group) * number // study.rounds)
        return {item.id: item for item in sample(tuple(group.values()), size, study.seed)}

    parts = [{key: part(asked[key], number) for key in asked} for number in range(1, study.rounds)]
    if study.so_far is None:
        for early in () if replaying() else parts:
            ask(early)
        return ask(asked)
    there, frame = {}, nothing
    for part in reversed(rounds := [*parts, asked]):
        with suppress(NotStored):
            there, frame = part, ask(part)
            break
    for suite, group in asked.items():  # of what a section asks of a suite in several ways, the least is told
        counts = len(there.get(suite, ())), len(group)
        study.so_far[suite] = min(counts, study.so_far.get(suite, counts), key=lambda pair: pair[0] / pair[1])
    if session.progress:
        session.progress(so_far_text(study.so_far))
    return ask(rounds[0]) if frame is None else frame  # the first says what is missing


def so_far_text(so_far: Mapping[str, Sequence[int]]) -> str:
    """Return in words how much of each suite, of all that is asked, is there so far."""
    counts = [f"{EVERY[suite].title} {there} of {asked}" for suite, (there, asked) in so_far.items()]
    return f"What all models here have answered so far: {', '.join(counts)}"


def answered(session: Session, models: Sequence[str], asked: Asked) -> pd.DataFrame:
    """Return what `closed_ended` does for the questions `asked`; engines of the session may stay open."""
    frames = [_responses(session, name, asked) for name in models]
    return _graded(session, pd.concat(frames, ignore_index=True), asked, PARSER)


def with_reader(study: Study, graded: pd.DataFrame, reader: str, *, progress: Progress = None) -> pd.DataFrame:
    """Return `graded` with ``chosen``, ``outcome`` and ``how`` by another reader of the same stored responses:
    ``"parser"``, ``"cascade"`` (a strict rule, then the parser for what it cannot read) or a rule of `READERS`."""
    if reader not in (readers := (PARSER, CASCADE, *READERS)):
        raise ValueError(f"reader {reader!r} is unknown; {strict.nearest(reader, readers)}")
    session = Session(study, ResponseStore(study.store_dir), progress)
    return _graded(session, graded, questions(study, list(graded["suite"].unique()), every=True), reader)


def questions(study: Study, suites: Sequence[str] | None = None, *, every: bool = False) -> Asked:
    """Return the questions the study asks (or `every` one there is), by suite and id."""
    return chosen(study, study.suites if suites is None else suites, SUITES, 0 if every else study.questions_per_suite)


def chosen(study: Study, keys: Sequence[str], specs: Mapping[str, SuiteSpec], size: int) -> dict[str, dict[str, Any]]:
    """Return by suite and id a sample of `size` (0: all) of each of the suites `keys`, drawn by the study's seed."""
    for key in keys:
        if key not in specs:
            raise ValueError(f"suite {key!r} is unknown; {strict.nearest(key, specs)}")
    return {key: {item.id: item for item in sample(suite(study, key).items, size, study.seed)} for key in keys}


def suite(study: Study, key: str) -> Suite:
    """Return suite `key` (or the RL set) from wherever `study` has it, read and checked once per process; a `DataError`
    names file, row and field of data that are not as published."""
    if study.source == "mini":
        return _suite("mini", key)
    folder, spec = study.data_dirs.get(key), EVERY[key]
    place = study.root / Path(folder).expanduser() if folder else None
    return _suite("hub", key, data_dir=place, revision=study.commit(spec.hub_id, spec.revision))


@cache
def _suite(source: str, key: str, **place: Any) -> Suite:
    if source == "mini":
        from medpsy.mini import suites  # late: no study of real suites needs the miniature

        return suites.suite(key)
    return load(key, **place)


def check_models(study: Study, names: Sequence[str], what: str = "models") -> None:
    """Refuse a name that the study does not know, and one that is there twice, before anything is asked."""
    for name in names:
        study.model(name)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what}: {list(names)} must name each model once, and at least one")


def _responses(session: Session, name: str, asked: Asked) -> pd.DataFrame:
    """Return one row per question and run of one model, with what it cost but not what it chose."""
    study, items = session.study, [question for group in asked.values() for question in group.values()]
    wanted = [Prompt(f"{item.suite}/{item.id}", prompts.closed_ended(item)) for item in items]
    about = [(item.suite, item.subject, item.weight_group, item.id, item.gold) for item in items]
    about = pd.DataFrame(about, columns=["suite", "subject", "weight_group", "question_id", "gold"])
    about = about.astype({"gold": "Int64"})
    frames = []
    for frame in session.ask(name, wanted, range(study.runs), study.sampling):  # one run's texts at a time
        frame["reasoning_tokens"] = reasoning_tokens(session.store, study.model(name), frame)
        frames.append(frame.drop(columns="text").join(about)[[*ASKED, *COST]])
    return pd.concat(frames, ignore_index=True)


def _graded(session: Session, frame: pd.DataFrame, asked: Asked, reader: str) -> pd.DataFrame:
    """Return `frame` with every answer read by `reader` and every response's outcome."""
    frame, about = frame.reset_index(drop=True), []
    for name, ident in zip(frame["suite"], frame["question_id"], strict=True):
        if ident not in asked[name]:
            raise ValueError(f"{name}: question {ident!r} is not in the suite as it is now; grade with closed_ended")
        about.append(asked[name][ident])
    thinking = session.study.parser_sees == "response" and reader in (PARSER, CASCADE)
    parts = _parts(session, frame, thinking)
    answered = [at for at, part in enumerate(parts) if part and part.answer is not None]
    items, reasoning = [(about[at], parts[at].answer) for at in answered], [parts[at].reasoning for at in answered]
    readings = dict(zip(answered, read(session, items, reader, reasoning if thinking else None), strict=True))
    rows = []
    for at, (part, question, reason) in enumerate(zip(parts, about, frame["finish_reason"], strict=True)):
        reading = readings.get(at) or Reading(None, part.state if part else "failed")
        if reading.how == PARSER_FAILED:  # which leaves a response ungraded and is no fault of it
            part = None
        rows.append((reading.choice, outcome(part, readings.get(at), question, reason), reading.how, reading.key))
    columns = pd.DataFrame(rows, columns=["chosen", "outcome", "how", "parser_key"]).astype({"chosen": "Int64"})
    return frame.assign(**columns)[COLUMNS]


def _parts(session: Session, frame: pd.DataFrame, thinking: bool) -> list[Split | None]:
    """Return each response split, or None where there is none; what nobody reads of its reasoning goes on the way."""
    parts: dict[int, Split | None] = {}
    for name, rows in frame.groupby("model", sort=False):
        model = session.study.model(name)
        for start in range(0, len(rows), AT_ONCE):
            some = rows.iloc[start : start + AT_ONCE]
            texts = session.store.lookup(list(some["key"]), ["text", "finish_reason"], model=model)
            for at, part, reason in zip(some.index, _splits(texts, model), texts["finish_reason"], strict=True):
                shown = part.reasoning[-LONGEST:] if thinking else ""
                parts[at] = None if reason == "failed" else replace(part, reasoning=shown)
    return [parts[at] for at in frame.index]


def _splits(frame: pd.DataFrame, model: ModelSpec) -> list[Split]:
    pairs = zip(frame["text"], frame["finish_reason"], strict=True)
    return [split(text, opens_thinking=model.opens_thinking, finish_reason=reason) for text, reason in pairs]


# Reading: the parser model, a rule, or a rule before the model.


def read(
    session: Session, items: Sequence[tuple[Question, str]], reader: str, reasoning: Sequence[str] | None = None
) -> list[Reading]:
    """Return the reading of each (question, answer) by `reader`: ``"parser"``, ``"cascade"`` or a rule's name. A parser
    that failed yields no choice, never a wrong one; it sees `reasoning` (None: nothing) before each answer."""
    readings = [None] * len(items)
    if reader != PARSER:
        rule = READERS[FIRST_RULE if reader == CASCADE else reader]
        readings = [rule(answer, question) for question, answer in items]
    if reader in (PARSER, CASCADE):
        left = [at for at, reading in enumerate(readings) if reading is None or needs_model(reading)]
        before = [f"{thought}\n\n" if thought else "" for thought in reasoning or [""] * len(items)]
        shown = [(items[at][0], before[at] + items[at][1]) for at in left]
        for at, reading in zip(left, _by_parser(session, shown), strict=True):
            readings[at] = reading
    return readings


def _by_parser(session: Session, items: Sequence[tuple[Question, str]]) -> list[Reading]:
    """Ask the study's parser; the same question with the same answer is one request, whoever gave the answer."""
    study, asked = session.study, []
    for question, answer in items:  # of which the parser sees the end, where it settles
        digest = hashlib.sha256(answer.encode("utf-8", "replace")).hexdigest()[:16]
        messages = prompts.parser(question, answer[-LONGEST:])
        asked.append(Prompt(f"{question.suite}/{question.id}/{digest}", messages))
    (frame,) = session.ask(study.parser, asked, (0,), study.parser_sampling)
    parts = _splits(frame, study.model(study.parser))
    replies = {row.prompt_id: (row, part) for row, part in zip(frame.itertuples(), parts, strict=True)}
    readings = []
    for prompt, (question, _) in zip(asked, items, strict=True):
        reply, part = replies[prompt.id]
        reading = Reading(None, PARSER_FAILED)
        if reply.finish_reason != "failed":
            unread = Reading(None, f"parser {part.state}")
            reading = unread if part.answer is None else read_reply(part.answer, question)
        readings.append(replace(reading, key=reply.key))
    return readings


# Lengths, in tokens of the model that wrote.


def lengths(study: Study, graded: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the length of every response of `graded` and `judged` that did not fail: a row with `LENGTHS` each.
    ``tokens`` were counted as they were generated; ``reasoning`` ends at the end marker and ``answer`` is all the rest
    (both missing for models behind an endpoint); ``cut_off`` says that the response hit the token limit; ``outcome`` is
    missing for conversations."""
    store, frames = ResponseStore(study.store_dir), [graded.rename(columns={"question_id": "item"})]
    talks = judged.drop_duplicates(["model", "suite", "key"]).rename(columns={"conversation_id": "item"})
    for name, rows in talks.drop(columns="outcome", errors="ignore").groupby("model", sort=False):
        model = study.model(str(name))
        rows, texts = rows.reset_index(drop=True), store.lookup(list(rows["key"]), model=model)["text"]
        frames.append(rows.assign(reasoning_tokens=reasoning_tokens(store, model, rows.assign(text=texts))))
    rows = pd.concat(frames, ignore_index=True)
    rows = rows[rows["finish_reason"] != "failed"].reset_index(drop=True)
    tokens, reasoning = (rows[f"{kind}_tokens"].astype("Float64").astype(float) for kind in ("completion", "reasoning"))
    cut_off = rows["finish_reason"] == "length"
    return rows.assign(tokens=tokens, reasoning=reasoning, answer=tokens - reasoning, cut_off=cut_off)[LENGTHS]


def reasoning_tokens(store: ResponseStore, model: ModelSpec, frame: pd.DataFrame) -> pd.array:
    """Return the tokens of each response's reasoning, all of `model`; missing where an endpoint hides the tokenizer.
    Written again as text, reasoning may have other tokens than were generated, but never more than the whole response.
    The numbers are kept in `store`, so that a replay needs no tokenizer."""
    if model.base_url:
        return pd.array([None] * len(frame), dtype="Int64")
    parts, whole = _splits(frame, model), frame["completion_tokens"].to_numpy()
    start = store.fingerprint(model).encode()
    texts = {at: part.reasoning for at, part in enumerate(parts) if part.answer is not None and part.reasoning}
    keys, rows = [hashlib.sha256(start + text.encode()).hexdigest() for text in texts.values()], list(texts)
    counted = np.where([part.answer is None for part in parts], whole, 0)  # without an answer, all of it is reasoning
    counted[rows] = store.counts(
        "reasoning_tokens", keys, lambda missing: count_tokens(model, [texts[rows[at]] for at in missing])
    )
    return pd.array(np.minimum(counted, whole), dtype="Int64")


def count_tokens(model: ModelSpec, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text by the model's own tokenizer, special tokens of a chat not counted."""
    tokenizer, numbers = tokenizer_of(model), []
    for start in range(0, len(texts), BATCH):
        numbers += map(len, tokenizer(list(texts[start : start + BATCH]), add_special_tokens=False)["input_ids"])
    return numbers
