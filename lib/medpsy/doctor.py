"""What a profile needs and this machine lacks, and the commits of the hub that its files do not name yet.

Installs and downloads nothing. `examine` asks no network but the endpoints that a profile names, and starts one model,
of the miniature, since llama.cpp may load on a processor and fail there. `pin` asks the hub for commits; a token comes
from where the hub's own client takes it, and is never shown.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from medpsy import families, prompts, provenance, strict, study
from medpsy.data.suites import EVERY
from medpsy.engines import EngineError, programs
from medpsy.engines.models import no_such_file
from medpsy.engines.programs import ending
from medpsy.files import write_text
from medpsy.planning import costs, plan
from medpsy.planning.costs import Size, unit_costs
from medpsy.study import COMMIT, ModelSpec, Study

PACKAGES = strict.read(Path(__file__).with_name("doctor.yaml"))  # engine -> what it imports
ON_GPU = ("vllm", "ray")  # engines whose models are too large for a CPU
CLUSTER = ("paper",)  # profiles whose trainings take several nodes
ROOM = 1.0  # GB of pages, figures and tables; ours
SECONDS = 180.0  # vLLM alone imports in some 15 s on two idle cores
ENDPOINT_SECONDS = 3.0  # that an endpoint may take to say anything
HUB_SECONDS = 30.0  # that one answer of the hub may take
SERVED = 0.6  # ours: share of the memory that a model's file may take
GB, GIB = 1e9, 2**30
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML has it, is ten times as fast


def examine(profiles: Sequence[str] | None = None) -> dict:
    """Return as JSON-ready data: machine, packages, engines, and of `profiles` (None: of all) the readiness."""
    studies = {name: study.load(name) for name in profiles or study.profiles()}
    answer = {"machine": machine(), "packages": provenance.versions(), "engines": engines()}
    return answer | {"profiles": {name: readiness(settings, answer) for name, settings in studies.items()}}


def machine() -> dict:
    """Return this machine in numbers; the disk of the hub's cache only where it is another one than the project's."""
    root, cache = study.find_root(), Path(constants.HF_HUB_CACHE)
    cache = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free, free_cache = (round(shutil.disk_usage(folder).free / GIB, 1) for folder in (root, cache))
    return {
        "python": sys.version.split()[0],
        "cores": provenance.cores(),
        "memory_gib": provenance.memory_gib(),
        "gpus": provenance.gpus(),
        "gpu_memory_gib": provenance.gpu_memory(),
        "sbatch": shutil.which("sbatch"),
        "free_disk_gib": free,
        "free_cache_gib": free_cache if cache.stat().st_dev != root.stat().st_dev else None,
    }


def engines() -> dict[str, str | None]:
    """Return for each engine why it cannot be used, or None; each is really imported, in a process of its own."""
    with ThreadPoolExecutor() as pool:
        problems = dict(zip(PACKAGES, pool.map(_import_problem, PACKAGES.values()), strict=True))
    return problems | {"llama_cpp": problems["llama_cpp"] or _llama_problem()}


def _import_problem(names: Sequence[str]) -> str | None:
    if absent := [name for name in names if importlib.util.find_spec(name) is None]:
        return f"{', '.join(absent)} not installed"
    command = [sys.executable, "-c", f"import {', '.join(names)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"its import took more than {SECONDS:.0f} s"
    last = [ending(done.returncode), *done.stderr.strip().splitlines()][-1]
    return f"its import failed: {last}" if done.returncode else None


def _llama_problem() -> str | None:
    """Return which tool of llama.cpp is missing, or why it fails with a quantized file on this machine, or None."""
    from medpsy.quantization import gguf  # late: takes seconds

    try:
        for name in programs.PROGRAMS:
            programs.find(name)
    except FileNotFoundError as missing:
        return str(missing)
    if problem := gguf.trial():
        cure = f"unset {programs.VARIABLE} or take llama.cpp off PATH, and `make setup` builds one that works"
        return f"{problem.splitlines()[0]}. If it is no build of `make setup`: {cure}"
    return None


def printed(answer: dict) -> str:
    lines = [f"{name}: {value}" for name, value in (answer["machine"] | answer["packages"]).items()]
    lines += ["engines:", *(f"  {kind}: {problem or 'ready'}" for kind, problem in answer["engines"].items())]
    lines.append("profiles:")
    for name, needs in answer["profiles"].items():
        lines.append(f"  {name}: {'not ready' if needs['missing'] else 'ready'}")
        lines += [f"    {sentence}" for sentence in needs["missing"]]
        lines += [f"    ahead: {sentence}" for sentence in needs["ahead"]]
        if needs["disk_gb"] is not None:
            lines.append(f"    {needs['disk_gb']:.1f} GB of disk in all, {needs['download_gb']:.1f} GB to download")
    return "\n".join(lines)


@dataclass(frozen=True)
class Case:
    """One profile on this machine, as the checks below look at it; `here` and `engines` are of `examine`'s answer."""

    settings: Study
    here: Mapping[str, Any]
    engines: Mapping[str, str | None]

    @cached_property
    def sizes(self) -> dict[str, Size]:
        """Model -> its size, of those that run here and that are known."""
        sizes = {}
        for name in (name for name, model in self.settings.models.items() if not model.base_url):
            with suppress(ValueError, LookupError):  # not in the list, or a configuration that lacks what counts
                sizes[name] = costs.model_size(self.settings, name)
        return sizes

    @cached_property
    def remote(self) -> list[str]:
        """Models of the hub that are not in its cache."""
        models = self.settings.models.values()
        return [model.name for model in models if not all(_cached(*part) for part in _parts(model))]

    @property
    def download(self) -> float:
        """GB of models that are still to be fetched."""
        return self._weights(self.remote)

    def _weights(self, names: Iterable[str]) -> float:
        """Return the GB of those of the hub; several models may be one file."""
        sizes = {self.settings.models[name].file or name: self.sizes[name] for name in names if name in self.sizes}
        return sum(size.weights for size in sizes.values() if size.remote) / GB

    @cached_property
    def disk(self) -> float | None:
        """GB that the profile will add; None where there is no forecast of it."""
        try:
            total = plan.forecast(self.settings.profile, slower=1.0).total.disk
        except (ValueError, LookupError):
            return None
        cached = self._weights(self.sizes) - self.download
        return max(total - cached, self.download) + ROOM


