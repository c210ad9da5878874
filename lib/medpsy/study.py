"""What is studied: one profile's models, suites, sampling and engine, checked, and every path from one root.

Refuses to start from a file it does not fully understand; loads no model and asks no question.
"""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from medpsy import families, strict, study_checks
from medpsy import provenance as record
from medpsy.engines.base import Sampling

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
MARKS = ("params", "notebooks")  # folders by which the root is known
SECTION = re.compile(r"[A-Za-z0-9][\w-]*")
STAGES = ("sft1", "sft2", "rl1", "rl2")  # report Figure 3: two stages of SFT, two of RL, in this order
CHECKPOINT = re.compile(rf"(?P<size>\w+)-(?P<stage>{'|'.join(STAGES)})(?:-seed(?P<seed>\d+))?")

RECIPES = {"o1": "12_gspo_judge", "openmed": "13_openmed"}  # sister recipe -> the section that follows it
RECIPE = re.compile(rf"(?P<base>.+?)-(?P<recipe>{'|'.join(RECIPES)})-(?P<step>[a-z]\w*)(?:-s(?P<seed>\d+))?")


def find_root(*starts: Path) -> Path:
    """Return ``MEDPSY_ROOT``, else the first folder at or above `starts` that holds `MARKS`, else the last start."""
    if named := os.environ.get("MEDPSY_ROOT"):
        return Path(named).resolve()
    above = [folder for start in starts for folder in (start, *start.parents)]
    return next((folder for folder in above if all((folder / name).is_dir() for name in MARKS)), starts[-1])


ROOT = find_root(Path(__file__).resolve().parent, Path.cwd())


@dataclass(frozen=True)
class ModelSpec:
    """One model and where it is.

    Args:
        name: the study's own name for it.
        path: folder relative to the root, hub id, or (with `base_url`) the name under which an endpoint serves it.
        revision: commit of the hub repository (40 hexadecimal digits); None means it still has to be pinned.
        base_url: address of an OpenAI-compatible endpoint; such a model is always asked there.
        chat_template_kwargs: switches of the chat template, e.g. ``{"enable_thinking": True}``.
        opens_thinking: True where the chat template itself writes ``<think>``: a response starts inside its reasoning.
        label: what tables call it; where the report has a row for it, that row's name.
        family: name of a family of `medpsy.families`, where its hub id alone does not say it; `load` takes switches and
            `opens_thinking` from there unless the model has its own.
        gguf: True where the folder holds a GGUF file, which only llama.cpp serves; needs to be said only where the
            folder may be absent, as in a replay.
        max_tokens: of a response at most, where its context holds less than the sampling of the study asks for.
        engine_options: go before those of the study, e.g. ``{"tensor_parallel": 4}`` for a model that one GPU cannot
            hold.
    """

    name: str
    path: str
    revision: str | None = None
    base_url: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    opens_thinking: bool = False
    label: str = ""
    gguf: bool = False
    family: str | None = None
    max_tokens: int | None = None
    engine_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        families.of(self.path, self.family)  # refuses an unknown one
        object.__setattr__(self, "label", self.label or self.name)
        if not self.path:
            raise ValueError("path: '' names no model; give a folder or a hub id")
        address = urlsplit(self.base_url or "http://none")
        if address.scheme not in ("http", "https") or address.username or address.password or address.query:
            raise ValueError(
                "base_url: must be http(s)://host/path without user, key or query; keys go into the environment"
            )
        if self.revision is not None and not COMMIT.fullmatch(self.revision):
            raise ValueError(f"revision: {self.revision!r} can move; give the commit, 40 hexadecimal digits, or null")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens: {self.max_tokens} is below 1; leave it out where the study's is right")

    @property
    def local_dir(self) -> Path | None:
        """The folder that holds the model, or None for a hub id or an endpoint; the folder may not exist yet."""
        folder = ROOT / Path(self.path).expanduser()
        if self.base_url or (HUB_ID.fullmatch(self.path) and not folder.is_dir()):
            return None
        return folder


