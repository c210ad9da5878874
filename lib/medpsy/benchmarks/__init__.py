"""What is asked: the seven suites of Table 1, the open suites of HealthBench and the set for reinforcement learning.

A suite is read from the hub at a pinned revision, from local files, or generated for the miniature; after that
nothing can tell which. Nothing here words a prompt or grades an answer.
"""

import importlib
import inspect
from difflib import get_close_matches
from pathlib import Path

from medpsy.benchmarks import (
    afrimedqa,
    alphamed,
    healthbench,
    medmcqa,
    medqa,
    medxpertqa,
    mmlu_health,
    mmlu_pro_health,
    pubmedqa,
)
from medpsy.benchmarks.conversation import Conversation, Criterion
from medpsy.benchmarks.fields import DataError
from medpsy.benchmarks.question import Question
from medpsy.benchmarks.rows import Origin
from medpsy.benchmarks.subset import sample
from medpsy.benchmarks.suite import Notes, OpenSuite, Suite, SuiteSpec, build, build_open

__all__ = [
    "OPEN_SUITES", "RL_SET", "SUITES", "Conversation", "Criterion", "DataError", "OpenSuite", "Question", "Suite",
    "SuiteSpec", "load_conversations", "load_suite", "sample", "spec",
]  # fmt: skip

TABLE_1 = (mmlu_health, afrimedqa, mmlu_pro_health, medmcqa, medqa, medxpertqa, pubmedqa)  # order of its columns
SUITES: dict[str, SuiteSpec] = {module.SPEC.key: module.SPEC for module in TABLE_1}
OPEN_SUITES: dict[str, SuiteSpec] = {one.key: one for one in healthbench.SPECS}
RL_SET: SuiteSpec = alphamed.SPEC
SOURCES = ("hub", "mini")
COPY = ("hub_id", "revision")  # options that every suite takes: another copy of it


def spec(key: str) -> SuiteSpec:
    """Return what is known about suite `key`, the RL set included.

    Raises:
        ValueError: naming the nearest known key.
    """
    return named(key, {**SUITES, RL_SET.key: RL_SET})


def load_suite(
    key: str, *, source: str = "hub", data_dir: Path | None = None, partial: bool = False, **options: object
) -> Suite:
    """Return suite `key`, checked.

    Args:
        source: ``"hub"`` (the real suite, or its files in `data_dir`) or ``"mini"`` (generated).
        data_dir: folder with the files of the hub copy or of the original release; nothing is fetched then
            (PubMedQA: unless it holds the official test list alone).
        partial: accept a part of the published rows.
        options: `hub_id` and `revision` (another copy), and what the suite's own loader names.

    Raises:
        DataError: when the data are not as published; names file, row and field.
        ValueError: for an unknown key, source or option.
    """
    known = spec(key)
    if of_miniature(known, source, data_dir, options):
        return build(known, importlib.import_module("medpsy.mini.suites").load(key), {"source": "mini"})
    return build(known, *read(known, data_dir, partial, options))


def load_conversations(
    key: str, *, source: str = "hub", data_dir: Path | None = None, partial: bool = False, **options: object
) -> OpenSuite:
    """Return the open suite `key` of `OPEN_SUITES`, checked; arguments and errors as those of `load_suite`."""
    known = named(key, OPEN_SUITES)
    if of_miniature(known, source, data_dir, options):
        return build_open(known, importlib.import_module("medpsy.mini.conversations").load(key), {"source": "mini"})
    return build_open(known, *read(known, data_dir, partial, options))


def named(key: str, specs: dict[str, SuiteSpec]) -> SuiteSpec:
    """Return the one of `specs` called `key`; the error of an unknown key names the nearest known one."""
    if key not in specs:
        near = get_close_matches(key, specs, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(specs)}"
        raise ValueError(f"no suite is called {key!r}; {hint}")
    return specs[key]


def of_miniature(known: SuiteSpec, source: str, data_dir: Path | None, options: dict[str, object]) -> bool:
    """Return whether the suite is to be generated; refuse an unknown source, and files for what is generated."""
    if source not in SOURCES:
        raise ValueError(f"source={source!r} is unknown; use one of {', '.join(SOURCES)}")
    if source == "mini" and (data_dir or options):
        raise ValueError(
            f"{known.key}: data_dir and options belong to source='hub'; the miniature generates its suites"
        )
    return source == "mini"


def read(
    known: SuiteSpec, data_dir: Path | None, partial: bool, options: dict[str, object]
) -> tuple[list[Question] | list[Conversation], Notes]:
    """Return what the suite's own loader reads, and its notes with the place they come from."""
    origin = open_origin(known, data_dir, partial, copy={name: options[name] for name in COPY if name in options})
    own = {name: value for name, value in options.items() if name not in COPY}
    refuse_unknown(known, own)
    items, notes = known.load(origin, **own)
    return items, {"source": described(origin), **notes}


def open_origin(known: SuiteSpec, data_dir: Path | None, partial: bool, *, copy: dict[str, str]) -> Origin:
    """Return where to read from; the pinned revision holds for the pinned id only, not for another `copy`."""
    hub_id = copy.get("hub_id", known.hub_id)
    revision = copy.get("revision", known.revision if hub_id == known.hub_id else None)
    folder = None if data_dir is None else Path(data_dir)
    if folder is not None and not folder.is_dir():
        raise DataError(f"{known.key}: data_dir {folder} is not a folder; give the folder that holds the files")
    return Origin(hub_id, known.config, known.split, revision, folder, partial)


def refuse_unknown(known: SuiteSpec, own: dict[str, object]) -> None:
    """Stop at an option that the suite's loader does not name."""
    allowed = list(inspect.signature(known.load).parameters)[1:]
    for name in own:
        if name not in allowed:
            raise ValueError(f"{known.key}: unknown option {name!r}; known are {', '.join([*COPY, *allowed])}")


def described(origin: Origin) -> str:
    """Return the place of `origin` for a record: no absolute path, which would name somebody's machine."""
    place = f"folder {origin.data_dir.name}" if origin.data_dir else f"{origin.hub_id}@{origin.revision}"
    return f"{place}, partial" if origin.partial else place