def _parts(model: ModelSpec) -> Iterator[tuple[str, str | None, str]]:
    """Yield repository and commit of what `model` reads from the hub, and a pattern of what must be there."""
    if not (model.base_url or model.local_dir):
        yield model.path, model.revision, "config.json" if model.file else "*.safetensors"
    if model.hub_file:
        repository, name = model.hub_file
        yield repository, model.file_revision, name


def _cached(repository: str, revision: str | None, pattern: str) -> bool:
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return False
    return any(folder.glob(pattern))


def readiness(settings: Study, answer: Mapping[str, Any]) -> dict:
    """Return what a profile needs, JSON-ready, where `answer` holds ``machine`` and ``engines`` as that of `examine`:
    ``missing``, what would stop it, and ``ahead``, what to know before it starts, a sentence each; ``download_gb``,
    models still to be fetched; ``disk_gb``, all that it will add, None where no forecast can be made."""
    case = Case(settings, answer["machine"], answer["engines"])
    needs: dict[str, Any] = {"missing": [], "ahead": []}
    for check in CHECKS:
        for kind, sentence in check(case):
            needs[kind].append(sentence)
    return needs | {"download_gb": case.download, "disk_gb": case.disk}


Lacks = Iterator[tuple[Literal["missing", "ahead"], str]]


def _engine(case: Case) -> Lacks:
    kinds = [case.settings.engine, *(case.settings.answers(model)[0] for model in case.settings.models.values())]
    for kind in dict.fromkeys(kinds):  # a GGUF file has an engine of its own
        if problem := case.engines[kind]:
            yield "missing", f"engine {kind}: {problem}"
    if case.settings.profile in CLUSTER and not case.here["sbatch"]:
        yield "missing", "sbatch of Slurm not found; its trainings take several nodes: make report EXECUTOR=slurm"


def _gpus(case: Case) -> Lacks:
    """Yield what GPUs lack: those of this machine, or where Slurm has them, those that the profile is planned for."""
    settings, gpus, memories = case.settings, case.here["gpus"], case.here["gpu_memory_gib"]
    if settings.engine not in ON_GPU or settings.engine_options.get("address"):
        return
    options = {name: settings.engine_options | model.engine_options for name, model in settings.models.items()}
    shared = {name: each.get("tensor_parallel", 1) for name, each in options.items()}  # GPUs of one copy of a model
    wanted = max(shared[name] * each.get("replicas", 1) for name, each in options.items())
    if not gpus and not (settings.profile in CLUSTER and case.here["sbatch"]):
        yield "missing", "no NVIDIA GPU; its models are too large for a CPU"
    elif 0 < len(gpus) < wanted:
        yield "missing", f"engine_options (replicas, tensor_parallel) want {wanted} GPUs, and there are {len(gpus)}"
    known = unit_costs().gpus
    if usual := known.get(unit_costs().usual.get(settings.profile)) or (memories and next(iter(known.values()))):
        gpu = replace(usual, memory=min(memories) * GIB / GB) if memories else usual
        needed = {name: costs.gpus_needed(size, gpu) for name, size in case.sizes.items()}
        if large := [f"{name} takes {count}" for name, count in needed.items() if count > shared[name]]:
            fix = "set tensor_parallel in their engine_options, or serve them elsewhere and name base_url"
            yield "missing", f"more GPUs of {gpu.memory:.0f} GB than they are given: {', '.join(large)}; {fix}"


