"""From work to time, memory and disk: on a GPU by its data sheet, on a CPU by what the reference machine took."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medpsy.planning import formulas
from medpsy.planning.asking import DOCUMENTS, Asked
from medpsy.planning.costs import Costs, Gpu
from medpsy.planning.sizes import Size
from medpsy.planning.trained import FULL, Trained
from medpsy.planning.work import Section
from medpsy.provenance import cores
from medpsy.training.effort import memory

SFT_BYTES = 2  # per parameter of a checkpoint: bfloat16
GIB = 2**30
Sizes = Mapping[str, Size]


@dataclass(frozen=True)
class Graphics:
    """Prices of work on one kind of GPU."""

    costs: Costs
    gpu: Gpu
    sizes: Sizes

    def seconds(self, section: Section) -> float:
        """Return the GPU seconds of `section`, over all GPUs together."""
        serving = self.costs.serving
        written = sum(one.share * self.sizes[one.model].weights for one in section.files) * serving.gguf
        written += sum(one.count * self.sizes[one.model].weights for one in section.merged) * serving.merge
        served = {one.kept or one.model: one.model for one in section.asked if one.what != DOCUMENTS}
        loads = sum(map(self._gpus, served.values())) + sum(one.tasks for one in section.loaded)
        work = sum(map(self._asked, section.asked)) + sum(map(self._trained, section.trained))
        return work + loads * serving.start + written / formulas.GIGA

    def memory(self, section: Section) -> float:
        """Return the most GiB that one GPU holds."""
        held = [self._served(one) for one in section.asked]
        return max([*held, *(_held(one, self.sizes) for one in section.trained)], default=0.0)

    def gpus(self, section: Section) -> int:
        """Return how many GPUs the largest model that `section` asks takes at a time."""
        return max((self._gpus(one.model) for one in section.asked), default=1)

    def _gpus(self, name: str) -> int:
        return formulas.gpus_needed(self.sizes[name], self.gpu, self.costs.serving)

    def _asked(self, one: Asked) -> float:
        size, serving = self._size(one), self.costs.serving
        slots = one.slots or (serving.gguf_slots if one.served else serving.slots)
        context = one.read + one.written / 2
        writing = formulas.writing_rate(size, self.gpu, serving, context, slots)
        return one.requests * (one.read / formulas.reading_rate(size, self.gpu, serving) + one.written / writing)

    def _trained(self, one: Trained) -> float:
        rate = formulas.training_rate(self.sizes[one.model], self.gpu, one.mfu, one.document)
        return one.tokens * one.operations / FULL / rate + one.sampled / one.per_second

    def _served(self, one: Asked) -> float:
        size, context = self._size(one), one.read + one.written
        held = formulas.at_once(size, self.gpu, self.costs.serving, context, self.costs.serving.slots)
        count = formulas.gpus_needed(size, self.gpu, self.costs.serving)
        return (size.weights + held * size.cache * context) / count / GIB

    def _size(self, one: Asked) -> Size:
        whole = self.sizes[one.model]
        return Size(whole.shape, whole.active, whole.weights * (one.served or 1), whole.cache)


@dataclass(frozen=True)
class Processor:
    """Prices of work on this machine's CPU; `slowness` times longer than the reference machine."""

    costs: Costs
    sizes: Sizes
    slowness: float

    def seconds(self, section: Section) -> float:
        """Return the seconds of `section` if nothing else runs."""
        unit = self.costs.cpu
        files = sum(one.count for one in section.files) * (unit.build + unit.measure)
        files += sum(one.count for one in section.merged) * unit.merge
        loads = sum(one.launches * unit.start + one.tasks * unit.task / cores() for one in section.loaded)
        tables = unit.notebook + section.drawn * unit.drawn
        found = tables + files + loads + sum(map(self._asked, section.asked)) + self._training(section.trained)
        return found * self.slowness

    def memory(self, section: Section) -> float:
        """Return the GiB of a notebook, its servers, and the training processes side by side."""
        held = [(sorted(_held(one, self.sizes) for one in some), _lanes(some)) for some in launches(section.trained)]
        return self.costs.cpu.memory + max((sum(most[-lanes:]) for most, lanes in held), default=0.0)

    def _asked(self, one: Asked) -> float:
        unit = self.costs.cpu
        apart = one.what == DOCUMENTS  # asked by processes of their own, see `Loaded`
        return unit.serve * (not apart) + one.requests * (one.read * unit.read + one.written * unit.token)

    def _training(self, trained: Iterable[Trained]) -> float:
        """Return the seconds of `trained`: lanes side by side, one launch after another."""
        busy = [sum(map(self._busy, some)) / _lanes(some) for some in launches(trained)]
        return sum(busy) + len(busy) * self.costs.cpu.start

    def _busy(self, one: Trained) -> float:
        unit, size = self.costs.cpu, self.sizes[one.model]
        operations = formulas.flops_per_token(size.shape, one.document) * one.operations / FULL
        computing = one.tokens * operations / (unit.train[one.precision] * formulas.GIGA)
        return computing + one.sampled / unit.sampled + one.updates * unit.update


def disk(section: Section, costs: Costs, sizes: Sizes, there: set[str], converts: bool = False) -> tuple[float, float]:
    """Return the bytes that `section` downloads, and those it adds: models, checkpoints, GGUF files, responses.

    Args:
        there: models that are downloaded, or written as files of the engine, by now; those of `section` are added.
        converts: the engine writes a file of its own of every model that it serves.
    """
    fresh = [name for name in section.models if name not in there]
    there |= set(section.models)
    remote = sum(sizes[name].weights for name in fresh if sizes[name].remote)
    own = sum(sizes[name].weights for name in fresh) if converts else 0.0
    kept = sum(SFT_BYTES * sizes[one.model].shape.parameters for one in section.trained if one.kept)
    files = sum(one.share * sizes[one.model].weights for one in section.files)
    files += sum(one.count * sizes[one.model].weights for one in section.merged)
    words = sum(one.requests * (one.read + one.written) for one in section.asked) * costs.store.token
    return remote, remote + own + kept + files + words


def _held(one: Trained, sizes: Sizes) -> float:
    how = {"checkpointing": one.checkpointing, "processes": one.processes, "states": one.states}
    return memory(sizes[one.model].shape, int(one.held), **how)


def launches(trained: Iterable[Trained]) -> list[list[Trained]]:
    """Return `trained` by what is started together, in order."""
    found: dict[str, list[Trained]] = {}
    for one in trained:
        found.setdefault(one.launch, []).append(one)
    return list(found.values())


def _lanes(launch: Sequence[Trained]) -> int:
    """Return how many training processes of one launch run side by side here, as many as there are cores at most."""
    return min(len({one.lane for one in launch}), cores())
