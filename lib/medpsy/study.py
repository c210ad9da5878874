"""What is studied: one profile's models, suites, sampling and engine, checked, and every path from its root.

Refuses to start from a file it does not fully understand; loads no model and asks no question.
"""

import os
import re
from collections.abc import Callable
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from medpsy import engines, families, strict
from medpsy.engines.base import Sampling, check_sampling

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILE = re.compile(rf"(?P<repository>{HUB_ID.pattern})/(?P<name>.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
SO_FAR = "MEDPSY_SO_FAR"  # environment variable: set, nothing is asked, and what is answered so far is shown
SO_FAR_RECORD = "so_far.json"  # of a section: its record then, which is never taken for the whole one
MARKS = ("params", "notebooks")  # folders by which the root is known
SECTION = re.compile(r"[A-Za-z0-9][\w-]*")
STAGES = ("sft1", "sft2", "rl1", "rl2")  # report Figure 3: two stages of SFT, two of RL, in this order
FORMAT = re.compile(r"(?<![^\W_])(?:B?F16|F32|MXFP4|I?Q\d(?:_[A-Z0-9]+)+|TQ\d_\d)(?=\W)", re.IGNORECASE)  # of GGUF
CHECKPOINT = re.compile(rf"(?P<size>\w+)-(?P<stage>{'|'.join(STAGES)})(?:-seed(?P<seed>\d+))?")

RECIPES = {"o1": "12_gspo_judge", "openmed": "13_openmed"}  # sister recipe -> the section that follows it
MAKERS = RECIPES | {"sft1": "04_sft", "sft2": "04_sft", "rl1": "05_rl", "rl2": "05_rl"}  # who trains a stage or recipe
WHOLE = ("config.json", "model.safetensors")  # without them a checkpoint was not written to its end
SAMPLINGS = ("sampling", "parser_sampling", "open_sampling", "judge_sampling")
RECIPE = re.compile(rf"(?P<base>.+?)-(?P<recipe>{'|'.join(RECIPES)})-(?P<step>[a-z]\w*)(?:-s(?P<seed>\d+))?")


def find_root() -> Path:
    """Return ``MEDPSY_ROOT``, else the first folder at or above this file and the working folder that holds `MARKS`,
    else the working folder."""
    if named := os.environ.get("MEDPSY_ROOT"):
        return Path(named).resolve()
    here = Path.cwd()
    above = [*Path(__file__).resolve().parents, here, *here.parents]
    return next((folder for folder in above if all((folder / name).is_dir() for name in MARKS)), here)


def _checked(holds: Callable[[Any], bool], fix: str) -> AfterValidator:
    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"{value!r} {fix}")
        return value

    return AfterValidator(check)


