"""The one place where open suite, engine and judge meet: which criteria of its rubric each response meets.

Refuses to fold outcomes together: a criterion is `met`, `not met` or `unjudged`. A response without an answer (cut off,
or reasoning to the end) is judged as the empty text, as the reference implementation of HealthBench does; one that
failed leaves its criteria unjudged. Computes no score; that is `medpsy.grading.rubric`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from medpsy import benchmarks, loaded, strict
from medpsy.benchmarks import OPEN_SUITES
from medpsy.benchmarks.conversation import Conversation, Criterion
from medpsy.engines.base import Prompt
from medpsy.grading.reasoning import split
from medpsy.grading.verdicts import UNJUDGED
from medpsy.judging import Judgement, judged
from medpsy.responses import ResponseStore
from medpsy.sessions import Session
from medpsy.study import Study

RESPONSE_FAILED = "response failed"
RESPONSE = ["suite", "conversation_id", "theme", "run", "key", "finish_reason", "completion_tokens", "seconds", "empty"]
CRITERION = ["criterion", "points", "axis", "outcome", "explanation", "reason", "attempts", "judge_key"]
COLUMNS = ["model", "judge", *RESPONSE, *CRITERION]


@dataclass(frozen=True)
class Answered:
    """One response; `answer` is the text without its reasoning, empty where none came, None where it failed."""

    model: str
    conversation: Conversation
    run: int
    key: str
    finish_reason: str
    completion_tokens: int
    seconds: float
    answer: str | None

    def row(self) -> dict[str, object]:
        """Return what every criterion's row repeats of the response."""
        asked = self.conversation
        own = {name: getattr(self, name) for name in ("run", "key", "finish_reason", "completion_tokens", "seconds")}
        about = {"model": self.model, "suite": asked.suite, "conversation_id": asked.id, "theme": asked.theme}
        return {**about, **own, "empty": self.answer == ""}


def open_ended(
    study: Study,
    models: Sequence[str],
    *,
    judges: Sequence[str] | None = None,
    suites: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Ask `models` the study's conversations in all its runs and have every criterion judged by each of `judges`.

    Responses and judges' replies come from the study's store; only missing ones are generated, each model's in one
    session of its engine.

    Args:
        judges: names of models; the study's by default.
        suites: keys of open suites; the study's by default.
        progress: called with a line of text every few seconds while a model works.

    Returns:
        One row per model, judge, suite, conversation, run and criterion; columns as in `COLUMNS`. ``criterion`` is the
        place in the rubric, ``explanation`` the judge's own, ``reason`` why a criterion is unjudged; ``key`` names the
        response and ``judge_key`` the judge's reply in the store (missing where the response failed); ``empty`` says
        that the response had no answer.
    """
    judges = study.judges if judges is None else judges
    _check_names(study, "models", models)
    _check_names(study, "judges", judges)
    if study.judge_sampling is None:
        raise ValueError(f"judge_sampling: params/{study.profile}/study.yaml says not how judges reply; add it")
    session = Session(study, ResponseStore(study.store_dir), progress)
    asked = [one for group in conversations(study, suites).values() for one in group.values()]
    answered = [one for name in models for one in _answers(session, name, asked)]
    return pd.concat([_by_judge(session, judge, answered) for judge in judges], ignore_index=True)


def conversations(study: Study, suites: Sequence[str] | None = None) -> dict[str, dict[str, Conversation]]:
    """Return the conversations the study asks, by suite and id."""
    chosen: dict[str, dict[str, Conversation]] = {}
    for key in study.open_suites if suites is None else suites:
        if key not in OPEN_SUITES:
            raise ValueError(f"open suite {key!r} is unknown; {strict.nearest(key, OPEN_SUITES)}")
        there = loaded.suite(study, key, benchmarks.load_conversations).conversations
        sampled = benchmarks.sample(there, study.conversations_per_suite, study.seed)
        chosen[key] = {conversation.id: conversation for conversation in sampled}
    if not chosen:
        raise ValueError(
            f"open_suites: params/{study.profile}/study.yaml names none; known are {', '.join(OPEN_SUITES)}"
        )
    return chosen


def _check_names(study: Study, key: str, names: Sequence[str]) -> None:
    for name in names:
        study.model(name)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{key}: {list(names)} must name each model once, and at least one")


def _answers(session: Session, name: str, asked: Sequence[Conversation]) -> Iterator[Answered]:
    """Yield the responses of one model, runs of a conversation together."""
    study, model = session.study, session.study.model(name)
    sampling = study.open_sampling or study.sampling
    wanted = [Prompt(f"{one.suite}/{one.id}", one.messages) for one in asked]
    session.fill(name, wanted, range(study.runs), sampling)
    frames = [session.answer(name, wanted, run, sampling) for run in range(study.runs)]
    for conversation, rows in zip(asked, zip(*(frame.itertuples() for frame in frames), strict=True), strict=True):
        for row in rows:
            cost = (row.finish_reason, row.completion_tokens, row.seconds)
            text = _answer(row.text, row.finish_reason, model.opens_thinking)
            yield Answered(name, conversation, row.run, row.key, *cost, text)


def _answer(text: str, finish_reason: str, opens_thinking: bool) -> str | None:
    if finish_reason == "failed":
        return None
    return split(text, opens_thinking=opens_thinking, finish_reason=finish_reason).answer or ""


def _by_judge(session: Session, judge: str, answered: Sequence[Answered]) -> pd.DataFrame:
    """Return the rows of one judge, in the order of the responses."""
    study, there = session.study, [one for one in answered if one.answer is not None]
    items = [(one.conversation, one.answer) for one in there]
    said = iter(judged(session, judge, items, sampling=study.judge_sampling, attempts=study.judge_attempts))
    rows = []
    for one in answered:
        rubric = one.conversation.rubric
        judgements = next(said) if one.answer is not None else (None,) * len(rubric)
        rows += [_criterion(place, *pair) for place, pair in enumerate(zip(rubric, judgements, strict=True))]
    about = pd.DataFrame([one.row() for one in answered])
    about = about.loc[about.index.repeat([len(one.conversation.rubric) for one in answered])].reset_index(drop=True)
    return pd.concat([about.assign(judge=judge), pd.DataFrame(rows, columns=CRITERION)], axis=1)[COLUMNS]


def _criterion(place: int, criterion: Criterion, judgement: Judgement | None) -> tuple:
    """Return the columns `CRITERION` of one row."""
    asked = (place, criterion.points, criterion.axis)
    if judgement is None:
        return (*asked, UNJUDGED, "", RESPONSE_FAILED, 0, None)
    verdict = judgement.verdict
    return (*asked, verdict.outcome, verdict.explanation, verdict.reason, judgement.attempts, judgement.key)