@dataclass(frozen=True)
class Study:
    """One profile, as ``params/<profile>/study.yaml`` states it.

    Args:
        source: whose suites: the miniature's or those of the hub.
        parser: name of the model that reads the chosen option out of a response.
        questions_per_suite: size of the seeded sample of each suite; 0 means all questions.
        runs: how often every question is asked.
        engine_options: what `medpsy.engines.open_engine` takes for this engine.
        data_dirs: suite -> folder (relative to the root) with the hub's files, instead of the hub.
        open_suites: suites of conversations, judged by rubrics; none by default.
        conversations_per_suite: size of the seeded sample of each open suite; 0 means all conversations.
        open_sampling: how conversations are answered; None means as `sampling` says.
        judges: names of the models that decide the criteria, each by itself.
        judge_sampling: how judges reply; needed where there are judges.
        judge_attempts: how often a judge is asked at most for one readable verdict.
        targets: size class -> the backbone that is trained through `STAGES`; none where nothing is trained.
    """

    profile: str
    source: Literal["mini", "hub"]
    models: dict[str, ModelSpec]
    parser: str
    suites: tuple[str, ...]
    questions_per_suite: int
    sampling: Sampling
    parser_sampling: Sampling
    runs: int
    engine: Literal["transformers", "llama_cpp", "vllm", "ray", "openai"]
    engine_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    data_dirs: dict[str, str] = field(default_factory=dict)
    open_suites: tuple[str, ...] = ()
    conversations_per_suite: int = 0
    open_sampling: Sampling | None = None
    judges: tuple[str, ...] = ()
    judge_sampling: Sampling | None = None
    judge_attempts: int = 3
    targets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        study_checks.check(self)

    def model(self, name: str) -> ModelSpec:
        """Return the model called `name`, of the study, a checkpoint (``"large-sft1"``) or one of a sister recipe.

        The latter are called size (or model), recipe of `RECIPES`, step, and seed where it is not the study's:
        ``"small-o1-gspo"``, ``"small-o1-gspo-s8"``. Their chat template is that of the size's backbone.

        Raises:
            ValueError: an unknown name; the nearest one is offered.
        """
        if name in self.models:
            return self.models[name]
        trained = CHECKPOINT.fullmatch(name)
        if trained and trained["size"] in self.targets:
            return self.checkpoint(trained["size"], trained["stage"], trained["seed"] and int(trained["seed"]))
        made = RECIPE.fullmatch(name)
        if made and (base := self.targets.get(made["base"], made["base"])) in self.models:
            seed = f", seed {made['seed']}" if made["seed"] else ""
            return self._trained(base, name, f"{made['recipe']} {made['step']}{seed}")
        known = [*self.models, *(f"{size}-{stage}" for size in self.targets for stage in STAGES)]
        raise ValueError(f"model {name!r} is not in params/{self.profile}/study.yaml; {strict.nearest(name, known)}")

    def checkpoint(self, size: str, stage: str, seed: int | None = None) -> ModelSpec:
        """Return the model that `stage` leaves of the target of `size`, in the study's outputs; it may not exist yet.

        Args:
            seed: of the training; the study's own by default. Checkpoints of another one bear it in their name.

        Raises:
            ValueError: no such size class or stage.
        """
        if size not in self.targets:
            file = f"params/{self.profile}/study.yaml"
            raise ValueError(f"size {size!r} is no target of {file}; {strict.nearest(size, self.targets)}")
        if stage not in STAGES:
            raise ValueError(f"stage {stage!r} is unknown; {strict.nearest(stage, STAGES)}")
        again = "" if seed in (None, self.seed) else f"-seed{seed}"
        return self._trained(self.targets[size], f"{size}-{stage}{again}", f"{stage}{again.replace('-', ', ')}")

    def _trained(self, base: str, name: str, what: str) -> ModelSpec:
        """Return the model `name` that training leaves of the model `base` in the study's outputs."""
        backbone = self.models[base]
        place = {"path": (self.models_dir / name).relative_to(ROOT).as_posix(), "revision": None, "base_url": None}
        return replace(backbone, name=name, label=f"{backbone.label}, {what}", **place)

    def section_dir(self, section: str) -> Path:
        if not SECTION.fullmatch(section):
            raise ValueError(f"section {section!r} is no notebook name; use letters, digits, _ and -")
        return self.outputs / section

    @property
    def outputs(self) -> Path:
        return ROOT / "outputs" / self.profile

    @property
    def store_dir(self) -> Path:
        return self.outputs / "responses"

    @property
    def gguf_dir(self) -> Path:
        return self.outputs / "gguf"

    @property
    def models_dir(self) -> Path:
        """Where checkpoints land, a folder each."""
        return self.outputs / "models"

    @property
    def corpora_dir(self) -> Path:
        return self.outputs / "corpora"

    @property
    def unpinned(self) -> tuple[str, ...]:
        """Names of the hub models without a revision; a result that used one cannot be repeated for certain."""
        return tuple(m.name for m in self.models.values() if not (m.local_dir or m.base_url or m.revision))


def profiles() -> tuple[str, ...]:
    """Return the profiles there are: the folders of ``params`` that hold a study."""
    return tuple(sorted(path.parent.name for path in (ROOT / "params").glob("*/study.yaml")))


def load(profile: str) -> Study:
    """Return the study of `profile`, read strictly from ``params/<profile>/study.yaml``.

    Raises:
        strict.SettingsError: names file, key, value and fix.
    """
    if profile not in profiles():
        fix = strict.nearest(profile, profiles()) if profiles() else "set MEDPSY_ROOT to the folder of the project"
        raise strict.SettingsError(f"params/{profile}/study.yaml: no such profile; {fix}")
    place = strict.Place(f"params/{profile}/study.yaml")
    raw = strict.read(ROOT / place.file, place.file)
    seed = strict.value(raw.get("seed", 0), int, place.at("seed"))
    given: dict[str, object] = {"models": _models(strict.take(raw, "models", place), place.at("models"))}
    for key in ("sampling", "parser_sampling"):
        given[key] = strict.build(Sampling, strict.take(raw, key, place), place.at(key), seed=seed)
    for key in ("open_sampling", "judge_sampling"):
        if (settings := raw.pop(key, None)) is not None:
            given[key] = strict.build(Sampling, settings, place.at(key), seed=seed)
    return strict.build(Study, raw, place, profile=profile, **given)


def provenance() -> dict[str, object]:
    """Return what produced a result: commit, dirty flag, versions, machine; no host name, path or secret."""
    return record.collect(ROOT)


def _models(raw: object, place: strict.Place) -> dict[str, ModelSpec]:
    named = strict.mapping(raw, place).items()
    return {
        name: strict.build(ModelSpec, families.completed(entry), place.at(name), name=name) for name, entry in named
    }
