"""Steps of the sister recipes as jobs: any parent, any method, under a name by which the study finds the checkpoint.

Trains nothing. Every path comes from the study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medpsy import strict
from medpsy.engines import fingerprint
from medpsy.generation import replaying
from medpsy.study import RECIPE, RECIPES, ModelSpec, Study
from medpsy.training.dpo_settings import DpoSettings
from medpsy.training.job import Job
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings
from medpsy.training.stages import checked, placed

SETTINGS = {"sft": SftSettings, "rl": RlSettings, "dpo": DpoSettings}


def recipe_job(
    study: Study,
    name: str,
    *,
    parent: ModelSpec | str,
    method: str,
    settings: Mapping[str, Any],
    data: Sequence[Path],
) -> Job:
    """Return the job that leaves the checkpoint `name`, which `study.model` then finds.

    Args:
        name: size or model, recipe, step, and seed where it is not the study's: ``"small-o1-gspo-s8"``.
        parent: what it starts from; a name is one that `study.model` knows.
        method: ``"sft"``, ``"rl"`` or ``"dpo"``.
        settings: the fields of the method's settings but for the seed.
        data: files: a corpus (sft), pairs (dpo), questions to train on and held-out ones (rl), or, where a judge gives
            the reward, open questions.

    Raises:
        strict.SettingsError: an unknown method or field, or a value that cannot be meant.
        ValueError: a name that the study would not find, an unknown model, or a parent of another architecture.
        FileNotFoundError: a file of `data` is not there.
    """
    made = RECIPE.fullmatch(name)
    if not made or name in study.models:
        raise ValueError(
            f"name {name!r}: it must be <size>-<recipe>-<step>[-s<seed>], with recipe one of {', '.join(RECIPES)}"
        )
    spec, base = study.model(name), study.targets.get(made["base"], made["base"])
    start = study.model(parent) if isinstance(parent, str) else parent
    place = strict.Place(f"params/{study.profile}/{RECIPES[made['recipe']]}.yaml", (made["step"],))
    if method not in SETTINGS:
        raise place.error(f"method {method!r} is unknown; {strict.nearest(method, SETTINGS)}")
    whole = checked(SETTINGS[method], settings, place, int(made["seed"] or study.seed))
    files = [Path(one) for one in data]
    check_files(files, name, method, whole)
    return placed(study, spec, start, study.model(base), method, whole, files, judge_of(study, whole))


def check_files(files: Sequence[Path], name: str, method: str, settings: Mapping[str, Any]) -> None:
    """Raise unless the `files` are there, and as many as the method reads."""
    wanted = (1 if settings["reward"] == "judge" else 2) if method == "rl" else None
    if not files or wanted not in (None, len(files)):
        raise ValueError(f"{name}: {len(files)} files of data; {method} reads {wanted or 'at least one'} here")
    for file in files:
        if not replaying() and not file.is_file():
            raise FileNotFoundError(f"{name}: {file.parent.name}/{file.name} is not there; run the cell that writes it")


def judge_of(study: Study, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job says of its judge; nothing where there is none.

    Raises:
        ValueError: the study does not know the judge, or does not say how judges reply.
    """
    if not settings.get("judge"):
        return {}
    spec = study.model(settings["judge"]["model"])
    if study.judge_sampling is None:
        raise ValueError(f"judge_sampling: params/{study.profile}/study.yaml says not how judges reply; add it")
    known = {} if replaying() else {"fingerprint": fingerprint(spec)}
    sampling = {"sampling": asdict(study.judge_sampling), "attempts": study.judge_attempts}
    return known | sampling | {"profile": study.profile}
