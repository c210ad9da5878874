"""What a response is worth in reinforcement learning: the four values of the report, decided by rules.

The reader is `medpsy.grading.readers.strict`. A reward has to be the same each time and takes a fraction of a
millisecond, so no model reads; and a policy learns whatever its reader forgives, so an answer that names two options,
or one that is not offered, names none. Where the answer begins is decided as in the evaluation
(`medpsy.grading.reasoning.split`). The length penalty is a reward of its own, logged apart.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medpsy.benchmarks.question import Question
from medpsy.grading.outcomes import ENDLESS
from medpsy.grading.readers import strict
from medpsy.grading.reading import EMPTY
from medpsy.grading.reasoning import CLOSES, OPENS, split

RIGHT_REASONED, RIGHT, FORMAT, NOTHING = 1.0, 0.5, 0.1, 0.0  # report, table of rewards in section 3.4
TIERS = {  # value -> the report's condition, in short
    RIGHT_REASONED: "right, with reasoning",
    RIGHT: "right, without reasoning",
    FORMAT: "wrong, with reasoning",
    NOTHING: "no valid structure",
}
CUT_OFF = "cut off"
KEPT = 8192  # gradings remembered: both reward functions grade the same rollout

RewardFunction = Callable[..., list[float]]


@dataclass(frozen=True)
class Reward:
    """What one response earned.

    Args:
        value: one of `TIERS`.
        right: whether the answer names the gold option.
        reasoned: whether there is reasoning before the answer.
        chosen: index of the named option, or None.
        how: where the choice stood, or why there is none (``"cut off"``, ``"several options"``, ...).
    """

    value: float
    right: bool
    reasoned: bool
    chosen: int | None
    how: str


def grade(text: str, question: Question, *, opens_thinking: bool, finished: bool) -> Reward:
    """Return what `text` earns as a response to `question`.

    A valid structure is a response that ended by itself and whose answer, outside the reasoning, names one option.
    Wrong without reasoning earns nothing: it fits none of the other conditions of the report's table.

    Args:
        opens_thinking: the chat template already wrote the opening marker, so the response starts in its reasoning.
        finished: False for a response that was stopped at the token limit; it has no valid structure.

    Raises:
        ValueError: the question has no gold.
    """
    if question.gold is None:
        raise ValueError(f"{question.suite}/{question.id}: no gold, so nothing can be right; leave the question out")
    parts = split(text, opens_thinking=opens_thinking, finish_reason="stop" if finished else "length")
    reasoned = has_words(parts.reasoning) and parts.answer is not None
    if not finished:
        return Reward(NOTHING, False, reasoned, None, CUT_OFF)
    if parts.answer is None:
        return Reward(NOTHING, False, reasoned, None, ENDLESS if parts.reasoning == text and text.strip() else EMPTY)
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


def reward_functions(
    questions: Mapping[str, Question],
    decode: Callable[[Sequence[int]], str],
    *,
    opens_thinking: bool,
    end_ids: frozenset[int],
) -> tuple[RewardFunction, RewardFunction]:
    """Return the reward and the accuracy of TRL's contract; their ``__name__`` is their name in the log.

    They read the token ids, not TRL's text: TRL drops special tokens, and where a tokenizer brings a response template
    it even takes the reasoning away.

    Args:
        questions: by the column ``question_id``.
        decode: token ids to text, special tokens kept.
        end_ids: tokens that end a response; one without them was cut off.

    Raises:
        ValueError: a question has no gold.
    """
    graded = grader(questions, decode, opens_thinking, end_ids)

    def answer_reward(
        *, question_id: Sequence[str], completion_ids: Sequence[Sequence[int]], log_metric=None, **_: object
    ) -> list[float]:
        found = graded(question_id, completion_ids)
        counts = Counter(TIERS[one.value] for one in found)
        for tier in TIERS.values() if log_metric else ():
            log_metric(f"tier/{tier}", counts[tier] / len(found))
        return [one.value for one in found]

    def accuracy(*, question_id: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: object) -> list[float]:
        return [float(one.right) for one in graded(question_id, completion_ids)]

    return answer_reward, accuracy


def grader(
    questions: Mapping[str, Question],
    decode: Callable[[Sequence[int]], str],
    opens_thinking: bool,
    ends: frozenset[int],
) -> Callable[[Sequence[str], Sequence[Sequence[int]]], list[Reward]]:
    """Return what grades responses given as names of questions and token ids; it remembers the last `KEPT`."""
    for question in questions.values():
        if question.gold is None:
            raise ValueError(
                f"{question.suite}/{question.id}: no gold, so nothing can be right; leave the question out"
            )

    @lru_cache(maxsize=KEPT)
    def one(name: str, ids: tuple[int, ...]) -> Reward:
        end = next((at for at, token in enumerate(ids) if token in ends), None)
        return grade(decode(ids[:end]), questions[name], opens_thinking=opens_thinking, finished=end is not None)

    return lambda names, responses: [one(name, tuple(ids)) for name, ids in zip(names, responses, strict=True)]