def _memory(case: Case) -> Lacks:
    """Yield the files that leave too little of this machine's memory to the cache of a response."""
    memory = case.here["memory_gib"] * GIB
    large = [name for name, size in case.sizes.items() if size.weights > SERVED * memory]
    if case.settings.engine == "llama_cpp" and large:
        yield "missing", f"{memory / GB:.0f} GB of memory are too little for {', '.join(large)}; leave them out"


def _room(case: Case) -> Lacks:
    if case.disk is None:
        yield "ahead", f"no forecast of its disk; `medpsy plan --profile {case.settings.profile}` says why"
        return
    apart = 0.0 if case.here["free_cache_gib"] is None else case.download
    parts = [(case.disk - apart, case.here["free_disk_gib"], "downloads and outputs")]
    parts += [(apart, case.here["free_cache_gib"], "downloads, in the hub's cache")] if apart else []
    for wanted, free_gib, what in parts:
        if (free := free_gib * GIB / GB) < wanted:
            yield "missing", f"{free:,.0f} GB of disk are free; {wanted:,.0f} are needed for {what}"


def _folders(case: Case) -> Lacks:
    """Yield the folders, models and the prompt that the profile's files name and that are not there."""
    settings, named = case.settings, {}
    try:
        prompts.grader(settings)
    except strict.SettingsError as error:
        yield "missing", str(error)
    for name, model in settings.models.items():
        if model.local_dir and not (model.local_dir / "config.json").is_file():
            yield "missing", f"no model in {model.path} ({name})"
        if model.local_file and not model.local_file.is_file():
            yield "missing", f"no file {model.file} ({name})"
    for file in sorted((settings.root / settings.file).parent.glob("*.yaml")):
        named |= dict(_data_dirs(strict.read(file), strict.Place(f"params/{settings.profile}/{file.name}")))
    for place, path in named.items():
        if not (settings.root / Path(path).expanduser()).exists():
            yield "missing", f"no data in {path}; put it there ({place})"


def _data_dirs(values: Mapping[str, Any], place: strict.Place) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _data_dirs(value, place.at(key))
        elif (key == "data_dir" and value and not values.get("hub_id")) or place.keys[-1:] == ("data_dirs",):
            yield str(place.at(key)), value  # a hub_id beside it stands in for the folder


def _endpoints(case: Case) -> Lacks:
    """Yield the endpoints where nobody answers. Whatever a server says is an answer, be it that it wants a key."""
    from medpsy.engines.client import Failure, ask_for_models  # late: a study without endpoints needs no client

    served: dict[str, list[str]] = {}
    for name, model in case.settings.models.items():
        if model.base_url:
            served.setdefault(model.base_url, []).append(name)
    for address, names in served.items():
        try:
            ask_for_models(address, timeout=ENDPOINT_SECONDS)
        except Failure as failure:
            fix = "start that server or correct base_url"
            yield "missing", f"{', '.join(names)}: nobody answers at {address} ({failure}); {fix}"
        except EngineError as error:
            yield "missing", f"{', '.join(names)}: {error}"


def _hub(case: Case) -> Lacks:
    """Yield what is to be downloaded, the terms to be accepted for it, and what has no commit."""
    if case.remote:
        offline = "HF_HUB_OFFLINE is set, and these are not in the hub's cache"
        told = offline if constants.HF_HUB_OFFLINE else f"to be downloaded on first use, {case.download:,.0f} GB"
        yield "missing" if constants.HF_HUB_OFFLINE else "ahead", f"{told}: {', '.join(case.remote)}"
    token = bool(get_token())
    then = "with the account of the token that is set" if token else "and set HF_TOKEN to a token of that account"
    for model in (case.settings.models[name] for name in case.remote):
        if (family := families.of(model.path, model.family)) and family.terms:
            told = f"gated: accept {family.terms} on the page of {model.path}, {then}"
            yield "ahead" if token else "missing", told

    loose, command = unpinned(case.settings), f"`medpsy pin --profile {case.settings.profile}` writes the newest"
    if sets := [str(place) for place in loose if place.kind == "dataset"]:
        told = f"not read without a commit: {'; '.join(sets)}. {command}"
        yield "missing", f"{told}; remove only lines of sets that you read from a folder"
    if models := dict.fromkeys(place.keys[1] for place in loose if place.kind == "model"):
        yield "ahead", f"whatever the hub has by then, for want of a commit: {', '.join(models)}. {command}"


