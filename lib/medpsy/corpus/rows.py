"""One row of training data, and what a teacher's response needs to become one.

A response that failed, was cut off, or has no closed reasoning or no answer is no row; which of these it was is said.
"""

from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from medpsy.corpus.seeds import Seed
from medpsy.engines.base import Message
from medpsy.grading.reasoning import CLOSES, OPENS, split
from medpsy.study import ModelSpec

FAILED, CUT_OFF, UNREADABLE = "failed", "cut off", "unreadable"
TOO_LONG, EXACT, NEAR, CONTAMINATED = "too long", "exact duplicate", "near duplicate", "contaminated"
FILTERS = (FAILED, CUT_OFF, UNREADABLE, TOO_LONG, EXACT, NEAR, CONTAMINATED)  # in their order
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("kind", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("reasoning", pa.string()),
        ("answer", pa.string()),
        ("facts", pa.list_(pa.string())),
        ("teacher", pa.string()),
        ("key", pa.string()),
        ("tokens", pa.int32()),
    ]
)


@dataclass(frozen=True)
class TrainingRow:
    """A prompt and the teacher's reasoning and answer; columns as in `SCHEMA`. `tokens` is 0 until they are counted."""

    id: str
    corpus: str
    kind: str
    messages: tuple[Message, ...]
    reasoning: str
    answer: str
    facts: tuple[str, ...]
    teacher: str
    key: str
    tokens: int = 0

    def as_data(self) -> dict[str, object]:
        return asdict(self)

    def counted(self, tokens: int) -> "TrainingRow":
        return replace(self, tokens=tokens)

    @property
    def written(self) -> list[object]:
        """What a chat template makes tokens of."""
        return [self.messages, self.reasoning, self.answer]

    @property
    def text(self) -> str:
        """All its words: prompt, reasoning, answer."""
        return "\n".join([*(turn["content"] for turn in self.messages), self.reasoning, self.answer])


def read(seed: Seed, response: object, teacher: ModelSpec) -> TrainingRow | str:
    """Return the row that `response` (a row of the response store) makes, or the filter that drops it."""
    if response.finish_reason == "failed":
        return FAILED
    if response.finish_reason == "length":
        return CUT_OFF
    part = split(response.text, opens_thinking=teacher.opens_thinking, finish_reason=response.finish_reason)
    reasoning = without_opening(part.reasoning)
    if part.answer is None or not reasoning or marked(reasoning) or marked(part.answer):
        return UNREADABLE
    own = (seed.id, seed.corpus, seed.kind, seed.messages, reasoning, part.answer, seed.facts)
    return TrainingRow(*own, teacher.name, response.key)


def without_opening(reasoning: str) -> str:
    """Return `reasoning` without the marker that opens it, where the model wrote one."""
    reasoning = reasoning.strip()
    opening = next((marker for marker in OPENS if reasoning.startswith(marker)), "")
    return reasoning.removeprefix(opening).strip()


def marked(text: str) -> bool:
    """Return whether a marker of reasoning is left in `text`: a second block, which no training row may hold."""
    return any(marker in text for marker in (*OPENS, *CLOSES))
