"""The models of one size class in the order of training, and where each stands in the published stage tables.

Refuses a checkpoint that is not whole, and names the section that makes it. Asks no model and computes no score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from medpsy import published, strict
from medpsy.generation import replaying
from medpsy.study import RECIPES, STAGES, ModelSpec, Study

BACKBONE, LAST = "backbone", STAGES[-1]
ORDER = (BACKBONE, *STAGES)
TOTAL = "total Δ"
DELTA = "Δ"  # marks the rows of a stage table that are differences
MAKERS = RECIPES | {"sft1": "04_sft", "sft2": "04_sft", "rl1": "05_rl", "rl2": "05_rl"}  # who trains a stage or recipe
TABLES = {"stage": "_stages_", "token efficiency": "token_efficiency"}  # kind -> part of the names of its tables
FILES = ("config.json", "model.safetensors")  # without them a checkpoint was not written to its end


@dataclass(frozen=True)
class Step:
    """From one stage to a later one: a row of differences.

    Args:
        name: ours, e.g. ``"Δ sft1"`` or ``"total Δ"``; `printed` is the row of the published table.
    """

    name: str
    printed: str
    before: str
    after: str


@dataclass(frozen=True)
class Ladder:
    """One size class: its models by stage, in the order of training; stages between the ends may be left out.

    Args:
        table: the published stage table whose models these are, or whose part they play.
    """

    size: str
    table: str
    models: Mapping[str, str]

    @cached_property
    def rows(self) -> dict[str, str]:
        """Stage -> row of the published table; it has a row for each, in the order of training."""
        printed = [name for name in published.table(self.table).index if DELTA not in name]
        return {stage: row for stage, row in zip(ORDER, printed, strict=True) if stage in self.models}

    @cached_property
    def steps(self) -> list[Step]:
        """The steps between stages that follow each other and were both measured, and the whole way at the end."""
        printed = [name for name in published.table(self.table).index if DELTA in name]
        ways = [*zip(STAGES, ORDER, STAGES, strict=False), (TOTAL, BACKBONE, LAST)]
        return [
            Step(name if name == TOTAL else f"{DELTA} {name}", row, before, after)
            for row, (name, before, after) in zip(printed, ways, strict=True)
            if before in self.models and after in self.models
        ]


def ladders(
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
    found = {size: _ladder(size, stages, stands_for, kind, place) for size in sizes}
    for ladder in found.values():
        for stage, name in ladder.models.items():
            model = study.model(name)
            if name not in study.models and not replaying():  # a replay reads responses whose weights may be gone
                require_whole(model, stage, study.profile)
    return found


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
    known, table = [one for one in published.catalog().index if TABLES[kind] in one], stands_for.get(size)
    if table not in known:
        fix = f"{table!r} is no published {kind} table; {strict.nearest(table, known)}"
        raise place.at("stands_for").at(size).error(fix)
    return Ladder(size, table, models)


def require_whole(model: ModelSpec, stage: str, profile: str) -> None:
    """Raise FileNotFoundError, naming the section to run first, if the checkpoint that `stage` leaves is not whole.

    Args:
        stage: or sister recipe.
    """
    missing = [name for name in FILES if not (model.local_dir / name).is_file()]
    if missing:
        section = MAKERS.get(stage, MAKERS[LAST])
        raise FileNotFoundError(
            f"checkpoint {model.name!r}: {model.path} has no {' and no '.join(missing)}; run section {section} first: "
            f"python -m medpsy run {section} --profile {profile}"
        )
