"""How hard each question is for a checkpoint, by repeated attempts, and which questions a stage trains on.

Attempts come from the response store and are read by the reader of the reward (`medpsy.training.rewards`), so what
counts as right here is what earns its reward there. A request that failed is no attempt.
"""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from medpsy import prompts
from medpsy.benchmarks.question import Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.responses import ResponseStore
from medpsy.sessions import Session
from medpsy.study import Study
from medpsy.training.rewards import Reward, grade

EASY, MODERATE, DIFFICULT = "easy", "moderate", "difficult"
LEVELS = (EASY, MODERATE, DIFFICULT)  # report, table of difficulty levels in section 3.4
UNKNOWN = "unknown"  # every attempt failed; such a question is in no stage
WRONG_PER_RIGHT = 2  # report, RL stage 2: right-to-wrong ratio 1:2


def annotate(
    study: Study,
    model: str,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Sampling,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Let `model` attempt every question `attempts` times, as runs 0, 1, ... of the study's store.

    Returns:
        One row per question, in order: ``question_id``, ``right``, ``attempts`` (those with a response), ``level``
        (one of `LEVELS` or `UNKNOWN`), ``prompt_tokens``, and ``completion_tokens``: the mean of its attempts.

    Raises:
        ValueError: no questions or attempts, a question without gold, or an unknown model.
    """
    frame = pd.DataFrame({"question_id": [question.id for question in questions], "right": 0, "attempts": 0})
    frame["prompt_tokens"], frame["completion_tokens"] = 0, 0.0
    for answers, found in graded(study, model, questions, attempts=attempts, sampling=sampling, progress=progress):
        frame["right"] += pd.Series([one is not None and one.right for one in found], dtype=int)
        frame["prompt_tokens"] = answers["prompt_tokens"].to_numpy()
        frame["completion_tokens"] += answers["completion_tokens"].to_numpy() / attempts
        frame["attempts"] += (answers["finish_reason"] != "failed").to_numpy().astype(int)
    frame["level"] = [level(*counts) for counts in zip(frame["right"], frame["attempts"], strict=True)]
    return frame


def graded(
    study: Study,
    model: str,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Sampling,
    progress: Callable[[str], None] | None = None,
) -> Iterator[tuple[pd.DataFrame, list[Reward | None]]]:
    """Yield every attempt at `questions`, a run at a time: its rows of the store and what each earned, in their order.

    A request that failed has no reward. Arguments and errors as those of `annotate`.
    """
    spec = study.model(model)
    if attempts < 1 or not questions:
        raise ValueError(f"{attempts} attempts at {len(questions)} questions; give at least one of each")
    asked = [Prompt(f"{question.suite}/{question.id}", prompts.closed_ended(question)) for question in questions]
    session = Session(study, ResponseStore(study.store_dir), progress)
    session.fill(model, asked, range(attempts), sampling)
    for run in range(attempts):
        answers = session.answer(model, asked, run, sampling)
        cells = zip(answers["text"], answers["finish_reason"], questions, strict=True)
        yield answers, [_earned(*cell, opens_thinking=spec.opens_thinking) for cell in cells]


def _earned(text: str, reason: str, question: Question, *, opens_thinking: bool) -> Reward | None:
    if reason == "failed":
        return None
    return grade(text, question, opens_thinking=opens_thinking, finished=reason == "stop")


def level(right: int, attempts: int) -> str:
    """Return the level of a question that was answered right in `right` of `attempts` attempts."""
    if not attempts:
        return UNKNOWN
    return EASY if right == attempts else MODERATE if right else DIFFICULT


def stage1(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of stage 1: easy and moderate questions (report, RL stage 1).

    Raises:
        ValueError: there are none.
    """
    chosen = frame[frame["level"].isin([EASY, MODERATE])]
    if chosen.empty:
        raise ValueError(
            f"stage 1: none of {len(frame)} questions was ever answered right; train SFT further, or raise max_tokens"
        )
    return chosen.reset_index(drop=True)


def stage2(frame: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the rows of stage 2: every question that is still wrong, and half as many that are right, drawn by seed.

    Wrong means that no attempt was right, the report's "difficult"; right means all others. The report does not say
    so, but with N = 5 that is the reading that gives its 2K to 4K of 18K questions. Where fewer are right than asked
    for, all of them are taken; the counts of the levels tell.

    Raises:
        ValueError: nothing is wrong any more.
    """
    wrong = frame[frame["level"] == DIFFICULT]
    right = frame[frame["level"].isin([EASY, MODERATE])]
    if wrong.empty:
        raise ValueError(
            f"stage 2: none of {len(frame)} questions is still wrong in every attempt; there is nothing to enrich with"
        )
    taken = right.sample(n=min(len(right), len(wrong) // WRONG_PER_RIGHT), random_state=seed)
    return pd.concat([wrong, taken]).sort_index().reset_index(drop=True)
