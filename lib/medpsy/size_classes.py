"""The models of each size class, by stage or by part played, as a notebook's parameters name them, checked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medpsy import published, strict
from medpsy.store import replaying
from medpsy.study import CHECKPOINT, STAGES, Study

BACKBONE, LAST = "backbone", STAGES[-1]
ORDER = (BACKBONE, *STAGES)
TABLES = {"stage": "_stages_", "token efficiency": "token_efficiency"}  # kind -> part of the names of its tables
CAPTIONS = {  # size class -> rows of the report in the order of `ROLES`
    "large": ("MedPsy-4B", "MedGemma-27B-text-it", "Qwen3-4B-Thinking-2507", "MedGemma-1.5-4B-it"),  # report Figure 1
    "small": ("MedPsy-1.7B", "MedGemma-1.5-4B-it", "Qwen3-1.7B (Thinking)", "LFM2.5-1.2B-Thinking"),  # report Figure 2
}
ROLES = ("final", "rival", "backbone", "other")  # report Table 1: the first three make the size class
NEEDED = ("final", "backbone")


@dataclass(frozen=True)
class Ladder:
    """One size class: its models by stage, in the order of training; stages between the ends may be left out.

    Args:
        table: the published stage table whose models these are, or whose part they play.
    """

    size: str
    table: str
    models: Mapping[str, str]


def by_stage(
    study: Study,
    stages: Mapping[str, Mapping[str, str]],
    stands_for: Mapping[str, str],
    *,
    section: str = "08_stage_ablations",
    kind: str = "stage",
) -> dict[str, Ladder]:
    """Return the ladder of every size class, checked.

    Args:
        stages: stage (``"backbone"``, ``"sft1"`` ...) -> size class -> model of the study or checkpoint.
        stands_for: size class -> published table.
        section: whose parameters these are, for messages.
        kind: of the published tables that may be named, one of `TABLES`.

    Raises:
        strict.SettingsError: a parameter names something that does not exist, or an end of the ladder is missing.
        FileNotFoundError: a checkpoint is not there or not whole; names the section to run first.
    """
    place = strict.Place(f"params/{study.profile}/{section}.yaml")
    for stage in stages:
        if stage not in ORDER:
            raise place.at("stages").error(f"stage {stage!r} is unknown; {strict.nearest(stage, ORDER)}")
    sizes = dict.fromkeys(size for models in stages.values() for size in models)
    if not sizes:
        raise place.at("stages").error("names no model; give at least those of backbone and rl2 of one size class")
    named = {size: _ladder(size, stages, stands_for, kind, place) for size in sizes}
    for ladder in named.values():
        for stage, name in ladder.models.items():
            _require(study, name, stage)
    return named


def _ladder(
    size: str, stages: Mapping[str, Mapping[str, str]], stands_for: Mapping[str, str], kind: str, place: strict.Place
) -> Ladder:
    models = {stage: stages[stage][size] for stage in ORDER if size in stages.get(stage, {})}
    for stage in (BACKBONE, LAST):
        if stage not in models:
            fix = "both ends are needed, the stages between may be left out"
            raise place.at("stages").at(stage).error(f"{size!r} is missing; {fix}")
    if len(set(models.values())) < len(models):
        raise place.at("stages").error(
            f"{size!r} names a model twice, {list(models.values())}; every stage has its own"
        )
    tables, table = [name for name in published.catalog().index if TABLES[kind] in name], stands_for.get(size)
    if table not in tables:
        fix = f"{table!r} is no published {kind} table; {strict.nearest(table, tables)}"
        raise place.at("stands_for").at(size).error(fix)
    return Ladder(size, table, models)


def by_role(study: Study, classes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return the models of every size class that are run, checked.

    Args:
        classes: size class -> its models in the order of `CAPTIONS`, ``""`` for one that is not run.

    Returns:
        Columns ``size``, ``role`` (one of `ROLES`), ``row`` (of the report) and ``model`` (of the study, or a
        checkpoint), which is that row or plays its part.

    Raises:
        strict.SettingsError: a parameter names something that does not exist, or too few or too many models.
        FileNotFoundError: a checkpoint is not there or not whole; names the section to run first.
    """
    place = strict.Place(f"params/{study.profile}/07_main_results.yaml", ("classes",))
    if not classes:
        raise place.error(f"names no size class; known are {', '.join(CAPTIONS)}")
    rows = [row for size, names in classes.items() for row in _rows(size, names, place.at(size))]
    models = pd.DataFrame(rows, columns=["size", "role", "row", "model"])
    pairs = models[["row", "model"]].drop_duplicates()
    if pairs["row"].duplicated().any() or pairs["model"].duplicated().any():
        raise place.error("a row of the report has two models, or a model two rows; give each row a model of its own")
    for name in pairs["model"]:
        trained = CHECKPOINT.fullmatch(name)
        _require(study, name, trained and trained["stage"])
    return models


def _rows(size: str, names: Sequence[str], place: strict.Place) -> Iterator[tuple[str, str, str, str]]:
    if size not in CAPTIONS:
        raise place.error(f"no such size class; {strict.nearest(size, CAPTIONS)}")
    wanted = CAPTIONS[size]
    if len(names) != len(wanted):
        raise place.error(f'{list(names)} must name {len(wanted)} models, "" for one not run: {", ".join(wanted)}')
    for role, row, name in zip(ROLES, wanted, names, strict=True):
        if role in NEEDED and not name:
            raise place.error(f"{row} is missing; the final model and its backbone are needed")
        if name and names.count(name) > 1:
            raise place.error(f"{list(names)} names a model twice; every row has its own")
        if name:
            yield size, role, row, name


def _require(study: Study, name: str, stage: str | None) -> None:
    """Refuse an unknown model and a checkpoint of `stage` that is not whole; a replay needs no weights."""
    model = study.model(name)
    if stage and name not in study.models and not replaying():
        study.require_whole(model, stage)