CHECKS = (_engine, _gpus, _memory, _room, _folders, _endpoints, _hub)


@dataclass(frozen=True)
class Pin:
    """A commit of `hub_id` that is missing: it belongs into `file`, relative to the root, where `keys` lead."""

    file: str
    keys: tuple[str, ...]
    hub_id: str
    kind: Literal["model", "dataset"]

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(self.keys)} ({self.kind} {self.hub_id})"


def unpinned(settings: Study) -> list[Pin]:
    """Return what a profile reads from the hub without a commit: its models, and data sets of its `revisions`."""
    on_disk = {EVERY[key].hub_id for key in settings.data_dirs}
    loose = [hub_id for hub_id, commit in settings.revisions.items() if not commit and hub_id not in on_disk]
    own = settings.models.values()
    models = [(("models", one.name, key), hub_id, "model") for one in own for key, hub_id in one.loose.items()]
    sets = [(("revisions", hub_id), hub_id, "dataset") for hub_id in loose]
    return [Pin(settings.file, *place) for place in (*models, *sets)]


def pin(profile: str) -> tuple[list[str], list[str]]:
    """Write the newest commit of the main branch into every place of `unpinned`, when the hub has named them all.
    Returns what was written, and what was not, with the reason. A ConnectionError changes nothing."""
    settings = study.load(profile)
    path, written, refused = settings.root / settings.file, [], []
    text = path.read_text(encoding="utf-8")
    for place in unpinned(settings):
        try:
            commit = _newest(place)
            if place.keys[-1] == "file_revision" and (lacks := no_such_file(settings.models[place.keys[1]])):
                raise ValueError(lacks)
            text = with_commit(text, place.keys, commit)
            written.append(f"{place}: {commit}")
        except ValueError as error:
            refused.append(f"{place}: {error}")
    if written:
        write_text(path, text)
    return written, refused


def _newest(place: Pin) -> str:
    """Return the commit of the main branch; a ValueError says why the hub names none."""
    try:
        commit = HfApi().repo_info(place.hub_id, repo_type=place.kind, revision="main", timeout=HUB_SECONDS).sha
    except HfHubHTTPError as error:  # the hub answers: no such repository, or not for this account
        raise ValueError(f"{type(error).__name__}; check its id, accept its terms, set HF_TOKEN") from None
    except Exception as error:  # no network: the client raises many kinds
        why = f"{type(error).__name__} at {place.hub_id}"
        raise ConnectionError(f"the hub cannot be reached ({why}); nothing was changed, try again online") from error
    if not COMMIT.fullmatch(str(commit)):
        raise ValueError(f"the hub names {commit!r}, which is no commit")
    return commit


def with_commit(text: str, keys: Sequence[str], commit: str) -> str:
    """Return the YAML `text` with `commit` on the line where `keys` lead, or on a new one; all else stays as it is. A
    ValueError says where no mapping of lines could hold the last key, or another value would change too."""
    try:
        node, wanted = yaml.compose(text, LOADER), yaml.load(text, LOADER)
        for key in keys[:-1]:
            node = {name.value: value for name, value in node.value}[key]
        marks = {name.value: name.start_mark for name, _ in node.value}
        first, there = marks.get(keys[-1], node.value[0][0].start_mark), keys[-1] in marks
        comment = f"# ours: not stated; the newest on {datetime.now(UTC).date()}, by `medpsy pin`"
        lines = text.splitlines()
        lines[first.line + (not there) : first.line + 1] = [f"{' ' * first.column}{keys[-1]}: {commit}  {comment}"]
        reduce(getitem, keys[:-1], wanted)[keys[-1]] = commit
        changed = "\n".join(lines) + "\n"
        if yaml.load(changed, LOADER) == wanted:
            return changed
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError):
        pass  # no mapping is there, or one that is written in a single line
    raise ValueError(f"{'.'.join(keys)} cannot be changed alone; write {keys[-1]}: {commit} there")
