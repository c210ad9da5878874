"""HealthBench, its Hard and its Consensus part: health conversations with rubrics written by physicians.

Arora et al., "HealthBench". The authors ask not to show examples in plain text and not to train on them (each row's
`canary`): files are read compressed as they are, nothing is copied, and ideal completions are never read.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from medpsy.data.questions import Conversation, Criterion
from medpsy.data.rows import DataError, Origin, Row, SuiteSpec, find, from_files, from_hub
from medpsy.texts import parsed

THEMES = {  # tag without its prefix -> name in the report, in the order of its Table 3
    "communication": "Expertise-Tailored Communication",
    "complex_responses": "Response Depth",
    "context_seeking": "Context Seeking",
    "emergency_referrals": "Emergency Referrals",
    "global_health": "Global Health",
    "health_data_tasks": "Health Data Tasks",
    "hedging": "Responding Under Uncertainty",
}
AXES = {  # tag without its prefix -> what we call it
    "completeness": "Completeness",
    "accuracy": "Accuracy",
    "context_awareness": "Context awareness",
    "communication_quality": "Communication quality",
    "instruction_following": "Instruction following",
}
LEVELS = ("example", "cluster")  # written for this example, or one of the 34 consensus criteria
TAGS = {"theme": THEMES, "axis": AXES, "level": LEVELS}
REVISION = "c54cd24dffedb5a1c643b4eae3a0b77590eb658a"  # a commit in public use
FILES = {  # published name of each part, and patterns of other names by which a folder may hold it
    "healthbench": ("2025-05-07-06-14-12_oss_eval.jsonl", "main*", "healthbench.*"),
    "healthbench_hard": ("hard_2025-05-08-21-00-10.jsonl", "hard.*"),
    "healthbench_consensus": ("consensus_2025-05-09-20-00-46.jsonl", "consensus.*"),
}


def read(origin: Origin, key: str, published: int) -> list[Conversation]:
    """Return the conversations of one part: of the hub, or of a folder, there also packed or under other names."""
    file, *names = FILES[key]
    if origin.data_dir is None:
        rows = from_hub(origin, None, file)
    else:
        rows = from_files(find(origin.data_dir, (f"{file}*", *names)))
    origin.expect(rows, published, "conversations")
    return [to_conversation(row, key) for row in rows]


def _spec(key: str, title: str, published: int) -> SuiteSpec:
    place = ("openai/healthbench", None, "train", REVISION)  # the hub's viewer calls the split of a single file so
    return SuiteSpec(key, title, *place, "MIT", published, lambda origin: read(origin, key, published))


SPECS = (
    _spec("healthbench", "HealthBench", 5_000),
    _spec("healthbench_hard", "HealthBench Hard", 1_000),
    _spec("healthbench_consensus", "HealthBench Consensus", 3_671),
)


class _Turn(BaseModel, strict=True):
    role: str
    content: Annotated[str, Field(pattern=r"\S")]  # the text as it stands: it is the prompt


class _Rubric(BaseModel, strict=True):
    criterion: str
    points: float
    tags: list[str]


_Nested = BeforeValidator(lambda value: parsed(value) if isinstance(value, str) else value)  # JSON text, of a csv


class _Example(BaseModel, strict=True):
    """A row of the published schema; what is not named here is never read."""

    prompt: Annotated[list[_Turn], _Nested]
    prompt_id: Annotated[str, Field(pattern=r"\S")]
    rubrics: Annotated[list[_Rubric], _Nested]
    example_tags: Annotated[list[str], _Nested]


def to_conversation(row: Row, suite: str, *, levels: bool = True) -> Conversation:
    """Return a row of the published schema as a conversation; unless `levels` is False, every criterion needs the tag
    of its level, which all published ones have and no score takes."""
    example = row.checked(_Example)
    theme = _only(row, "example_tags", example.example_tags, "theme")
    rubric = []
    for at, line in enumerate(example.rubrics):
        axis = _only(row, f"rubrics[{at}].tags", line.tags, "axis")
        if levels:
            _only(row, f"rubrics[{at}].tags", line.tags, "level")
        try:
            rubric.append(Criterion(line.criterion.strip(), line.points, axis, tuple(line.tags)))
        except ValueError as error:
            raise row.error(f"rubrics[{at}]", str(error), line.model_dump()) from None
    turns, tags = tuple(turn.model_dump() for turn in example.prompt), tuple(example.example_tags)
    try:
        return Conversation(example.prompt_id.strip(), suite, turns, tuple(rubric), theme, tags)
    except ValueError as error:
        raise DataError(f"{row.source}, row {row.number}: {error}") from None


def _only(row: Row, field: str, tags: Sequence[str], kind: str) -> str:
    """Return what the one tag of this kind names."""
    named = [tag.removeprefix(f"{kind}:") for tag in tags if tag.startswith(f"{kind}:")]
    if len(named) != 1:
        raise row.error(field, f"exactly one tag {kind}:... is expected, {len(named)} found", tags)
    if named[0] not in TAGS[kind]:
        raise row.error(field, f"{kind}:{named[0]} is unknown; known are {', '.join(TAGS[kind])}", tags)
    return named[0]
