"""What a profile takes: time, memory, disk and money of what its sections do, beside what they took.

Time is that of a GPU by its data sheet, or of a CPU by what the reference machine took.
"""

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from medpsy import record, study
from medpsy.planning import costs
from medpsy.planning.costs import GIGA, Gpu, Size, unit_costs
from medpsy.planning.work import DOCUMENTS, FULL, RULES, Asked, Section, Trained, work
from medpsy.provenance import cores
from medpsy.store import noted
from medpsy.study import Study
from medpsy.training.flops import flops_per_token, memory
from medpsy.training.jobs import SUMMARY, summary

KEPT_BYTES = 2  # per parameter of a checkpoint: bfloat16
CONVERTS = "llama_cpp"  # the engine that writes a file of its own before it serves a model
GIB, HOUR, NIGHT = 2**30, 3600.0, 12
Sizes = Mapping[str, Size]


def gpu_hours(section: Section, sizes: Sizes, gpu: Gpu) -> float:
    """Return the GPU hours of `section`, over all GPUs together."""
    serving = unit_costs().serving
    served = {each.kept or each.model: each.model for each in section.asked if each.what != DOCUMENTS}
    seconds = serving.start * (section.tasks + sum(costs.gpus_needed(sizes[name], gpu) for name in served.values()))
    seconds += serving.gguf * sum(share * sizes[model].weights for model, share in section.quantized) / GIGA
    seconds += serving.merge * sum(sizes[model].weights for model in section.merged) / GIGA
    for each in section.asked:
        size = _served(each, sizes)
        writing = costs.writing_rate(size, gpu, each.read + each.written / 2, each.slots)
        seconds += each.requests * (each.read / costs.reading_rate(size, gpu) + each.written / writing)
    for each in section.trained:
        rate = costs.training_rate(sizes[each.model], gpu, each.mfu, each.document)
        seconds += each.tokens * each.operations / FULL / rate + each.sampled / each.per_second
    return seconds / HOUR


def gpu_memory(section: Section, sizes: Sizes, gpu: Gpu) -> float:
    """Return the most GiB that `section` takes of one GPU: vLLM takes the same share of it whatever it serves."""
    served = gpu.memory * GIGA * unit_costs().serving.memory / GIB if section.asked else 0.0
    return max([served, *(_held(each, sizes) for each in section.trained)])


def _served(each: Asked, sizes: Sizes) -> Size:
    return replace(sizes[each.model], weights=sizes[each.model].weights * each.share)


def _held(each: Trained, sizes: Sizes) -> float:
    how = {"checkpointing": each.checkpointing, "processes": each.processes, "states": each.states}
    return memory(sizes[each.model].shape, int(each.held), **how)


def cpu_hours(section: Section, sizes: Sizes) -> float:
    """Return the hours of `section` on the reference machine if nothing else runs."""
    unit = unit_costs().cpu
    seconds = unit.notebook + section.drawn * unit.drawn + section.launches * unit.start
    seconds += section.tasks * unit.task / cores() + len(section.merged) * unit.merge
    seconds += len(section.quantized) * (unit.build + unit.measure)
    for each in section.asked:  # what the harness asks, processes of its own ask: counted among the tasks
        seconds += each.requests * (each.read * unit.read + each.written * unit.token)
        seconds += unit.serve * (each.what != DOCUMENTS)
    for stages, lanes in _launches(section):
        seconds += unit.start
        for each in stages:
            operations = flops_per_token(sizes[each.model].shape, each.document) * each.operations / FULL
            alone = each.tokens * operations / (unit.train[each.precision] * GIGA)
            seconds += (alone + each.sampled / unit.sampled + each.updates * unit.update) / lanes
    return seconds / HOUR


def cpu_memory(section: Section, sizes: Sizes) -> float:
    """Return the GiB of a notebook, its servers, and the training processes side by side."""
    most = [sum(sorted(_held(each, sizes) for each in stages)[-lanes:]) for stages, lanes in _launches(section)]
    return unit_costs().cpu.memory + max(most, default=0.0)


def _launches(section: Section) -> list[tuple[list[Trained], int]]:
    """Return stages by what is started together, in order, and how many processes of each run side by side here."""
    launches: dict[str, list[Trained]] = {}
    for each in section.trained:
        launches.setdefault(each.launch, []).append(each)
    return [(stages, min(len({each.lane for each in stages}), cores())) for stages in launches.values()]


