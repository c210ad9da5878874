"""Conversations x models x judges: which criteria of its rubric each response meets.

Outcomes are never folded together: a criterion is `met`, `not met` or `unjudged`, and never "not met" for want of a
clear judgment: with negative criteria that would raise a score. A judge sees the answer alone, never the reasoning. A
response without an answer (cut off, or reasoning to the end) is judged as the empty text, as the reference
implementation of HealthBench does; one that failed leaves its criteria unjudged. Scores are those of
`medpsy.grading.rubric`.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, zip_longest

import pandas as pd

from medpsy import prompts
from medpsy.data.questions import Conversation, Criterion
from medpsy.data.suites import OPEN_SUITES, PHYSICIANS
from medpsy.engines.base import Prompt, Sampling
from medpsy.evaluate import check_models, chosen, in_rounds
from medpsy.grading.readers import split
from medpsy.grading.rubric import MET, NOT_MET, UNJUDGED
from medpsy.stats import cohen_kappa, fleiss_kappa
from medpsy.store import Progress, ResponseStore, Session
from medpsy.study import Study

RESPONSE_FAILED, FAILED = "response failed", "judge failed"
RESPONSE = ["suite", "conversation_id", "theme", "run", "key", "finish_reason", "completion_tokens", "seconds", "empty"]
CRITERION = ["criterion", "points", "axis", "outcome", "explanation", "reason", "attempts", "judge_key"]
COLUMNS = ["model", "judge", *RESPONSE, *CRITERION]
SAME_RESPONSE = ["model", "suite", "run", "conversation_id", "criterion"]
TOGETHER = 16  # responses whose criteria are asked in turn, as many as a small server has slots
Names = Sequence[str] | None  # None: those of the study


@dataclass(frozen=True)
class Judgment:
    outcome: str  # "met", "not met" or "unjudged"
    explanation: str = ""
    reason: str | None = None  # why the criterion is unjudged
    attempts: int = 0  # how often the judge was asked; not at all about a response that failed
    key: str | None = None  # of the reply it was read from, in the store


def open_ended(
    study: Study, models: Sequence[str], *, judges: Names = None, suites: Names = None, progress: Progress = None
) -> pd.DataFrame:
    """Ask `models` the study's conversations in all its runs and have every criterion judged by each of `judges`.
    Responses and judges' replies come from the study's store; only missing ones are generated. Judges and suites are
    the study's by default. Returns one row per model, judge, suite, conversation, run and criterion with `COLUMNS`:
    ``criterion`` is the place in the rubric; ``key`` names the response and ``judge_key`` the judge's reply in the
    store (missing where the response failed); ``empty`` says that the response had no answer; the others are of
    `Judgment`."""
    judges = study.judges if judges is None else judges
    check_models(study, models)
    check_models(study, judges, "judges")
    study.judging()  # a study that does not say it is refused before anything is asked,
    template = prompts.grader(study)  # and one whose prompt is not there
    session = Session(study, ResponseStore(study.store_dir), progress)

    def ask(asked: Mapping[str, Mapping[str, Conversation]]) -> pd.DataFrame:
        every = [conversation for group in asked.values() for conversation in group.values()]
        answered = [row for name in models for row in _answers(session, name, every)]
        return pd.concat([_by_judge(session, judge, answered, template) for judge in judges], ignore_index=True)

    return in_rounds(session, conversations(study, suites), ask, pd.DataFrame(columns=COLUMNS))


def against_physicians(study: Study, size: int, progress: Progress = None) -> pd.DataFrame:
    """Have each judge of the study decide `size` criteria (0: all) that physicians have decided. Returns one row per
    judge and criterion: ``judge``, ``item``, ``theme``, ``outcome``, and ``labels``, a bool of each physician."""
    session = Session(study, ResponseStore(study.store_dir), progress)
    how = {"sampling": study.judging(), "template": prompts.grader(study)}
    items = list(chosen(study, [PHYSICIANS.key], {PHYSICIANS.key: PHYSICIANS}, size)[PHYSICIANS.key].values())
    asked, rows = [(item.conversation, item.answer) for item in items], []
    for name in study.judges:
        for item, (judgment,) in zip(items, judged(session, name, asked, **how), strict=True):
            rows.append((name, item.id, item.conversation.theme, judgment.outcome, item.labels))
    return pd.DataFrame(rows, columns=["judge", "item", "theme", "outcome", "labels"])


def conversations(study: Study, suites: Names = None) -> dict[str, dict[str, Conversation]]:
    """Return the conversations the study asks, by suite and id."""
    if not (keys := study.open_suites if suites is None else suites):
        raise ValueError(f"open_suites: {study.file} names none; known are {', '.join(OPEN_SUITES)}")
    return chosen(study, keys, OPEN_SUITES, study.conversations_per_suite)


Items = Sequence[tuple[Conversation, str]]
Answered = tuple[tuple, Conversation, str | None]  # a response's model and `RESPONSE`, what it answers, its answer


def _answers(session: Session, name: str, asked: Sequence[Conversation]) -> Iterator[Answered]:
    """Yield the responses of one model, runs of a conversation together; None is the answer of one that failed."""
    study, opens = session.study, session.study.model(name).opens_thinking
    sampling = study.open_sampling or study.sampling
    wanted = [Prompt(f"{item.suite}/{item.id}", item.messages) for item in asked]
    frames = session.ask(name, wanted, range(study.runs), sampling)
    for conversation, rows in zip(asked, zip(*(frame.itertuples() for frame in frames), strict=True), strict=True):
        about = (name, conversation.suite, conversation.id, conversation.theme)
        for row in rows:
            answer = None
            if row.finish_reason != "failed":
                answer = split(row.text, opens_thinking=opens, finish_reason=row.finish_reason).answer or ""
            cost = (row.run, row.key, row.finish_reason, row.completion_tokens, row.seconds)
            yield (*about, *cost, answer == ""), conversation, answer


def _by_judge(session: Session, judge: str, answered: Sequence[Answered], template: str | None) -> pd.DataFrame:
    items = [(conversation, answer) for _, conversation, answer in answered if answer is not None]
    given = iter(judged(session, judge, items, sampling=session.study.judging(), template=template))
    failed = Judgment(UNJUDGED, reason=RESPONSE_FAILED)
    rows = []
    for about, conversation, answer in answered:
        judgments = (failed,) * len(conversation.rubric) if answer is None else next(given)
        for place, (criterion, judgment) in enumerate(zip(conversation.rubric, judgments, strict=True)):
            rows.append((*about, place, criterion.points, criterion.axis, *vars(judgment).values()))
    return pd.DataFrame(rows, columns=["model", *RESPONSE, *CRITERION]).assign(judge=judge)[COLUMNS]


# Asking: one request per criterion, asked again a few times at most.


def judged(
    session: Session, judge: str, items: Items, *, sampling: Sampling, attempts: int = 0, template: str | None = None
) -> list[tuple[Judgment, ...]]:
    """Return the judgments of `judge` on every criterion of each (conversation, answer), in rubric order. The same
    criterion of the same conversation and answer is one request, whoever gave the answer. A failed or unreadable reply
    is asked again with the next seed, `attempts` times in all at most, by default as often as the study says; a greedy
    judge would repeat itself, so of its replies only the failed ones are. All replies are kept in the session's store.
    `template` is that of the prompt, by default ours."""
    asked = [[_prompt(*item, criterion, template) for criterion in item[0].rubric] for item in items]
    # the first criterion of `TOGETHER` responses, then the second, ...: all prompts of a response begin alike, so that
    # each finds in its slot what the one before has left there
    rounds = (zip_longest(*asked[start : start + TOGETHER]) for start in range(0, len(asked), TOGETHER))
    in_turn = (prompt for group in rounds for round_ in group for prompt in round_ if prompt is not None)
    waiting = {prompt.id: prompt for prompt in in_turn}
    judgments, opens = {}, session.study.model(judge).opens_thinking
    for attempt in range(1, (attempts or session.study.judge_attempts) + 1):
        prompts_left, seeded = list(waiting.values()), replace(sampling, seed=sampling.seed + attempt - 1)
        (replies,) = session.ask(judge, prompts_left, (0,), seeded)
        for row in replies.itertuples():
            judgment = _unjudged(FAILED)
            if row.finish_reason != "failed":
                part = split(row.text, opens_thinking=opens, finish_reason=row.finish_reason)
                judgment = _unjudged(f"judge {part.state}") if part.answer is None else read_judgment(part.answer)
            judgments[row.prompt_id] = replace(judgment, attempts=attempt, key=row.key)
            if judgment.outcome != UNJUDGED or not (sampling.temperature > 0 or judgment.reason == FAILED):
                del waiting[row.prompt_id]
        if not waiting:
            break
    return [tuple(judgments[prompt.id] for prompt in group) for group in asked]


def _prompt(conversation: Conversation, answer: str, criterion: Criterion, template: str | None) -> Prompt:
    messages = prompts.judge(conversation, answer, criterion, template)
    digest = hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:16]
    return Prompt(f"{conversation.suite}/{conversation.id}/{digest}", messages)


# Reading: a judge is asked for a JSON object with `explanation` and `criteria_met` (`medpsy.prompts.judge`). Nothing is
# guessed: whatever is not one clear judgment is unjudged, with the reason.

KEY = "criteria_met"
NO_OBJECT, NO_KEY, BROKEN = "no JSON object", f"no {KEY}", "broken JSON"
NEITHER = f"{KEY} is neither true nor false"
CONFLICT = "conflicting verdicts"

_OBJECT = re.compile(r"\{\s*(?:\"|\})")  # how JSON objects begin; braces in prose rarely do
# What follows a backslash in JSON. Judges also write "\$5" and "\mu", whose backslash then stands for itself.
_BACKSLASH = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')
# A judge may write the value as text. The two words say what they say; taken for truthy, "false" would be met.
_WORDS = {"true": MET, "false": NOT_MET}


class _Conflict(ValueError):
    """A reply says two different things under one key."""


def _unjudged(reason: str) -> Judgment:
    return Judgment(UNJUDGED, "", reason)


def read_judgment(text: str) -> Judgment:
    """Return the judgment in `text`, which may hold chatter, a code fence, wrappers or several objects that agree. An
    object that is cut off, or broken in any other way, makes the whole reply unreadable: what stands inside it may be a
    quotation."""
    try:
        objects = _objects(text)
        judgments = list(_judgments(objects))
        if len({judgment.outcome for judgment in judgments}) > 1:
            raise _Conflict
    except _Conflict:
        return _unjudged(CONFLICT)
    except (ValueError, RecursionError):  # malformed, a number too long to convert, or nested without end
        return _unjudged(BROKEN)
    return judgments[0] if judgments else _unjudged(NO_KEY if objects else NO_OBJECT)


def _objects(text: str) -> list[dict]:
    """Return the JSON objects in `text` that are in no other object."""
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_mapping)  # not strict: line breaks inside texts
    text = _BACKSLASH.sub(lambda match: match[0] if match[1] else r"\\", text)
    objects, at = [], 0
    while begin := _OBJECT.search(text, at):
        value, at = decoder.raw_decode(text, begin.start())
        objects.append(value)
    return objects


def _mapping(pairs: list[tuple[str, object]]) -> dict:
    together = dict(pairs)
    if any(value != together[key] for key, value in pairs if key == KEY):
        raise _Conflict
    return together


def _judgments(value: object) -> Iterator[Judgment]:
    """Yield the judgment of an object, or where it has none those of what it wraps: ``{"result": {...}}``, a call of a
    tool, whose arguments may be JSON inside a text. Any other text may quote one, and is not looked into."""
    if isinstance(value, dict) and KEY in value:
        met, explanation = value[KEY], value.get("explanation")
        outcome = _WORDS.get(str(met).strip().lower()) if isinstance(met, bool | str) else None
        shown = explanation if outcome and isinstance(explanation, str) else ""
        yield Judgment(outcome, shown) if outcome else _unjudged(NEITHER)
    elif isinstance(value, dict | list):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in named:
            yield from _judgments(_objects(inner) if name == "arguments" and isinstance(inner, str) else inner)


# Agreement of a panel. A criterion that a judge left unjudged is missing for that judge, never a "not met".


def _by_judges(frame: pd.DataFrame) -> pd.DataFrame:
    """Return outcomes with one row per criterion of a response and one column per judge, missing where unjudged."""
    wide = frame.pivot(index=SAME_RESPONSE, columns="judge", values="outcome")[list(frame["judge"].unique())]
    return wide.astype(object).mask(wide == UNJUDGED)


def pairwise_agreement(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the agreement of each pair of judges on criteria that both judged: ``first``, ``second``, ``criteria``,
    ``same`` (per cent with one outcome), ``kappa`` (Cohen's; missing where chance alone explains all)."""
    wide, rows = _by_judges(frame), []
    for first, second in combinations(wide.columns, 2):
        pair = wide[[first, second]].dropna()
        same = 100 * (pair[first] == pair[second]).mean()
        rows.append((first, second, len(pair), same, cohen_kappa(pair[first], pair[second])))
    return pd.DataFrame(rows, columns=["first", "second", "criteria", "same", "kappa"])


def panel_kappa(frame: pd.DataFrame) -> float:
    """Return Fleiss' kappa of all judges, over the criteria that all of them judged; NaN of one judge alone."""
    wide = _by_judges(frame)
    return fleiss_kappa(wide) if len(wide.columns) > 1 else float("nan")
