"""The models of each size class, by stage or by part played, as a notebook's parameters name them, checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medpsy import published
from medpsy.store import replaying
from medpsy.strict import Place, nearest, read
from medpsy.study import CHECKPOINT, RECIPE, STAGES, Study

BACKBONE, LAST = "backbone", STAGES[-1]
ORDER = (BACKBONE, *STAGES)
TABLES = {"stage": "_stages_", "token efficiency": "token_efficiency"}  # kind -> part of the names of its tables
CAPTIONS = read(Path(__file__).with_name("size_classes.yaml"))  # rows of the report in the order of `ROLES`
ROLES = ("final", "rival", "backbone", "other")  # report Table 1: the first three make the size class
NEEDED = ("final", "backbone")
Names = Mapping[str, str]


class Ladder(NamedTuple):
    """One size class: the published table whose models these are, or whose part they play, and its models."""

    table: str
    models: Names  # by stage in the order of training; stages between the ends may be left out


def by_stage(
    study: Study, stages: Mapping[str, Names], stands_for: Names, *, section="08_stage_ablations", kind: str = "stage"
) -> dict[str, Ladder]:
    """Return the ladder of every size class, checked. `stages` are stage (``"backbone"``, ``"sft1"`` ...) -> size class
    -> model of the study or checkpoint, `stands_for` size class -> published table of the `kind` that `TABLES` names;
    both stand in the parameters of `section`. Raises strict.SettingsError where one names something that does not
    exist, or an end of the ladder is missing, and FileNotFoundError for a checkpoint that is not whole, naming the
    section to run first."""
    place, ladders = Place(f"params/{study.profile}/{section}.yaml"), {}
    at, tables = place.at("stages"), [name for name in published.catalog().index if TABLES[kind] in name]
    if strange := stages.keys() - set(ORDER):
        raise at.error(f"stage {min(strange)!r} is unknown; {nearest(min(strange), ORDER)}")
    for size in dict.fromkeys(size for models in stages.values() for size in models):
        models = {stage: stages[stage][size] for stage in ORDER if size in stages.get(stage, {})}
        for stage in (BACKBONE, LAST):
            if stage not in models:
                raise at.at(stage).error(f"{size!r} is missing; both ends are needed, stages between may be left out")
        if len(set(models.values())) < len(models):
            raise at.error(f"{size!r} names a model twice, {list(models.values())}; every stage has its own")
        if (table := stands_for.get(size)) not in tables:
            fix = f"{table!r} is no published {kind} table; {nearest(table, tables)}"
            raise place.at("stands_for").at(size).error(fix)
        for name in models.values():
            require(study, name)
        ladders[size] = Ladder(table, models)
    if not ladders:
        raise at.error("names no model; give at least those of backbone and rl2 of one size class")
    return ladders


def by_role(study: Study, classes: Mapping[str, Sequence[str]], *, whole: bool = True) -> pd.DataFrame:
    """Return the models of every size class that are run, checked; raises as `by_stage`. `classes` are size class ->
    its models in the order of `CAPTIONS`, ``""`` for one that is not run. Columns ``size``, ``role`` (one of `ROLES`),
    ``row`` (of the report) and ``model`` (of the study, or a checkpoint), which is that row or plays its part; unless
    `whole`, checkpoints need not be there."""
    place, rows = Place(f"params/{study.profile}/07_main_results.yaml", ("classes",)), []
    for size, names in classes.items():
        if size not in CAPTIONS:
            raise place.at(size).error(f"no such size class; {nearest(size, CAPTIONS)}")
        if len(names) != len(CAPTIONS[size]):
            wanted = f'must name {len(CAPTIONS[size])} models, "" for one not run: {", ".join(CAPTIONS[size])}'
            raise place.at(size).error(f"{list(names)} {wanted}")
        rows += [(size, *row) for row in zip(ROLES, CAPTIONS[size], names, strict=True)]
    if not rows:
        raise place.error(f"names no size class; known are {', '.join(CAPTIONS)}")
    models = pd.DataFrame(rows, columns=["size", "role", "row", "model"])
    for size, _, row, _ in models[models["role"].isin(NEEDED) & (models["model"] == "")].itertuples(index=False):
        raise place.at(size).error(f"{row} is missing; the final model and its backbone are needed")
    models = models[models["model"] != ""].reset_index(drop=True)
    pairs = models[["row", "model"]].drop_duplicates()
    if pairs["row"].duplicated().any() or pairs["model"].duplicated().any():
        raise place.error("a row of the report has two models, or a model two rows; give each row a model of its own")
    for name in pairs["model"] if whole else ():
        require(study, name)
    return models


def require(study: Study, name: str) -> None:
    """Refuse an unknown model, and a checkpoint that is not whole; a replay needs no weights."""
    model, made = study.model(name), CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name)
    if made and name not in study.models and not replaying():
        study.require_whole(model, made.groupdict().get("stage") or made["recipe"])
