"""HealthBench, its Hard and its Consensus part: health conversations with rubrics written by physicians.

Arora et al., "HealthBench". The authors ask not to show examples in plain text and not to train on them (each row's
`canary`): files are read compressed as they are, nothing is copied, and ideal completions are never read.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from medpsy import strict
from medpsy.data.questions import Conversation, Criterion, Labelled
from medpsy.data.rows import DataError, Origin, Row, find, from_files, from_hub
from medpsy.files import parsed

LISTED = strict.read(Path(__file__).with_name("healthbench.yaml"))
THEMES, AXES, FILES = (LISTED[name] for name in ("themes", "axes", "files"))
PHYSICIANS, PHYSICIANS_FILES = "healthbench_physicians", LISTED["physicians_files"]
CLUSTER = "cluster:"  # begins the name of a consensus criterion, which goes on with its theme
LEVELS = ("example", "cluster")  # written for this example, or one of the 34 consensus criteria
TAGS = {"theme": THEMES, "axis": AXES, "level": LEVELS}


def read(key: str, published: int, origin: Origin) -> list[Conversation]:
    """Return the conversations of one part: of the hub, or of a folder, there also packed or under other names."""
    rows = _rows(FILES[key], origin)
    origin.expect(rows, published, "conversations")
    return [to_conversation(row, key) for row in rows]


def labelled(published: int, origin: Origin) -> list[Labelled]:
    """Return the meta-evaluation: responses and consensus criteria with the labels of physicians."""
    rows = _rows(PHYSICIANS_FILES, origin)
    origin.expect(rows, published, "labelled responses")
    return [_to_labelled(row) for row in rows]


def _rows(names: Sequence[str], origin: Origin) -> list[Row]:
    file, *others = names
    if origin.data_dir is None:
        return from_hub(origin, None, file)
    return from_files(find(origin.data_dir, (f"{file}*", *others)))


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


class _Labelled(BaseModel, strict=True):
    """A row of the meta-evaluation."""

    prompt: Annotated[list[_Turn], _Nested]
    completion: str
    rubric: Annotated[str, Field(pattern=r"\S")]
    category: str
    binary_labels: Annotated[list[bool], Field(min_length=1), _Nested]
    prompt_id: str
    completion_id: str


def _to_labelled(row: Row) -> Labelled:
    """Return a row of the meta-evaluation; several of its rows may be about one response."""
    about = row.checked(_Labelled)
    name = about.category.removeprefix(CLUSTER)
    if (theme := next((theme for theme in THEMES if name.startswith(theme)), None)) is None:
        raise row.error("category", f"no theme begins it; known are {', '.join(THEMES)}", about.category)
    rubric = (Criterion(about.rubric.strip(), 1, "", (about.category,)),)
    talk = _conversation(row, about.prompt_id, PHYSICIANS, about.prompt, rubric, theme)
    ident = f"{about.prompt_id}/{about.completion_id}/{hashlib.sha256(about.rubric.encode()).hexdigest()[:8]}"
    return Labelled(ident, talk, about.completion, tuple(about.binary_labels))


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
    rest = (tuple(rubric), theme, tuple(example.example_tags))
    return _conversation(row, example.prompt_id.strip(), suite, example.prompt, *rest)


def _conversation(row: Row, ident: str, suite: str, prompt: Sequence[_Turn], *rest: Any) -> Conversation:
    try:
        return Conversation(ident, suite, tuple(turn.model_dump() for turn in prompt), *rest)
    except ValueError as error:
        raise DataError(f"{row.source}, row {row.number}: {error}") from None


def _only(row: Row, field: str, tags: Sequence[str], kind: str) -> str:
    named = [tag.removeprefix(f"{kind}:") for tag in tags if tag.startswith(f"{kind}:")]
    if len(named) != 1:
        raise row.error(field, f"exactly one tag {kind}:... is expected, {len(named)} found", tags)
    if named[0] not in TAGS[kind]:
        raise row.error(field, f"{kind}:{named[0]} is unknown; known are {', '.join(TAGS[kind])}", tags)
    return named[0]
