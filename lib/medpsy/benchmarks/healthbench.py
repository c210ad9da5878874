"""HealthBench, its Hard and its Consensus part: health conversations with rubrics written by physicians.

Arora et al., "HealthBench". The authors ask not to show examples in plain text and not to train on them (each row's
`canary`): files are read compressed as they are, nothing is copied, and ideal completions are never read. Tags are
checked as they stand in the files; other implementations document themes and axes that no row has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medpsy.benchmarks import rows
from medpsy.benchmarks.conversation import ROLES, Conversation, Criterion
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.suite import Notes, SuiteSpec

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
TAGS = ("axis", "level")  # every criterion of the published files has exactly one of each
ONE_OF = {"theme": THEMES, "axis": AXES, "level": LEVELS}
HUB_ID = "openai/healthbench"
REVISION = "c54cd24dffedb5a1c643b4eae3a0b77590eb658a"  # a commit in public use


@dataclass(frozen=True)
class Part:
    """One published file; `names` are patterns by which a folder may hold it, its published name first."""

    key: str
    title: str
    file: str
    published: int
    names: tuple[str, ...]


PARTS = (
    Part("healthbench", "HealthBench", "2025-05-07-06-14-12_oss_eval.jsonl", 5_000, ("main*", "healthbench.*")),
    Part("healthbench_hard", "HealthBench Hard", "hard_2025-05-08-21-00-10.jsonl", 1_000, ("hard.*",)),
    Part(
        "healthbench_consensus",
        "HealthBench Consensus",
        "consensus_2025-05-09-20-00-46.jsonl",
        3_671,
        ("consensus.*",),
    ),
)


def read_rows(origin: rows.Origin, file: str, names: tuple[str, ...] = ()) -> list[Row]:
    """Return the rows of one published file, of the hub or of a folder, there also packed or under other `names`."""
    if origin.data_dir is None:
        return rows.from_hub(origin, None, file)
    return rows.from_files(rows.find(origin.data_dir, (f"{file}*", *names)))


def loader(part: Part) -> Callable[[rows.Origin], tuple[list[Conversation], Notes]]:
    """Return the function that reads one part."""

    def load(origin: rows.Origin) -> tuple[list[Conversation], Notes]:
        found = read_rows(origin, part.file, part.names)
        origin.expect(found, part.published, "conversations")
        return [to_conversation(row, part.key) for row in found], {"rows from": rows.sources(found)}

    return load


def to_conversation(row: Row, suite: str, tags: tuple[str, ...] = TAGS) -> Conversation:
    """Return a row of the published schema as a conversation.

    Args:
        tags: kinds of tag that every criterion must have exactly one of.

    Raises:
        DataError: naming file, row and field.
    """
    example_tags = row.texts("example_tags")
    theme = only(row, "example_tags", example_tags, "theme")
    rubric = tuple(criterion(item, at, tags) for at, item in enumerate(objects(row, "rubrics")))
    turns = tuple(message(item, at) for at, item in enumerate(objects(row, "prompt")))
    if turns[-1]["role"] != "user":
        raise row.error("prompt", "the last turn must be the user's")
    if not any(one.points > 0 for one in rubric):
        raise row.error("rubrics", "one criterion with positive points at least is expected: scores are shares of them")
    return Conversation(row.text("prompt_id"), suite, turns, rubric, theme, example_tags)


def objects(row: Row, field: str) -> list[Row]:
    """Return the objects of a list that is not empty, as rows whose field names say where they stand."""
    values = row.structure(field)
    if not isinstance(values, list) or not values or not all(isinstance(value, Mapping) for value in values):
        raise row.error(field, "a list of objects that is not empty is expected")
    return [
        Row({f"{field}[{at}].{name}": value for name, value in values[at].items()}, row.source, row.number)
        for at in range(len(values))
    ]


def message(item: Row, at: int) -> dict[str, str]:
    """Return one turn."""
    role, content = f"prompt[{at}].role", f"prompt[{at}].content"
    if item.text(role) not in ROLES:
        raise item.error(role, f"one of {', '.join(ROLES)} is expected")
    if not item.option(content):
        raise item.error(content, "a text that is not empty is expected")
    return {"role": item.text(role), "content": str(item.values[content])}  # the text as it stands: it is the prompt


def criterion(item: Row, at: int, tags: tuple[str, ...]) -> Criterion:
    """Return one line of the rubric."""
    field, points = f"rubrics[{at}].tags", item.values.get(f"rubrics[{at}].points")
    found = item.texts(field)
    named = {prefix: only(item, field, found, prefix) for prefix in ("axis", *tags)}
    text = item.text(f"rubrics[{at}].criterion")
    if isinstance(points, bool) or not isinstance(points, int | float) or not -10 <= points <= 10 or points == 0:
        raise item.error(f"rubrics[{at}].points", "a number from -10 to 10 other than 0 is expected")
    return Criterion(text, float(points), named["axis"], found)


def only(row: Row, field: str, tags: tuple[str, ...], prefix: str) -> str:
    """Return what the one tag with `prefix` names."""
    named = [tag.removeprefix(f"{prefix}:") for tag in tags if tag.startswith(f"{prefix}:")]
    if len(named) != 1:
        raise row.error(field, f"exactly one tag {prefix}:... is expected, {len(named)} found")
    if named[0] not in ONE_OF[prefix]:
        raise row.error(field, f"{prefix}:{named[0]} is unknown; known are {', '.join(ONE_OF[prefix])}")
    return named[0]


def to_spec(part: Part) -> SuiteSpec:
    """Return what the registry keeps of one part; the hub's viewer calls the split of a single file ``train``."""
    return SuiteSpec(part.key, part.title, HUB_ID, None, "train", REVISION, "MIT", part.published, loader(part))


SPECS = tuple(to_spec(part) for part in PARTS)