Commit = Annotated[str, _checked(COMMIT.fullmatch, "can move; give the commit, 40 hexadecimal digits, or null")]
Names = Annotated[tuple[str, ...], _checked(lambda names: len(set(names)) == len(names), "must name each once")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
CONFIG = ConfigDict(hide_input_in_errors=True)  # which may be a key, in an address


@dataclass(frozen=True, config=CONFIG)
class ModelSpec:
    """One model and where it is.

    Args:
        path: folder relative to the root, hub id, or (with `base_url`) the name under which an endpoint serves it.
        revision: commit of the hub repository; None means it still has to be pinned.
        file: the GGUF file whose weights are served, relative to the root or ``repository/NAME.gguf`` on the hub; of
            `path` only tokenizer, chat template and configuration are then read.
        file_revision: commit of the hub repository of `file`, as `revision`.
        base_url: address of an OpenAI-compatible endpoint; such a model is always asked there.
        chat_template_kwargs: switches of the chat template, e.g. ``{"enable_thinking": True}``.
        opens_thinking: True where the chat template itself writes ``<think>``: a response starts inside its reasoning.
        label: what tables call it; where the report has a row for it, that row's name.
        gguf: True where the folder, which may be absent, holds a GGUF file, which only llama.cpp serves.
        family: of `medpsy.families`, where its hub id alone does not say it.
        max_tokens: of a response at most, where its context holds less than the sampling of the study asks for.
        engine_options: of the engine that answers for this model, before those of the study: ``{"tensor_parallel": 4}``
            where one GPU cannot hold it, ``{"key_env": "HOST_KEY"}`` for an endpoint with a key of its own.
    """

    name: str
    path: str
    revision: Commit | None = None
    file: Annotated[str, _checked(lambda name: name.endswith(".gguf"), "is no GGUF file")] | None = None
    file_revision: Commit | None = None
    base_url: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    opens_thinking: bool = False
    label: str = ""
    gguf: bool = False
    family: str | None = None
    max_tokens: Positive | None = None
    engine_options: dict[str, Any] = field(default_factory=dict)
    root: Path = field(default_factory=find_root, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        families.of(self.path, self.family)  # refuses an unknown one
        object.__setattr__(self, "label", self.label or self.name)
        object.__setattr__(self, "gguf", self.gguf or self.file is not None)
        if not self.path:
            raise ValueError("path: '' names no model; give a folder or a hub id")
        if self.base_url and self.file:
            raise ValueError(f"file: {self.file!r} beside base_url; an endpoint has its own weights; remove one")
        address = urlsplit(self.base_url or "http://none")
        if address.scheme not in ("http", "https") or address.username or address.password or address.query:
            fix = "must be http(s)://host/path without user, key or query; keys go into the environment"
            raise ValueError(f"base_url: {fix}")

    @property
    def local_dir(self) -> Path | None:
        """The folder that holds the model, or None for a hub id or an endpoint; the folder may not exist yet."""
        folder = self.root / Path(self.path).expanduser()
        if self.base_url or (HUB_ID.fullmatch(self.path) and not folder.is_dir()):
            return None
        return folder

    @property
    def local_file(self) -> Path | None:
        """The GGUF file on this disk, which may not exist; None for one of the hub, or without `file`."""
        path = self.root / Path(self.file).expanduser() if self.file else None
        return None if self.file and HUB_FILE.fullmatch(self.file) and not path.is_file() else path

    @property
    def hub_file(self) -> tuple[str, str] | None:
        """Repository and name of the GGUF file where it is the hub's."""
        return tuple(HUB_FILE.fullmatch(self.file).groups()) if self.file and not self.local_file else None

    @property
    def format(self) -> str:
        """Number format in the name of the GGUF file, such as Q4_K_M; a ValueError says that it has none."""
        if not self.file or not (found := FORMAT.search(Path(self.file).name)):
            raise ValueError(f"model {self.name!r}: {self.file} names no number format, such as Q4_K_M; rename it")
        return found[0].upper()

    @property
    def told_format(self) -> str:
        """`format`, or the name of a GGUF file that says none."""
        return self.format if FORMAT.search(name := Path(self.file).name) else name

    @property
    def loose(self) -> dict[str, str]:
        """Key of the entry -> hub repository that is read without a commit."""
        read = {"revision": not (self.local_dir or self.base_url) and self.path}
        read["file_revision"] = self.hub_file and self.hub_file[0]
        return {key: repository for key, repository in read.items() if repository and not getattr(self, key)}


@dataclass(frozen=True, config=CONFIG)
class Study:
    """One profile, as ``params/<profile>/study.yaml`` states it.

    Args:
        source: whose suites: the miniature's or those of the hub.
        parser: the model that reads the chosen option out of a response.
        parser_sees: the response, reasoning included (report 4.1.1), or its answer alone.
        questions_per_suite, conversations_per_suite: size of the seeded sample of each suite; 0 means all.
        rounds: in how many all models are asked, each a sample within the next, so that a stopped section has one.
        runs: how often every question is asked.
        data_dirs: suite -> folder (relative to the root) with the hub's files, instead of the hub.
        revisions: hub id of a data set -> commit at which it is read, where the library knows none or another is meant.
        open_sampling: how conversations are answered; None means as `sampling` says.
        judge_attempts: how often a judge is asked at most for one readable verdict.
        judge_prompt: the prompt of HealthBench's judges: ``ours``, ``inspect_evals`` (its own), or a file in the root.
        targets: size class -> the backbone that is trained through `STAGES`.
        root: folder that holds ``params``, ``notebooks`` and ``outputs``.
        so_far: where only what is there so far is shown, suite -> (answered, asked), filled as it is read; else None.
    """

    profile: str
    source: Literal["mini", "hub"]
    models: dict[str, ModelSpec]
    parser: str
    suites: Annotated[Names, Field(min_length=1)]
    questions_per_suite: Count
    sampling: Sampling
    parser_sampling: Sampling
    runs: Positive
    engine: Literal["transformers", "llama_cpp", "vllm", "ray", "openai"]
    engine_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    data_dirs: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, Commit | None] = field(default_factory=dict)
    open_suites: Names = ()
    conversations_per_suite: Count = 0
    rounds: Positive = 1
    open_sampling: Sampling | None = None
    judges: Names = ()
    judge_sampling: Sampling | None = None
    judge_attempts: Positive = 3
    judge_prompt: str = "ours"
    parser_sees: Literal["response", "answer"] = "response"
    targets: dict[str, str] = field(default_factory=dict)
    so_far: Any = field(default=None, repr=False, compare=False)  # one dictionary, however often the study is replaced
    root: Path = field(default_factory=find_root, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        from medpsy.data.suites import EVERY, OPEN_SUITES, SUITES

        models = {name: replace(model, root=self.root) for name, model in self.models.items()}
        object.__setattr__(self, "models", models)
        self._check_models()
        for key, known in (("suites", SUITES), ("open_suites", OPEN_SUITES), ("data_dirs", EVERY)):
            for name in getattr(self, key):
                if name not in known:
                    raise ValueError(f"{key}: {name!r} is no suite; {strict.nearest(name, known)}")
        if self.data_dirs and self.source == "mini":
            raise ValueError("data_dirs: the miniature reads no files; remove data_dirs or set source: hub")
        self._check_sampling()
        strict.bounded(asdict(self), strict.Place(self.file))

    def _check_models(self) -> None:
        named = [("parser", self.parser), *(("judges", name) for name in self.judges)]
        for key, name in named + [(f"targets.{size}", name) for size, name in self.targets.items()]:
            if name not in self.models:
                raise ValueError(f"{key}: {name!r} is not under models; {strict.nearest(name, self.models)}")
        for size, name in self.targets.items():
            if not size.isidentifier():
                raise ValueError(f"targets: {size!r} cannot name a size class; use a word such as large")
            if self.models[name].base_url or self.models[name].file:
                where = "behind an endpoint" if self.models[name].base_url else "a GGUF file"
                raise ValueError(f"targets.{size}: {name!r} is {where}; name a model with weights")
        for name, model in self.models.items():
            if model.base_url:
                from medpsy.engines.client import Options  # late: a study without endpoints needs no client

                place = strict.Place(self.file, ("models", name, "engine_options"))
                strict.build(Options, self.answers(model)[1], place)

    def _check_sampling(self) -> None:
        if self.judges and self.judge_sampling is None:
            fix = "add it (the reference implementation of HealthBench has temperature 0.5 and max_tokens 2048)"
            raise ValueError(f"judge_sampling: this key is missing, and there are judges; {fix}")
        for key, sampling in ((key, getattr(self, key)) for key in SAMPLINGS if getattr(self, key)):
            try:
                check_sampling(sampling)
            except ValueError as error:
                raise ValueError(f"{key}{str(error).removeprefix('sampling')}") from None
            if self.runs > 1 and sampling.temperature == 0 and key in ("sampling", "open_sampling"):
                raise ValueError(
                    f"runs: {self.runs} at temperature 0 ({key}) repeat one text; set runs: 1 or a temperature"
                )

    @property
    def file(self) -> str:
        """The file that states the study, relative to the root."""
        return f"params/{self.profile}/study.yaml"

    def model(self, name: str) -> ModelSpec:
        """Return the model called `name`: of the study, a checkpoint (``"large-sft1"``), or one of a sister recipe,
        called size (or model), recipe of `RECIPES`, step, and seed where it is not the study's: ``"small-o1-gspo-s8"``.
        A ValueError offers the nearest name for an unknown one."""
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
        raise ValueError(f"model {name!r} is not in {self.file}; {strict.nearest(name, known)}")

    def judging(self) -> Sampling:
        """Return how judges reply; a ValueError names the file that does not say it."""
        if self.judge_sampling is None:
            raise ValueError(f"judge_sampling: {self.file} does not say how judges reply; add it")
        return self.judge_sampling

    def answers(self, model: ModelSpec) -> tuple[str, dict[str, Any]]:
        """Return the kind of engine that answers for `model`, and its options: the study's where it is the study's."""
        kind = engines.engine_kind(self.engine, model)
        return kind, (self.engine_options if kind == self.engine else {}) | model.engine_options

    def checkpoint(self, size: str, stage: str, seed: int | None = None) -> ModelSpec:
        """Return the model that `stage` leaves of the target of `size`, in the outputs; it may not exist yet."""
        if size not in self.targets:
            raise ValueError(f"size {size!r} is no target of {self.file}; {strict.nearest(size, self.targets)}")
        if stage not in STAGES:
            raise ValueError(f"stage {stage!r} is unknown; {strict.nearest(stage, STAGES)}")
        again = "" if seed in (None, self.seed) else f"-seed{seed}"
        return self._trained(self.targets[size], f"{size}-{stage}{again}", f"{stage}{again.replace('-', ', ')}")

    def _trained(self, base: str, name: str, what: str) -> ModelSpec:
        place = {"path": f"outputs/{self.profile}/models/{name}", "revision": None, "base_url": None}
        return replace(self.models[base], name=name, label=f"{self.models[base].label}, {what}", **place)

    def require_whole(self, model: ModelSpec, stage: str) -> None:
        """Raise FileNotFoundError, naming the section to run, unless the checkpoint of a stage or recipe is whole."""
        missing = [name for name in WHOLE if not (model.local_dir / name).is_file()]
        if missing:
            section = MAKERS.get(stage, MAKERS[STAGES[-1]])
            raise FileNotFoundError(
                f"checkpoint {model.name!r}: {model.path} has no {' and no '.join(missing)}; run section {section} "
                f"first: python -m medpsy run {section} --profile {self.profile}"
            )

    def files(self, name: str) -> list[ModelSpec]:
        """Return the models that are GGUF files of the model called `name`, asked alike; itself first if it is one."""
        source = self.model(name)
        alike = (model for model in self.models.values() if model.path == source.path)
        files = (model for model in alike if model.file and model.chat_template_kwargs == source.chat_template_kwargs)
        return sorted(files, key=lambda model: model.name != name)

    def commit(self, hub_id: str, known: str | None = None) -> str | None:
        """Return the commit at which the data set `hub_id` is read: the study's, else that `known` to the library."""
        return self.revisions.get(hub_id) or known

    def section_dir(self, section: str) -> Path:
        if not SECTION.fullmatch(section):
            raise ValueError(f"section {section!r} is no notebook name; use letters, digits, _ and -")
        return self.outputs / section

    outputs = property(lambda self: self.root / "outputs" / self.profile)
    store_dir = property(lambda self: self.outputs / "responses")
    gguf_dir = property(lambda self: self.outputs / "gguf")
    models_dir = property(lambda self: self.outputs / "models")  # where checkpoints land, a folder each
    corpora_dir = property(lambda self: self.outputs / "corpora")


def profiles() -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in (find_root() / "params").glob("*/study.yaml")))


def load(profile: str) -> Study:
    """Return the study of `profile`, read strictly from ``params/<profile>/study.yaml`` in the root."""
    root, place = find_root(), strict.Place(f"params/{profile}/study.yaml")
    if profile not in (known := profiles()):
        fix = strict.nearest(profile, known) if known else "set MEDPSY_ROOT to the folder of the project"
        raise place.error(f"no such profile; {fix}")
    raw, given = strict.read(root / place.file, place.file), {"profile": profile, "root": root}
    given["so_far"] = {} if os.environ.get(SO_FAR) else None
    if isinstance(raw.get("models"), dict):
        at, given["models"] = place.at("models"), {}
        for name, entry in raw.pop("models").items():
            given["models"][name] = strict.build(ModelSpec, families.completed(entry), at.at(name), name=name)
    seed = strict.value(raw.get("seed", 0), int, place.at("seed"))
    for key in SAMPLINGS:
        if raw.get(key) is not None:
            given[key] = strict.build(Sampling, raw.pop(key), place.at(key), seed=seed)
    return strict.build(Study, raw, place, **given)