def disk(section: Section, sizes: Sizes, there: set[str], converts: bool) -> tuple[float, float]:
    """Return the bytes that `section` downloads, and those it adds: models, checkpoints, GGUF files, responses.

    Args:
        there: models that are downloaded, or written as files of the engine, by now; those of `section` are added.
        converts: the engine writes a file of its own of every model that it serves.
    """
    fresh = [name for name in section.models if name not in there]
    there |= set(fresh)
    remote = sum(sizes[name].weights for name in fresh if sizes[name].remote)
    added = sum(sizes[name].weights for name in fresh) if converts else 0.0
    added += sum(KEPT_BYTES * sizes[each.model].shape.parameters for each in section.trained if each.kept)
    added += sum(share * sizes[name].weights for name, share in (*section.quantized, *((m, 1) for m in section.merged)))
    added += sum(each.requests * (each.read + each.written) for each in section.asked) * unit_costs().stored
    return remote, remote + added


@dataclass(frozen=True)
class Plan:
    """What a profile is expected to take.

    Args:
        sections: a row per section; columns ``read``, ``written``, ``trained`` (tokens of prompts, generated, trained
            on), ``elsewhere`` (tokens written by endpoints of the user's own; they cost no time here), ``hours`` (GPU
            hours over all GPUs, or hours of this machine), ``memory`` (GiB at most, of one GPU or of this machine),
            ``gpus`` (that the largest model takes at a time), ``disk`` and ``download`` (GB added, and of them from
            the hub).
        gpu, price: empty where it runs on this machine's CPU; dollars per hour.
        slowness: of this machine against the reference machine; 1 where a GPU does the work.
    """

    profile: str
    sections: pd.DataFrame
    gpu: str = ""
    price: float | None = None
    slowness: float = 1.0

    @property
    def total(self) -> pd.Series:
        """The sums over all sections; of memory and GPUs at a time the most."""
        return self.sections.agg({name: "max" if name in ("memory", "gpus") else "sum" for name in self.sections})

    @property
    def wall(self) -> float:
        """Hours of `make report` on this machine's CPU, which runs as many sections at a time as there are cores."""
        return self.total["hours"] * (unit_costs().cpu.beside if cores() > 1 else 1.0)


def forecast(profile: str, *, gpu: str | None = None, price: float | None = None, slower: float | None = None) -> Plan:
    """Return what `profile` is expected to cost.

    Args:
        gpu: kind of GPU, of ``costs.yaml``; that of the profile by default.
        price: dollars per GPU hour; that of ``costs.yaml`` by default.
        slower: this machine against the reference machine; measured where it is None and a CPU does the work.

    Raises:
        strict.SettingsError: no such profile, or its parameters cannot be read.
        ValueError: unknown GPU, a price below 0, or a GPU for a profile that runs on a CPU.
    """
    settings, prices = study.load(profile), unit_costs()
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ValueError(f"price {price} must be 0 or above: dollars per GPU hour")
    on_cpu = settings.source == "mini"
    if on_cpu and (gpu or price is not None):
        raise ValueError(f"profile {profile} runs on the CPU of this machine; leave out --gpu and --price")
    name = "" if on_cpu else costs.gpu_name(gpu or prices.usual.get(profile) or next(iter(prices.gpus)))
    card, slower = prices.gpus.get(name), 1.0 if name else costs.slowness() if slower is None else slower
    done, there, rows = work(profile), set(), {}
    sizes = _sizes(settings, done)
    for section in done:
        here = replace(section, asked=[each for each in section.asked if each.model in sizes])
        far = [each for each in section.asked if each.model not in sizes]
        remote, added = disk(here, sizes, there, on_cpu and settings.engine == CONVERTS)
        rows[section.name] = {
            "read": sum(each.requests * each.read for each in here.asked),
            "written": _written(here.asked) + sum(each.sampled for each in here.trained),
            "trained": sum(each.tokens for each in here.trained),
            "elsewhere": _written(far),
            "hours": gpu_hours(here, sizes, card) if card else slower * cpu_hours(here, sizes),
            "memory": gpu_memory(here, sizes, card) if card else cpu_memory(here, sizes),
            "gpus": max([costs.gpus_needed(sizes[each.model], card) for each in here.asked if card], default=1),
            "disk": added / GIGA,
            "download": remote / GIGA,
        }
    price = card.price if card and price is None else price
    return Plan(profile, pd.DataFrame.from_dict(rows, orient="index"), name, price, slower)


def _written(asked: Iterable[Asked]) -> float:
    return sum(each.requests * each.written for each in asked)


def stage_hours(profile: str, section: str, gpu: str) -> float:
    """Return the GPU hours of the stages of `section` that leave a checkpoint, without attempts and comparisons."""
    whole = next(each for each in work(profile) if each.name == section)
    kept = Section(section, trained=[each for each in whole.trained if each.kept])
    return gpu_hours(kept, _sizes(study.load(profile), [kept]), unit_costs().gpus[costs.gpu_name(gpu)])


def _sizes(settings: Study, sections: Sequence[Section]) -> dict[str, Size]:
    """Return the size of every model of `sections` but those that an endpoint of the user's own serves."""
    remote = {name for name, model in settings.models.items() if model.base_url is not None}
    named = dict.fromkeys(name for section in sections for name in section.models if name not in remote)
    return {name: costs.model_size(settings, name) for name in named}


