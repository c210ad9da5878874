"""What a response is worth in reinforcement learning: by rules, or by the first tier that a judge finds met.

A rule has to give the same each time within a fraction of a millisecond, so no model reads; and a policy learns
whatever its reader forgives, so an answer that names two options, or one that is not offered, names none
(`medpsy.grading.readers.strict`). The length penalty is a reward of its own, logged apart.

A judge sees the question and what follows the reasoning, never the reasoning itself. Where a verdict that would decide
is missing, the response is left without reward (None), never with 0. Every process judges its own share of a rollout,
with an engine of its own that stays open; on a GPU that trains, name a judge behind an endpoint.

Functions for TRL read token ids: TRL's text lacks special tokens, and where a tokenizer brings a response template even
the reasoning. Their ``__name__`` is their name in the log.
"""

import importlib
import runpy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from medpsy import strict as settings
from medpsy import study as studies
from medpsy.data.questions import Conversation, Criterion, Question
from medpsy.engines.base import Sampling
from medpsy.grading.readers import CLOSES, OPENS, split, strict, why_no_answer
from medpsy.grading.rubric import MET, NOT_MET, UNJUDGED
from medpsy.judge import Judgment, judged
from medpsy.store import ResponseStore, Session
from medpsy.study import find_root
from medpsy.training.data import OpenQuestion
from medpsy.training.jobs import Job

RIGHT_REASONED, RIGHT, FORMAT, NOTHING = 1.0, 0.5, 0.1, 0.0  # report, table of rewards in section 3.4
TIERS = {  # value -> the report's condition, in short
    RIGHT_REASONED: "right, with reasoning",
    RIGHT: "right, without reasoning",
    FORMAT: "wrong, with reasoning",
    NOTHING: "no valid structure",
}
LISTED = settings.read(Path(__file__).with_name("stages.yaml"))
CURVES: dict[str, str] = LISTED["curves"]
TIER, UNJUDGED_SHARE, HELD_OUT = "tier/", CURVES["unjudged"], CURVES["held_out"]  # names in the log
KEPT = 8192  # gradings remembered: both reward functions grade the same rollout
RewardFunction = Callable[..., list[float | None]]
Read = Callable[[Sequence[int]], tuple[str, bool]]  # token ids -> text, special tokens kept, and whether it ended


@dataclass(frozen=True)
class Reward:
    value: float  # one of `TIERS`
    right: bool  # the answer names the gold option
    reasoned: bool  # there is reasoning before the answer
    chosen: int | None  # index of the named option
    how: str  # where the choice stood, or why there is none ("cut off", "several options", ...)


def grade(text: str, question: Question, *, opens_thinking: bool, finished: bool) -> Reward:
    """Return what `text` earns as a response to `question`, which has a gold.

    A valid structure is a response that ended by itself and whose answer, outside the reasoning, names one option.
    Wrong without reasoning earns nothing: it fits none of the other conditions of the report's table.

    Args:
        opens_thinking: the chat template already wrote the opening marker, so the response starts in its reasoning.
        finished: False for a response that was stopped at the token limit; it has no valid structure.
    """
    if question.gold is None:
        raise ValueError(f"{question.suite}/{question.id}: no gold, so nothing can be right; leave the question out")
    parts = split(text, opens_thinking=opens_thinking, finish_reason="stop" if finished else "length")
    reasoned = has_words(parts.reasoning) and parts.answer is not None
    if not finished:
        return Reward(NOTHING, False, reasoned, None, "cut off")
    if parts.answer is None:
        return Reward(NOTHING, False, reasoned, None, why_no_answer(parts, text))
    reading = strict(parts.answer, question)
    right = reading.choice == question.gold
    return Reward(value(reading.choice, right, reasoned), right, reasoned, reading.choice, reading.how)


def value(chosen: int | None, right: bool, reasoned: bool) -> float:
    """Return the value of a finished response, by the report's table."""
    if chosen is None:
        return NOTHING
    if right:
        return RIGHT_REASONED if reasoned else RIGHT
    return FORMAT if reasoned else NOTHING


def has_words(reasoning: str) -> bool:
    """Tell whether `reasoning` holds a letter or digit beside its own markers."""
    for marker in (*OPENS, *CLOSES):
        reasoning = reasoning.replace(marker, " ")
    return any(character.isalnum() for character in reasoning)


def report_reward(text: str, question: Question, *, opens_thinking: bool, finished: bool) -> float:
    """Return what `text` earns by the report's table; arguments as those of `grade`, as of any reward that is named."""
    return grade(text, question, opens_thinking=opens_thinking, finished=finished).value


def named(path: str) -> Callable[..., float]:
    """Return the reward that a path names, ``"package.module:function"`` or ``"file.py:function"``, or ValueError."""
    place, _, name = path.rpartition(":")
    try:
        if place.endswith(".py"):
            return runpy.run_path(str(find_root() / place))[name]
        return getattr(importlib.import_module(place), name)
    except (ImportError, FileNotFoundError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"reward: {path!r} names no function ({error}); write package.module:function") from None


