"""What models make of questions that no training asked: open ones with a judge's reward, closed-ended ones by rules.

The judge sees what it sees in training (`medpsy.training.judge_reward`), so the reward is the same one, on questions
that were never trained on. A conclusion without a verdict has no reward; it is missing, not 0.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product

import pandas as pd

from medpsy.benchmarks.question import Question
from medpsy.engines.base import Prompt
from medpsy.judging import judged
from medpsy.recipes.form import form
from medpsy.recipes.methods import as_open
from medpsy.recipes.open_set import OpenQuestion
from medpsy.responses import ResponseStore
from medpsy.sessions import Session
from medpsy.study import Study
from medpsy.training import difficulty
from medpsy.training.judge_reward import Ask, conversation, earned
from medpsy.training.judge_settings import Judge

Say = Callable[[str], None] | None
OPEN = "open"  # what the store calls the suite of these questions
COLUMNS = ["model", "run", "text", "finish_reason", "completion_tokens", "key"]


def open_answers(
    study: Study,
    models: Sequence[str],
    questions: Mapping[str, Sequence[OpenQuestion]],
    *,
    runs: int,
    longest: int,
    progress: Say = None,
) -> pd.DataFrame:
    """Let `models` answer open questions, as the study's conversations are answered.

    Args:
        questions: configuration, which is to say language -> questions.
        longest: characters of a conclusion that still counts as concise.

    Returns:
        One row per model, configuration, run and question: `COLUMNS`, ``question_id``, ``config``, and ``form``, one of
        `medpsy.recipes.form.FORMS`.
    """
    session, frames = Session(study, ResponseStore(study.store_dir), progress), []
    how = study.open_sampling or study.sampling
    asked = {
        one["id"]: Prompt(f"{OPEN}/{one['id']}", tuple(one["prompt"])) for some in questions.values() for one in some
    }
    for model in models:
        session.fill(model, list(asked.values()), range(runs), how)
        for config, run in product(questions, range(runs)):
            names = [one["id"] for one in questions[config]]
            frame = session.answer(model, [asked[name] for name in names], run, how)[COLUMNS]
            frames.append(frame.assign(question_id=names, config=config))
    found = pd.concat(frames, ignore_index=True)
    opens = {model: study.model(model).opens_thinking for model in models}
    cells = zip(found["text"], found["finish_reason"], found["model"], strict=True)
    forms = [form(text, why, opens_thinking=opens[name], longest=longest) for text, why, name in cells]
    return found.assign(form=forms)


def rewarded(
    study: Study, answers: pd.DataFrame, questions: Sequence[OpenQuestion], judge: Judge, *, progress: Say = None
) -> pd.DataFrame:
    """Return `answers` with the ``tier`` that each reached and its ``reward``, NaN where it stayed unjudged.

    Args:
        answers: columns ``question_id`` and ``text``.
    """
    talks = {one["id"]: conversation(as_open(one), judge) for one in questions}
    named = [talks[name] for name in answers["question_id"]]
    found = earned(named, list(answers["text"]), judge, asking(study, judge, progress))
    rewards = [float("nan") if reward is None else reward for _, reward in found]
    return answers.assign(tier=[tier for tier, _ in found], reward=rewards)


def asking(study: Study, judge: Judge, progress: Say = None) -> Ask:
    """Return what asks `judge` about (question, conclusion) pairs, through the study's store."""
    if study.judge_sampling is None:
        raise ValueError(f"judge_sampling: params/{study.profile}/study.yaml says not how judges reply; add it")
    session = Session(study, ResponseStore(study.store_dir), progress)
    return partial(judged, session, judge.model, sampling=study.judge_sampling, attempts=study.judge_attempts)


def closed_answers(
    study: Study, models: Sequence[str], questions: Sequence[Question], *, runs: int, progress: Say = None
) -> pd.DataFrame:
    """Let `models` answer closed-ended questions, read by the rules that read rewards; no judge has a say.

    Returns:
        One row per model, run and question: ``model``, ``run``, ``question_id``, ``group`` (the question's form, where
        its set tells it), ``right`` (missing where the request failed), ``completion_tokens``.
    """
    settings = {"attempts": runs, "sampling": study.sampling, "progress": progress}
    asked = pd.DataFrame({"question_id": [q.id for q in questions], "group": [q.weight_group for q in questions]})
    frames = []
    for model in models:
        for run, (answers, found) in enumerate(difficulty.graded(study, model, questions, **settings)):
            right = [None if one is None else float(one.right) for one in found]
            tokens = answers["completion_tokens"].to_numpy()
            frames.append(asked.assign(model=model, run=run, right=right, completion_tokens=tokens))
    return pd.concat(frames, ignore_index=True).astype({"right": float})
