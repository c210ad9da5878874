"""What must hold of a study before anything is asked; every message names the key and the fix.

Reads no file: types and unknown keys are the work of `medpsy.strict`.
"""

from typing import TYPE_CHECKING

from medpsy import strict
from medpsy.engines.base import Sampling

if TYPE_CHECKING:
    from medpsy.study import Study


def check(study: "Study") -> None:
    """Raise a ValueError at the first setting of `study` that cannot be meant."""
    _check_models(study)
    _check_targets(study)
    _check_suites(study)
    _check_counts(study)
    for key in ("sampling", "parser_sampling", "open_sampling", "judge_sampling"):
        if (sampling := getattr(study, key)) is not None:
            _check_sampling(key, sampling)
    for key in ("sampling", "open_sampling"):
        sampling = getattr(study, key)
        if study.runs > 1 and sampling is not None and sampling.temperature == 0:
            raise ValueError(
                f"runs: {study.runs} runs at temperature 0 ({key}) repeat one text; set runs: 1 or a temperature"
            )


def _check_models(study: "Study") -> None:
    if study.parser not in study.models:
        raise ValueError(f"parser: {study.parser!r} is not under models; {strict.nearest(study.parser, study.models)}")
    for name in study.judges:
        if name not in study.models:
            raise ValueError(f"judges: {name!r} is not under models; {strict.nearest(name, study.models)}")
    if len(set(study.judges)) < len(study.judges):
        raise ValueError(f"judges: {list(study.judges)} must name each judge once")
    if study.judges and study.judge_sampling is None:
        fix = "add it (the reference implementation of HealthBench has temperature 0.5 and max_tokens 2048)"
        raise ValueError(f"judge_sampling: this key is missing, and there are judges; {fix}")


def _check_targets(study: "Study") -> None:
    for size, name in study.targets.items():
        if not size.isidentifier():
            raise ValueError(f"targets: {size!r} cannot name a size class; use a word such as large")
        if name not in study.models:
            fix = strict.nearest(name, study.models)
            raise ValueError(f"targets.{size}: {name!r} is not under models; {fix}")
        if study.models[name].base_url:
            raise ValueError(f"targets.{size}: {name!r} is behind an endpoint; name a model whose weights can be read")


def _check_suites(study: "Study") -> None:
    from medpsy.benchmarks import OPEN_SUITES, RL_SET, SUITES  # late: only the names are needed

    both = {**SUITES, **OPEN_SUITES, RL_SET.key: RL_SET}
    for key, names, known in (
        ("suites", study.suites, SUITES),
        ("open_suites", study.open_suites, OPEN_SUITES),
        ("data_dirs", study.data_dirs, both),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"{key}: {name!r} is no suite; {strict.nearest(name, known)}")
    if not study.suites or len(set(study.suites)) < len(study.suites):
        raise ValueError(f"suites: {list(study.suites)} must name each suite once, and at least one")
    if len(set(study.open_suites)) < len(study.open_suites):
        raise ValueError(f"open_suites: {list(study.open_suites)} must name each suite once")
    if study.data_dirs and study.source == "mini":
        raise ValueError("data_dirs: the miniature reads no files; remove data_dirs or set source: hub")


def _check_counts(study: "Study") -> None:
    for key, what in (("questions_per_suite", "questions"), ("conversations_per_suite", "conversations")):
        if getattr(study, key) < 0:
            raise ValueError(f"{key}: {getattr(study, key)} is below 0; 0 means all {what}")
    if study.runs < 1:
        raise ValueError(f"runs: {study.runs} is below 1; the report has 3")
    if study.judge_attempts < 1:
        raise ValueError(f"judge_attempts: {study.judge_attempts} is below 1; 3 asks an unreadable judge twice more")


def _check_sampling(key: str, sampling: Sampling) -> None:
    for name, least, most in (("max_tokens", 1, None), ("temperature", 0, None), ("top_k", 0, None), ("top_p", 0, 1)):
        given = getattr(sampling, name)
        if given < least or (most and not least < given <= most):
            wanted = f"above {least} and at most {most}" if most else f"{least} or above"
            raise ValueError(f"{key}.{name}: {given} is out of range; it must be {wanted}")
