"""The plan of a profile: per notebook tokens, GPU hours or minutes of this machine, memory, disk and money."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from medpsy import study
from medpsy.planning import costs as units
from medpsy.planning.asking import Asked
from medpsy.planning.machine import slowness
from medpsy.planning.pricing import Graphics, Processor, disk
from medpsy.planning.sizes import Size, size
from medpsy.planning.work import Section, work
from medpsy.provenance import cores
from medpsy.study import Study

TOTAL = "total"
CONVERTS = "llama_cpp"  # the engine that writes a file of its own before it serves a model


@dataclass(frozen=True)
class Row:
    """What one section is expected to take.

    Args:
        read, written, trained: tokens of prompts, tokens generated, tokens trained on.
        elsewhere: tokens written by endpoints of the user's own; they cost no time here.
        hours: GPU hours over all GPUs together, or hours of this machine where `gpu` is empty.
        memory: GiB, at most, of one GPU or of this machine; gpus: that the largest model takes at a time.
        disk: GB added; download: GB of them that come from the hub.
        money: dollars; None where no GPU is paid.
        known: whether there is a rule for it; without one nothing is expected of it.
        asked: what is asked of which model.
    """

    section: str
    read: float = 0.0
    written: float = 0.0
    trained: float = 0.0
    elsewhere: float = 0.0
    hours: float = 0.0
    memory: float = 0.0
    gpus: int = 1
    disk: float = 0.0
    download: float = 0.0
    money: float | None = None
    known: bool = True
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The rows of a profile; `gpu` and `price` are empty where it runs on this machine's CPU.

    Args:
        slowness: of this machine against the reference machine; 1 where a GPU does the work.
    """

    profile: str
    rows: tuple[Row, ...]
    gpu: str = ""
    price: float | None = None
    slowness: float = 1.0

    @property
    def total(self) -> Row:
        """The sums over all sections; of memory and GPUs at a time the most."""
        most = {name: max(getattr(row, name) for row in self.rows) for name in ("memory", "gpus")}
        apart = ("section", "money", "known", "asked", *most)
        added = [one.name for one in fields(Row) if one.name not in apart]
        sums = {name: sum(getattr(row, name) for row in self.rows) for name in added}
        money = None if self.price is None else sums["hours"] * self.price
        return Row(TOTAL, **sums, **most, money=money)

    @property
    def wall(self) -> float:
        """Hours of `make report` on this machine's CPU, which runs as many sections at a time as there are cores."""
        return self.total.hours * (units.costs().cpu.beside if cores() > 1 else 1.0)


def plan(profile: str, *, gpu: str | None = None, price: float | None = None, slower: float | None = None) -> Plan:
    """Return what `profile` is expected to cost.

    Args:
        gpu: kind of GPU, of ``costs.yaml``; that of the profile by default.
        price: dollars per GPU hour; that of ``costs.yaml`` by default.
        slower: this machine against the reference machine; measured where it is None and a CPU does the work.

    Raises:
        strict.SettingsError: no such profile, or its parameters cannot be read.
        ValueError: unknown GPU, a price below 0, or a GPU for a profile that runs on a CPU.
    """
    settings, known = study.load(profile), units.costs()
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ValueError(f"price {price} must be 0 or above: dollars per GPU hour")
    if settings.source == "mini" and (gpu or price is not None):
        raise ValueError(f"profile {profile} runs on the CPU of this machine; leave out --gpu and --price")
    sections = work(profile)
    sizes = _sizes(settings, sections)
    if settings.source == "mini":
        found = slowness() if slower is None else slower
        rows = _on_cpu(sections, Processor(known, sizes, found), settings.engine == CONVERTS)
        return Plan(profile, rows, slowness=found)
    name = units.gpu_name(gpu or known.usual.get(profile) or next(iter(known.gpus)))
    one = known.gpus[name]
    price = one.price if price is None else price
    return Plan(profile, _on_gpu(settings, sections, sizes, one, price), name, price)


def stage_hours(profile: str, section: str, gpu: str) -> float:
    """Return the GPU hours of the stages of `section` that leave a checkpoint, without attempts and comparisons."""
    settings, known = study.load(profile), units.costs()
    found = next(one for one in work(profile) if one.name == section)
    kept = replace(found, asked=(), trained=tuple(one for one in found.trained if one.kept))
    return Graphics(known, known.gpus[units.gpu_name(gpu)], _sizes(settings, [kept])).seconds(kept) / 3600


def _sizes(settings: Study, sections: Sequence[Section]) -> dict[str, Size]:
    every = dict.fromkeys(name for section in sections for name in section.models)
    return {name: size(settings, name) for name in every if not _served_elsewhere(settings, name)}


def _on_cpu(sections: Sequence[Section], processor: Processor, converts: bool) -> tuple[Row, ...]:
    there, rows = set(), []
    for section in sections:
        _, room = disk(section, units.costs(), processor.sizes, there, converts)
        hours, memory = processor.seconds(section) / 3600, processor.memory(section)
        rows.append(_row(section, disk=room / 1e9, hours=hours, memory=memory))
    return tuple(rows)


def _on_gpu(
    settings: Study, sections: Sequence[Section], sizes: dict[str, Size], gpu: units.Gpu, price: float
) -> tuple[Row, ...]:
    graphics, there, rows = Graphics(units.costs(), gpu, sizes), set(), []
    for section in sections:
        served = [one for one in section.asked if not _served_elsewhere(settings, one.model)]
        own = replace(section, asked=tuple(served))
        hours = graphics.seconds(own) / 3600
        remote, room = disk(own, units.costs(), sizes, there)
        held = {"memory": graphics.memory(own), "gpus": graphics.gpus(own)}
        row = _row(own, disk=room / 1e9, download=remote / 1e9, hours=hours, money=hours * price, **held)
        far = [one.tokens for one in section.asked if _served_elsewhere(settings, one.model)]
        rows.append(replace(row, elsewhere=sum(far)))
    return tuple(rows)


def _served_elsewhere(settings: Study, name: str) -> bool:
    return name in settings.models and settings.models[name].base_url is not None


def _row(section: Section, **costs: float) -> Row:
    asked, trained = section.asked, section.trained
    tokens = {"read": sum(one.requests * one.read for one in asked)}
    tokens["written"] = sum(one.tokens for one in asked) + sum(one.sampled for one in trained)
    tokens["trained"] = sum(one.tokens for one in trained)
    return Row(section.name, **tokens, known=section.known, asked=asked, **(costs if section.known else {}))
