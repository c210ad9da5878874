"""What a judge says about every criterion of a response: one request per criterion, asked again a few times at most.

Refuses to show a judge the candidate's reasoning: what comes in is the answer alone. A criterion without a readable
verdict stays unjudged, never "not met".
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from medpsy import prompts
from medpsy.benchmarks.conversation import Conversation, Criterion
from medpsy.engines.base import Prompt, Sampling
from medpsy.grading.reasoning import split
from medpsy.grading.verdicts import UNJUDGED, Verdict, read_verdict, unjudged
from medpsy.sessions import Session

FAILED = "judge failed"
TOGETHER = 16  # responses whose criteria are asked in turn, as many as a small server has slots: each finds its prefix


@dataclass(frozen=True)
class Judgement:
    """A verdict, how often the judge was asked for it, and the key of the reply that it was read from."""

    verdict: Verdict
    attempts: int
    key: str


def judged(
    session: Session,
    judge: str,
    items: Sequence[tuple[Conversation, str]],
    *,
    sampling: Sampling,
    attempts: int = 3,
) -> list[tuple[Judgement, ...]]:
    """Return the judgements of `judge` on every criterion of each (conversation, answer), in rubric order.

    The same criterion of the same conversation and answer is one request, whoever gave the answer. A failed or
    unreadable reply is asked again with the next seed; a greedy judge would repeat itself, so of its replies only the
    failed ones are. All replies are kept in the session's store.

    Args:
        attempts: how often one criterion is asked at most.
    """
    asked = [[_prompt(*item, criterion) for criterion in item[0].rubric] for item in items]
    waiting = {prompt.id: prompt for prompt in in_turn(asked)}
    found: dict[str, Judgement] = {}
    for attempt in range(1, attempts + 1):
        seeded = dataclasses.replace(sampling, seed=sampling.seed + attempt - 1)
        found |= _replies(session, judge, list(waiting.values()), seeded, attempt)
        waiting = {name: prompt for name, prompt in waiting.items() if _again(found[name], sampling)}
        if not waiting:
            break
    return [tuple(found[prompt.id] for prompt in group) for group in asked]


def in_turn(asked: Sequence[Sequence[Prompt]]) -> Iterator[Prompt]:
    """Yield the prompts of `TOGETHER` responses at a time: the first criterion of each, then the second, and so on.

    All prompts of a response begin alike. Asked at once they would all be read whole; asked a round later, the next one
    finds what the last one left in its slot.
    """
    for start in range(0, len(asked), TOGETHER):
        for round_ in zip_longest(*asked[start : start + TOGETHER]):
            yield from (prompt for prompt in round_ if prompt is not None)


def _prompt(conversation: Conversation, answer: str, criterion: Criterion) -> Prompt:
    messages = prompts.judge(conversation, answer, criterion)
    digest = hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:16]
    return Prompt(f"{conversation.suite}/{conversation.id}/{digest}", messages)


def _replies(
    session: Session, judge: str, asked: Sequence[Prompt], sampling: Sampling, attempt: int
) -> dict[str, Judgement]:
    session.fill(judge, asked, (0,), sampling)
    frame = session.answer(judge, asked, 0, sampling)
    opens = session.study.model(judge).opens_thinking
    return {row.prompt_id: Judgement(_verdict(row, opens), attempt, row.key) for row in frame.itertuples()}


def _verdict(reply: Any, opens_thinking: bool) -> Verdict:
    if reply.finish_reason == "failed":
        return unjudged(FAILED)
    part = split(reply.text, opens_thinking=opens_thinking, finish_reason=reply.finish_reason)
    return unjudged(f"judge {part.state}") if part.answer is None else read_verdict(part.answer)


def _again(judgement: Judgement, sampling: Sampling) -> bool:
    verdict = judgement.verdict
    return verdict.outcome == UNJUDGED and (sampling.temperature > 0 or verdict.reason == FAILED)