def reward_functions(
    questions: Mapping[str, Question], read: Read, *, opens_thinking: bool, reward: Callable[..., float] = report_reward
) -> tuple[RewardFunction, RewardFunction]:
    """Return the reward and the accuracy of TRL's contract.

    Args:
        questions: by the column ``question_id``.
        reward: what a response earns; how it is read, and so accuracy and tiers, is always as the report has it.
    """

    @lru_cache(maxsize=KEPT)
    def graded(name: str, ids: tuple[int, ...]) -> tuple[Reward, float]:
        text, finished = read(ids)
        how = {"question": questions[name], "opens_thinking": opens_thinking, "finished": finished}
        return grade(text, **how), reward(text, **how)

    def answer_reward(*, question_id, completion_ids, log_metric=None, **_) -> list[float]:
        pairs = [graded(name, tuple(ids)) for name, ids in zip(question_id, completion_ids, strict=True)]
        log_shares(log_metric, [TIERS[each.value] for each, _ in pairs], TIERS.values())
        return [earned for _, earned in pairs]

    def accuracy(*, question_id, completion_ids, **_) -> list[float]:
        pairs = zip(question_id, completion_ids, strict=True)
        return [float(graded(name, tuple(ids))[0].right) for name, ids in pairs]

    return answer_reward, accuracy


def log_shares(log_metric: Callable[[str, float], None] | None, reached: Sequence[str], tiers: Iterable[str]) -> None:
    """Log the share of each of `tiers`; outside a training there is no log."""
    counts = Counter(reached)
    for tier in tiers if log_metric else ():
        log_metric(f"{TIER}{tier}", counts[tier] / len(reached))


REFERENCE = "{reference}"  # in a criterion: where the question's reference goes
OTHERWISE, NO_CONCLUSION = "otherwise", "no conclusion"
Ask = Callable[[Sequence[tuple[Conversation, str]]], list[tuple[Judgment, ...]]]  # of conclusions


@dataclass(frozen=True)
class Tier:
    criterion: str  # what must be true of the conclusion; `REFERENCE` stands for the question's reference
    reward: float  # of a conclusion that meets this criterion and none before it
    points: float = 5.0  # shown to the judge, below 0 where the criterion names something bad; no part of the reward


@dataclass(frozen=True)
class Judge:
    model: str  # name of the judge among the study's models
    tiers: tuple[Tier, ...]  # the first one met decides
    otherwise: float  # reward of a conclusion that meets none of them
    no_conclusion: float  # reward of a response whose reasoning never ended; no judge is asked about it

    def __post_init__(self) -> None:
        if not any(REFERENCE in tier.criterion for tier in self.tiers):
            raise ValueError(f"tiers: no criterion holds {REFERENCE}, so the reference would not matter; write it in")
        if len({self.otherwise, *(tier.reward for tier in self.tiers)}) < 2:
            raise ValueError(f"tiers: all conclusions would earn {self.otherwise}; nothing could be learned")

    def names(self) -> list[str]:
        """Return what the log calls the tiers: place and reward, e.g. ``"1: +2"``."""
        return [f"{place}: {tier.reward:+g}" for place, tier in enumerate(self.tiers, start=1)]


def judge_of(job: Job) -> Judge:
    return settings.value(job.judge["judge"], Judge, settings.Place("judge"))


def asking(job: Job, judge: Judge, stack: ExitStack) -> Ask:
    """Return what asks the judge of `job` about (question, conclusion) pairs; `stack` closes its engine."""
    sampling, attempts = Sampling(**job.judge["sampling"]), job.judge["attempts"]
    session = Session(studies.load(job.judge["profile"]), ResponseStore(Path(job.store)), stack=stack)
    return partial(judged, session, judge.model, sampling=sampling, attempts=attempts)


def reward_function(questions: Sequence[OpenQuestion], judge: Judge, ask: Ask, read: Read) -> RewardFunction:
    """Return the judge's reward of TRL's contract; it logs the share of every tier, and of what stayed unjudged."""
    talks = {question.id: conversation(question, judge) for question in questions}

    def judge_reward(*, question_id, completion_ids, log_metric=None, **_) -> list[float | None]:
        texts = [read(ids)[0] for ids in completion_ids]
        results = earned([talks[name] for name in question_id], texts, judge, ask)
        log_shares(log_metric, [tier for tier, _ in results], [*judge.names(), OTHERWISE, NO_CONCLUSION])
        if log_metric:
            log_metric(UNJUDGED_SHARE, sum(tier == UNJUDGED for tier, _ in results) / len(results))
        return [reward for _, reward in results]

    return judge_reward


def earned(
    talks: Sequence[Conversation], texts: Sequence[str], judge: Judge, ask: Ask
) -> list[tuple[str, float | None]]:
    """Return of every response the tier it reached and its reward; None for one that stayed unjudged. The first tier
    that is met decides; a missing verdict before it leaves both open."""
    conclusions = [conclusion(text) for text in texts]
    items = [(talk, ending) for talk, ending in zip(talks, conclusions, strict=True) if ending is not None]
    verdicts = iter(ask(items) if items else ())

    def reached(judgments: Sequence[Judgment]) -> tuple[str, float | None]:
        for name, tier, judgment in zip(judge.names(), judge.tiers, judgments, strict=True):
            if judgment.outcome != NOT_MET:
                return (name, tier.reward) if judgment.outcome == MET else (UNJUDGED, None)
        return OTHERWISE, judge.otherwise

    none = (NO_CONCLUSION, judge.no_conclusion)
    return [none if ending is None else reached(next(verdicts)) for ending in conclusions]


def conclusion(text: str) -> str | None:
    """Return what follows the reasoning in `text`, or None where no reasoning ended."""
    return split(text, opens_thinking=True, finish_reason=None).answer


def conversation(question: OpenQuestion, judge: Judge) -> Conversation:
    """Return `question` with a criterion per tier, its reference filled in."""
    rubric = [Criterion(tier.criterion.replace(REFERENCE, question.reference), tier.points, "") for tier in judge.tiers]
    return Conversation(question.id, "judge_reward", question.messages, tuple(rubric), theme="")
