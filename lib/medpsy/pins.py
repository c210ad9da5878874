"""Which models and data sets of a profile stand for whatever the hub has today, and where their commit belongs.

Looks at parameters and at the library's own data; asks no network.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medpsy import strict, study
from medpsy.benchmarks import OPEN_SUITES, RL_SET, SUITES
from medpsy.study import Study

Origins = Iterator[
    tuple[tuple[str, ...], str, str | None]
]  # keys of an origin, the hub id and commit that it stands for


@dataclass(frozen=True)
class Pin:
    """A commit that is missing.

    Args:
        file: where it belongs, relative to the root; one of the library where no parameter holds it.
        keys: the keys that lead to it there.
        hub_id: of the repository it is a commit of.
    """

    file: str
    keys: tuple[str, ...]
    hub_id: str
    kind: Literal["model", "dataset"]

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(self.keys)} ({self.kind} {self.hub_id})"


def unpinned(profile: str) -> list[Pin]:
    """Return what `profile` reads from the hub without a commit: models, suites, training sets.

    Raises:
        strict.SettingsError: the profile or its parameters cannot be read.
    """
    one, folder = study.load(profile), f"params/{profile}"
    named = [(("models", name, "revision"), one.models[name].path) for name in one.unpinned]
    models = [Pin(f"{folder}/study.yaml", keys, hub_id, "model") for keys, hub_id in named]
    return models if one.source == "mini" else [*models, *_suites(one), *_training_sets(one, folder)]


def _suites(one: Study) -> Iterator[Pin]:
    known = SUITES | OPEN_SUITES
    for key in (*one.suites, *one.open_suites):
        if known[key].revision is None and key not in one.data_dirs:
            module = known[key].load.__module__.replace(".", "/")
            yield Pin(f"lib/{module}.py", ("revision",), known[key].hub_id, "dataset")


def _training_sets(one: Study, folder: str) -> Iterator[Pin]:
    for section, find in PLACES.items():
        file = f"{folder}/{section}.yaml"
        if not (study.ROOT / file).is_file():
            continue
        values = strict.read(study.ROOT / file, file)
        for keys, hub_id, commit in find(one, values):
            copy = _at(values, keys)
            other = copy.get("hub_id") or hub_id
            if not (copy.get("data_dir") or copy.get("revision") or (commit and other == hub_id)):
                yield Pin(file, (*keys, "revision"), other, "dataset")


def _seeds(one: Study, values: Mapping[str, Any]) -> Origins:
    from medpsy.corpus.hub_seeds import SOURCES  # late: this and what follows take a second to import

    for kind in {**_at(values, ("corpus1",)), **_at(values, ("corpus2",))}:
        if kind in SOURCES:
            yield ("origins", kind), SOURCES[kind].hub_id, SOURCES[kind].revision


def _questions(one: Study, values: Mapping[str, Any]) -> Origins:
    if RL_SET.key not in one.data_dirs:
        yield ("asked",), RL_SET.hub_id, RL_SET.revision


def _recipe(one: Study, values: Mapping[str, Any]) -> Origins:
    from medpsy.recipes.choices import SETS
    from medpsy.recipes.medical_o1 import HUB_ID

    yield ("corpus", "origin"), HUB_ID, None
    for name, choice in _at(values, ("choices",)).items():
        if (known := SETS.get(_at(choice, ()).get("name"))) is not None:
            yield ("choices", name, "origin"), known.hub_id, known.revision


PLACES = {  # section -> what its parameters read from the hub
    "03_training_data": _seeds,
    "05_rl": _questions,
    "12_gspo_judge": _recipe,
    "13_openmed": _recipe,
}


def _at(values: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the mapping that `keys` lead to, or an empty one."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}
