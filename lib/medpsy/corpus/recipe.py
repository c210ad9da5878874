"""How corpora are made: the teacher's sampling, the filters, and where public questions are read from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from medpsy import strict
from medpsy.engines.base import Sampling
from medpsy.study import Study

PLACE = "notebooks/03_training_data.ipynb"


@dataclass(frozen=True)
class Filters:
    """Which rows are dropped.

    Args:
        packed_length: tokens that a packed training sequence holds; a longer row is dropped, never cut.
        near: Jaccard similarity from which two texts are near duplicates; 1 leaves only exact ones.
        ngram: words in a row shared with a suite that contaminate; 0 compares whole stems alone.
    """

    packed_length: int
    near: float
    ngram: int

    def __post_init__(self) -> None:
        if self.packed_length < 1:
            raise ValueError(f"packed_length is {self.packed_length}; it must be at least 1 token")
        if not 0.5 <= self.near <= 1:
            raise ValueError(f"near is {self.near}; it must be 0.5 to 1 (below that, most texts are alike)")
        if self.ngram < 0:
            raise ValueError(f"ngram is {self.ngram}; it must be 0 (whole stems alone) or a number of words")


@dataclass(frozen=True)
class HubCopy:
    """Another copy of a public set than the known one; what is empty stays as it is known."""

    hub_id: str = ""
    revision: str = ""
    data_file: str = ""
    data_dir: str = ""


@dataclass(frozen=True)
class Recipe:
    """All that is set about the making of corpora.

    Args:
        targets: models whose tokenizer and chat template measure a row.
        batch: seeds that are in memory at a time.
        origins: kind of seeds -> another copy of its set.
    """

    sampling: Sampling
    filters: Filters
    targets: tuple[str, ...]
    batch: int
    origins: dict[str, HubCopy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it must be at least 1 seed")

    def as_data(self) -> dict[str, object]:
        """Return what shapes the rows; the batch does not."""
        return {"sampling": asdict(self.sampling), "filters": asdict(self.filters), "targets": list(self.targets)}


def recipe(
    study: Study,
    *,
    sampling: Mapping,
    filters: Mapping,
    batch: int,
    targets: Sequence[str] = (),
    origins: Mapping[str, Mapping] | None = None,
) -> Recipe:
    """Return the recipe that the notebook's parameters describe, read strictly.

    Args:
        targets: the study's own where none are given.

    Raises:
        ValueError: names parameter, value and fix.
    """
    place = strict.Place(PLACE)
    names = tuple(targets) or tuple(dict.fromkeys(study.targets.values()))
    if not names:
        file = f"params/{study.profile}/study.yaml"
        raise place.at("targets").error(f"{file} has no targets; name the models to measure rows by")
    for name in names:
        if study.model(name).base_url:
            raise place.at("targets").error(f"{name!r} is behind an endpoint; name a model whose tokenizer can be read")
    return Recipe(
        strict.build(Sampling, dict(sampling), place.at("sampling"), seed=study.seed),
        strict.build(Filters, dict(filters), place.at("filters")),
        names,
        batch,
        {kind: strict.build(HubCopy, dict(raw), place.at("origins").at(kind)) for kind, raw in (origins or {}).items()},
    )
