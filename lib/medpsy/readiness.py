"""What a profile needs against what is here: what would stop it, and what it will fetch and take as it comes.

Looks only: downloads nothing, and asks nobody but the endpoints that the profile itself names.
"""

from collections.abc import Iterator

from medpsy import hub_needs, planning, study
from medpsy.engines.loopback import is_loopback
from medpsy.planning import formulas
from medpsy.planning.costs import Gpu, costs
from medpsy.planning.sizes import Size, size
from medpsy.study import Study

ON_GPU = ("vllm", "ray")  # engines whose models are too large for a CPU
CLUSTER = ("paper",)  # profiles whose trainings take several nodes
ROOM = 1.0  # GB of pages, figures and tables; ours
SECONDS = 3.0  # that an endpoint may take to say anything
GB, GIB = 1e9, 2**30


def readiness(one: Study, found: dict) -> dict:
    """Return what `one` needs, JSON-ready.

    Args:
        found: ``machine`` and ``engines`` as `medpsy.doctor.examine` gathers them.

    Returns:
        ``missing``: what would stop it, and ``ahead``: what to know before it starts, a sentence each; ``download_gb``:
        models still to be fetched; ``disk_gb``: all that it will add, None where no forecast can be made.
    """
    sizes, unsized = _sizes(one)
    fetched = {name: known for name, known in sizes.items() if known.remote and not hub_needs.is_here(one.models[name])}
    download = sum(known.weights for known in fetched.values()) / GB
    need, why = _disk(one, sizes, download)
    missing = [*_engine(one, found), *_gpus(one, found["machine"], sizes), *_room(need, download, found["machine"])]
    missing += [*_folders(one), *_endpoints(one), *hub_needs.stops(one)]
    notes = [*hub_needs.ahead(one, download, unsized), *_llama(one, found["machine"]), *why]
    return {"missing": missing, "ahead": notes, "download_gb": download, "disk_gb": need}


def _sizes(one: Study) -> tuple[dict[str, Size], list[str]]:
    """Return the sizes of the models that are loaded here, and the names of hub models whose size nobody knows."""
    known, unsized = {}, []
    for name, model in one.models.items():
        if not model.base_url:
            try:
                known[name] = size(one, name)
            except (ValueError, LookupError):  # not in the list, or a configuration that lacks what counts
                unsized.append(name)
    return known, [name for name in unsized if not one.models[name].local_dir]


def _disk(one: Study, sizes: dict[str, Size], download: float) -> tuple[float | None, list[str]]:
    """Return the GB that the profile adds to what is here, and why nobody knows, where that is so."""
    try:
        total = planning.plan(one.profile, slower=1.0).total.disk
    except (ValueError, LookupError) as error:
        return None, [f"no forecast of its disk: {error}"]
    whole = sum(known.weights for known in sizes.values() if known.remote) / GB
    return max(total - (whole - download), download) + ROOM, []


def _engine(one: Study, found: dict) -> Iterator[str]:
    if problem := found["engines"][one.engine]:
        yield f"engine {one.engine}: {problem}"
    if one.profile in CLUSTER and not found["machine"]["sbatch"]:
        yield "sbatch of Slurm not found; its trainings take several nodes: make report EXECUTOR=slurm"


def _gpus(one: Study, here: dict, sizes: dict[str, Size]) -> Iterator[str]:
    """Yield what GPUs lack: those of this machine, or where Slurm has them, those that the profile is planned for."""
    if one.engine not in ON_GPU or one.engine_options.get("address"):
        return
    wanted = max(_shared(one, name) * _options(one, name).get("replicas", 1) for name in one.models)
    if not here["gpus"] and not (one.profile in CLUSTER and here["sbatch"]):
        yield "no NVIDIA GPU; its models are too large for a CPU"
    elif 0 < len(here["gpus"]) < wanted:
        yield f"engine_options (replicas, tensor_parallel) want {wanted} GPUs, and there are {len(here['gpus'])}"
    memory = _memory(one, here)
    if memory and (large := _too_large(one, sizes, memory)):
        named = ", ".join(f"{name} ({sizes[name].weights / GB:.0f} GB) {count}" for name, count in large.items())
        fix = "set tensor_parallel in their engine_options, or serve them elsewhere and name base_url"
        yield f"models that want more GPUs of {memory:.0f} GB than they are given, and how many: {named}; {fix}"


def _llama(one: Study, here: dict) -> Iterator[str]:
    if one.engine in ON_GPU and here["gpus"] and not here["llama_gpus"]:
        fix = "put nvcc of CUDA on PATH and call `make setup`, which builds it anew"
        yield f"llama.cpp finds no GPU, so 10_quantization would take days: {fix}"


def _options(one: Study, name: str) -> dict:
    """Return the engine's options for a model."""
    return one.engine_options | one.models[name].engine_options


def _shared(one: Study, name: str) -> int:
    """Return how many GPUs share a copy of a model."""
    return _options(one, name).get("tensor_parallel", 1)


def _memory(one: Study, here: dict) -> float:
    """Return the GB of the smallest GPU, of the usual one of the profile where none is here; 0 if nobody knows."""
    if here["gpu_memory_gib"]:
        return min(here["gpu_memory_gib"]) * GIB / GB
    usual = costs().usual.get(one.profile)
    return costs().gpus[usual].memory if usual else 0.0


def _too_large(one: Study, sizes: dict[str, Size], memory: float) -> dict[str, int]:
    """Return how many GPUs of `memory` GB hold a model, for those that have fewer."""
    gpu = Gpu(peak=1.0, bandwidth=1.0, memory=memory, price=0.0)
    needed = {name: formulas.gpus_needed(known, gpu, costs().serving) for name, known in sizes.items()}
    return {name: count for name, count in needed.items() if count > _shared(one, name)}


def _room(need: float | None, download: float, here: dict) -> Iterator[str]:
    if need is None:
        return
    apart = here["free_cache_gib"] is not None
    parts = [(need - download if apart else need, here["free_disk_gib"], "downloads and outputs")]
    parts += [(download, here["free_cache_gib"], "downloads, in the hub's cache")] if apart else []
    for wanted, gib, what in parts:
        if gib * GIB / GB < wanted:
            yield f"{gib * GIB / GB:,.0f} GB of disk are free; {wanted:,.0f} are needed for {what}"


def _folders(one: Study) -> Iterator[str]:
    for name, model in one.models.items():
        if model.local_dir and not hub_needs.is_here(model):
            yield f"no model in {model.path} ({name})"
    for suite, path in one.data_dirs.items():
        if not (study.ROOT / path).is_dir():
            yield f"{suite}: no folder {path}"


def _endpoints(one: Study) -> Iterator[str]:
    """Yield the endpoints where nobody answers. Whatever a server says is an answer, be it that it wants a key."""
    import httpx

    served: dict[str, list[str]] = {}
    for name, model in one.models.items():
        if model.base_url:
            served.setdefault(model.base_url, []).append(name)
    for address, names in served.items():
        try:
            httpx.get(f"{address.rstrip('/')}/models", timeout=SECONDS, trust_env=not is_loopback(address))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            who = f"{', '.join(names)}: {type(error).__name__}"
            yield f"nobody answers at {address} ({who}); start that server or correct base_url"
