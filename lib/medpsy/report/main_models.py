"""The models of the main results: which of ours stands in which row of Table 1 and among the bars of which figure.

Refuses a checkpoint that is not whole, and names the section that makes it. Asks no model and computes no score.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medpsy import strict
from medpsy.generation import replaying
from medpsy.report.stages import require_whole
from medpsy.study import CHECKPOINT, Study

CAPTIONS = {  # size class -> final model, medical model it is compared with, backbone, and one more
    "large": ("MedPsy-4B", "MedGemma-27B-text-it", "Qwen3-4B-Thinking-2507", "MedGemma-1.5-4B-it"),  # report Figure 1
    "small": ("MedPsy-1.7B", "MedGemma-1.5-4B-it", "Qwen3-1.7B (Thinking)", "LFM2.5-1.2B-Thinking"),  # report Figure 2
}
IN_TABLE_1 = 3  # report Table 1: the first three make the size class


@dataclass(frozen=True)
class SizeClass:
    """One size class: row of the report -> model of the study or checkpoint that it is, or that plays its part.

    `rows` are in the order of `CAPTIONS`; what is not run is left out. The first and the third are always there.
    """

    size: str
    rows: Mapping[str, str]

    @property
    def ours(self) -> str:
        """The final model, MedPsy or what plays its part."""
        return self.rows[CAPTIONS[self.size][0]]

    @property
    def rival(self) -> str | None:
        """The medical model that the report compares it with, None where it is not run."""
        return self.rows.get(CAPTIONS[self.size][1])

    @property
    def backbone(self) -> str:
        """What the final model was trained from."""
        return self.rows[CAPTIONS[self.size][2]]

    @property
    def members(self) -> list[str]:
        """The models of the class in Table 1."""
        return [name for row, name in self.rows.items() if row in CAPTIONS[self.size][:IN_TABLE_1]]

    @property
    def shown(self) -> list[str]:
        """The models of the figure of the class."""
        return list(self.rows.values())

    @property
    def references(self) -> list[str]:
        """The models over which the gains of the final model are counted."""
        return [name for name in (self.backbone, self.rival) if name]


def size_classes(study: Study, models: Mapping[str, Sequence[str]]) -> list[SizeClass]:
    """Return the size classes, checked.

    Args:
        models: size class -> its models in the order of `CAPTIONS`, ``""`` for one that is not run.

    Raises:
        strict.SettingsError: a parameter names something that does not exist, or too few or too many models.
        FileNotFoundError: a checkpoint is not there or not whole; names the section to run first.
    """
    place = strict.Place(f"params/{study.profile}/07_main_results.yaml", ("classes",))
    if not models:
        raise place.error(f"names no size class; known are {', '.join(CAPTIONS)}")
    found = [_class(size, names, place.at(size)) for size, names in models.items()]
    pairs = {pair for one in found for pair in one.rows.items()}
    if len({row for row, _ in pairs}) < len(pairs) or len({name for _, name in pairs}) < len(pairs):
        raise place.error("a row of the report has two models, or a model two rows; give each row a model of its own")
    for name in main_models(found):
        model, trained = study.model(name), CHECKPOINT.fullmatch(name)
        if trained and name not in study.models and not replaying():  # a replay needs no weights
            require_whole(model, trained["stage"], study.profile)
    return found


def main_models(classes: Iterable[SizeClass]) -> list[str]:
    """Return every model of the tables and figures once: those of Table 1 first."""
    classes = list(classes)
    members = [name for one in classes for name in one.members]
    return list(dict.fromkeys([*members, *(name for one in classes for name in one.shown)]))


def stands_for(classes: Iterable[SizeClass]) -> dict[str, str]:
    """Return model -> row of the report that it is, or whose part it plays."""
    return {name: row for one in classes for row, name in one.rows.items()}


def _class(size: str, names: Sequence[str], place: strict.Place) -> SizeClass:
    if size not in CAPTIONS:
        raise place.error(f"no such size class; {strict.nearest(size, CAPTIONS)}")
    wanted = CAPTIONS[size]
    if len(names) != len(wanted):
        raise place.error(f'{list(names)} must name {len(wanted)} models, "" for one not run: {", ".join(wanted)}')
    for row, name in ((wanted[0], names[0]), (wanted[2], names[2])):
        if not name:
            raise place.error(f"{row} is missing; the final model and its backbone are needed")
    rows = {row: name for row, name in zip(wanted, names, strict=True) if name}
    if len(set(rows.values())) < len(rows):
        raise place.error(f"{list(names)} names a model twice; every row has its own")
    return SizeClass(size, rows)
