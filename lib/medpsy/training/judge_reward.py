"""What a conclusion is worth to a judge: the reward of the first tier it meets.

The judge sees the question and what follows the reasoning, never the reasoning itself. `medpsy.judging` asks it,
through the study's store: verdicts are batched, kept, and asked for again a few times at most. Where one that would
decide is missing, the response is left without reward (None), never with 0. Every process judges its own share of a
rollout, with an engine of its own that stays open; on a GPU that trains, name a judge behind an endpoint.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from medpsy import study as studies
from medpsy.benchmarks.conversation import Conversation, Criterion
from medpsy.engines.base import Engine, PromptTooLong, Sampling
from medpsy.grading.reasoning import split
from medpsy.grading.verdicts import MET, UNJUDGED
from medpsy.judging import Judgement, judged
from medpsy.responses import ResponseStore
from medpsy.sessions import Session
from medpsy.study import ModelSpec
from medpsy.training.job import Job
from medpsy.training.judge_settings import REFERENCE, Judge
from medpsy.training.open_questions import OpenQuestion
from medpsy.training.rl_curves import TIER, UNJUDGED_SHARE

ASKED = "judge_reward"  # what the store calls the suite of these requests
OTHERWISE, NO_CONCLUSION = "otherwise", "no conclusion"
# How turns are marked in prompts. A policy writes such tokens, and in a judge's prompt they would open a turn.
TURN = re.compile(r"<(?=\||/?s>|/?(?:start|end)_of_turn)|\[(?=/?INST)")

JudgeReward = Callable[..., list[float | None]]
Item = tuple[Conversation, str]  # question with its tiers, conclusion
Ask = Callable[[Sequence[Item]], list[tuple[Judgement, ...]]]


@dataclass(frozen=True)
class OpenSession(Session):
    """A session whose engines, once opened, stay open until `stack` is closed."""

    stack: ExitStack = field(default_factory=ExitStack)
    running: dict[str, Engine] = field(default_factory=dict)

    def engine(self, model: ModelSpec) -> tuple[str, Callable[[], AbstractContextManager[Engine]]]:
        kind, open_engine = super().engine(model)
        return kind, lambda: nullcontext(self._kept(model.name, open_engine))

    def _kept(self, name: str, open_engine: Callable[[], Engine]) -> Engine:
        if name not in self.running:
            self.running[name] = self.stack.enter_context(open_engine())
        return self.running[name]


@contextmanager
def asking(job: Job, judge: Judge) -> Iterator[Ask]:
    """Give what asks the judge of `job` about (question, conclusion) pairs; its engine is closed at the end."""
    sampling, attempts = Sampling(**job.judge["sampling"]), job.judge["attempts"]
    with ExitStack() as stack:
        session = OpenSession(studies.load(job.judge["profile"]), ResponseStore(Path(job.store)), stack=stack)
        yield partial(judged, session, judge.model, sampling=sampling, attempts=attempts)


def reward_function(
    questions: Sequence[OpenQuestion],
    judge: Judge,
    ask: Ask,
    decode: Callable[[Sequence[int]], str],
    *,
    end_ids: frozenset[int],
) -> JudgeReward:
    """Return the reward of TRL's contract; it logs the share of every tier, and of what stayed unjudged.

    It reads the token ids, not TRL's text, as `medpsy.training.rewards.reward_functions` does.

    Args:
        decode: token ids to text, special tokens kept.
        end_ids: tokens that end a response.
    """
    talks = {question.id: conversation(question, judge) for question in questions}

    def judge_reward(
        *, question_id: Sequence[str], completion_ids: Sequence[Sequence[int]], log_metric=None, **_: object
    ) -> list[float | None]:
        texts = [decode(up_to(ids, end_ids)) for ids in completion_ids]
        found = earned([talks[name] for name in question_id], texts, judge, ask)
        counts = Counter(tier for tier, _ in found)
        for tier in [*tiers(judge), OTHERWISE, NO_CONCLUSION] if log_metric else ():
            log_metric(f"{TIER}{tier}", counts[tier] / len(found))
        if log_metric:
            log_metric(UNJUDGED_SHARE, counts[UNJUDGED] / len(found))
        return [reward for _, reward in found]

    return judge_reward


def up_to(ids: Sequence[int], ends: frozenset[int]) -> Sequence[int]:
    """Return the `ids` before the first that ends a response."""
    return ids[: next((at for at, token in enumerate(ids) if token in ends), None)]


def earned(
    talks: Sequence[Conversation], texts: Sequence[str], judge: Judge, ask: Ask
) -> list[tuple[str, float | None]]:
    """Return of every response the tier it reached and its reward; None for one that stayed unjudged."""
    conclusions = [conclusion(text) for text in texts]
    asked = [(talk, said) for talk, said in zip(talks, conclusions, strict=True) if said is not None]
    verdicts = iter(fitting_verdicts(asked, ask))
    none = (NO_CONCLUSION, judge.no_conclusion)
    return [none if said is None else settled(judge, next(verdicts)) for said in conclusions]


def conclusion(text: str) -> str | None:
    """Return what follows the reasoning in `text`, marks of turns broken, or None where no reasoning ended."""
    said = split(text, opens_thinking=True, finish_reason=None).answer
    return None if said is None else TURN.sub(r"\g<0> ", said)


def fitting_verdicts(items: Sequence[Item], ask: Ask) -> list[tuple[Judgement, ...] | None]:
    """Return the judgements of all `items` at once, None for one that is too long for the judge's context."""
    if not items:
        return []
    try:
        return list(ask(items))
    except PromptTooLong:  # comes before anything is generated
        if len(items) == 1:
            return [None]
    half = len(items) // 2
    return fitting_verdicts(items[:half], ask) + fitting_verdicts(items[half:], ask)


def settled(judge: Judge, judgements: Sequence[Judgement] | None) -> tuple[str, float | None]:
    """Return the first tier that is met and its reward; a missing verdict before it leaves both open."""
    if judgements is None:
        return UNJUDGED, None
    for name, tier, judgement in zip(tiers(judge), judge.tiers, judgements, strict=True):
        if judgement.verdict.outcome == UNJUDGED:
            return UNJUDGED, None
        if judgement.verdict.outcome == MET:
            return name, tier.reward
    return OTHERWISE, judge.otherwise


def tiers(judge: Judge) -> list[str]:
    """Return what the log calls the tiers: place and reward, e.g. ``"1: +2"``."""
    return [f"{place}: {tier.reward:+g}" for place, tier in enumerate(judge.tiers, start=1)]


def conversation(question: OpenQuestion, judge: Judge) -> Conversation:
    """Return `question` with a criterion per tier, its reference filled in."""
    texts = [tier.criterion.replace(REFERENCE, question.reference) for tier in judge.tiers]
    rubric = tuple(Criterion(text, tier.points, "") for text, tier in zip(texts, judge.tiers, strict=True))
    return Conversation(question.id, ASKED, question.messages, rubric, theme="")