LINE = "{:<24}{:>12}{:>12}{:>12}{:>12}{:>12}{:>11}{:>11}"


def printed(plan: Plan) -> str:
    """Return `plan` as lines of text: a row per notebook, the total, and how to read it."""
    names = ["section", "read", "written", "trained", "GPU hours" if plan.gpu else "minutes", "GiB", "GB of disk", "$"]
    rows = {**plan.sections.T, "total": plan.total}
    lines = [LINE.format(*names), *(_line(plan, name, row) for name, row in rows.items())]
    return "\n".join(line.rstrip() for line in [*lines, "", *_notes(plan)])


def as_json(plan: Plan) -> dict:
    """Return `plan` as JSON-ready data: a row per section, as `Plan.sections` has it with its money, the total last."""
    rows = [
        {"section": name, **row, "money": row.hours * plan.price if plan.gpu else None}
        for name, row in {**plan.sections.T, "total": plan.total}.items()
    ]
    about = {"profile": plan.profile, "gpu": plan.gpu or None, "price": plan.price, "slowness": plan.slowness}
    return about | {"wall_hours": None if plan.gpu else plan.wall, "rows": rows}


def _line(plan: Plan, name: str, row: pd.Series) -> str:
    time = _amount(row.hours if plan.gpu else 60 * row.hours)
    money = f"{row.hours * plan.price:,.0f}" if plan.gpu else ""
    return LINE.format(name, *map(_tokens, row[:3]), time, _amount(row.memory), _amount(row.disk), money)


def _tokens(count: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f}" if count else "–"


def _amount(value: float) -> str:
    if not value:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 0.1 else f"{value:.2f}"


def _notes(plan: Plan) -> list[str]:
    """Return how to read the rows, what has to be kept against what is free here, and how many GPUs it takes."""
    total, free = plan.total, shutil.disk_usage(study.find_root()).free / GIGA
    fits = "" if total.disk < free else ": too little; free some, or put the project on a larger disk"
    room = f"{_amount(total.download)} GB to download, " if total.download else ""
    room += f"{_amount(total.disk)} GB on the disk in all; {free:,.0f} GB are free here{fits}."
    how = "Tokens of prompts, tokens generated, tokens trained on. What an earlier section asked is not asked again."
    if unknown := [name for name in plan.sections.index if name not in RULES]:
        how += f" Nothing is known of {', '.join(unknown)}."
    if not plan.gpu:
        return [
            how,
            "Minutes of this machine, one section after another; `make report` runs as many at a time as there are "
            f"cores, and takes about {60 * plan.wall:.0f}.",
            f"This machine takes {plan.slowness:.2f} times as long as the one that the costs were measured on.",
            room,
        ]
    far, nights = _tokens(total.elsewhere), math.ceil(total.hours / NIGHT)
    enough = f"One {plan.gpu} is enough: {nights} night{'s' * (nights > 1)} of {NIGHT} hours."
    return [
        how,
        f"Hours of one {plan.gpu} at ${plan.price:g}; total over all GPUs. GiB: of one GPU, at most.",
        "Hours follow from data sheets and from public measurements of others, and may be off by two.",
        *(
            [f"{far} further tokens are written by endpoints of yours (base_url in study.yaml)."]
            if total.elsewhere
            else []
        ),
        room,
        f"The largest model takes {total.gpus:.0f} {plan.gpu} at a time." if total.gpus > 1 else enough,
    ]


LAST = ("11_compute_budget", "14_ledger")  # sections that come after this is read
TRAINED = ("name", "tokens", "seconds", "tokens_per_second", "mfu", "memory_gib")


def beside_actual(settings: Study) -> dict[str, Any]:
    """Return plan and records of every section but section 11 and the ledger; a replay tells what was noted.

    Returns:
        ``{gpu, slowness, sections: [{section, hours, actual}], trained: [{name, tokens, ...}]}``; ``hours`` are GPU
        hours, or hours of this machine where ``gpu`` is empty; ``actual`` is None where a section has not run.
    """

    def look() -> dict[str, Any]:
        expected, actual = forecast(settings.profile), {}
        for name, each in record.read_all(settings.outputs).items():
            if each.seconds is not None:
                actual[name] = each.seconds * (len(each.provenance.get("gpus") or []) or 1) / HOUR
        hours = expected.sections["hours"].drop([name for name in LAST if name in expected.sections.index])
        sections = [{"section": name, "hours": each, "actual": actual.get(name)} for name, each in hours.items()]
        summaries = [summary(path.parent) for path in sorted(settings.models_dir.glob(f"*/{SUMMARY}"))]
        trained = [{name: training.get(name) for name in TRAINED} for training in summaries]
        return {"gpu": expected.gpu, "slowness": expected.slowness, "sections": sections, "trained": trained}

    return noted(settings.store_dir, "budget", look)
