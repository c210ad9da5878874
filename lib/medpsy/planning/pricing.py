"""From work to time, memory and disk: on a GPU by its data sheet, on a CPU by what the reference machine took."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from medpsy.planning import formulas
from medpsy.planning.asking import Asked
from medpsy.planning.costs import Costs, Gpu
from medpsy.planning.learning import Trained
from medpsy.planning.sizes import Size
from medpsy.planning.work import Section
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
        files = sum(one.share * self.sizes[one.model].weights for one in section.files) / formulas.GIGA
        work = sum(map(self._asked, section.asked)) + sum(map(self._trained, section.trained))
        return work + files * self.costs.serving.gguf

    def memory(self, section: Section) -> float:
        """Return the most GiB that one GPU holds."""
        held = [self._served(one) for one in section.asked]
        return max([*held, *(_held(one, self.sizes) for one in section.trained)], default=0.0)

    def _asked(self, one: Asked) -> float:
        size, serving = self._size(one), self.costs.serving
        slots = serving.gguf_slots if one.served else serving.slots
        context = one.read + one.written / 2
        writing = formulas.writing_rate(size, self.gpu, serving, context, slots)
        return one.requests * (one.read / formulas.reading_rate(size, self.gpu, serving) + one.written / writing)

    def _trained(self, one: Trained) -> float:
        rate = formulas.training_rate(self.sizes[one.model], self.gpu, one.mfu, one.document)
        return one.tokens / rate + one.sampled / one.per_second

    def _served(self, one: Asked) -> float:
        size, context = self._size(one), one.read + one.written
        held = formulas.at_once(size, self.gpu, self.costs.serving, context, self.costs.serving.slots)
        count = formulas.gpus_needed(size, self.gpu, self.costs.serving)
        return (size.weights + held * size.cache * context) / count / GIB

    def _size(self, one: Asked) -> Size:
        whole = self.sizes[one.model]
        return Size(whole.shape, whole.active, whole.weights * (one.served or 1), whole.cache)


@dataclass
class Processor:
    """Prices of work on this machine's CPU; remembers which models have been served, section after section.

    Args:
        slowness: times longer than the reference machine.
        converts: whether the engine writes a file of its own before it serves a model for the first time.
    """

    costs: Costs
    sizes: Sizes
    slowness: float
    converts: bool
    served: set[str] = field(default_factory=set)

    def seconds(self, section: Section) -> float:
        """Return the seconds of `section` if nothing else runs."""
        unit = self.costs.cpu
        files = sum(one.count for one in section.files) * (unit.build + unit.measure)
        found = unit.notebook + files + sum(map(self._asked, section.asked)) + self._training(section.trained)
        return found * self.slowness

    def memory(self, section: Section) -> float:
        """Return the GiB of a notebook, its servers, and the training processes side by side."""
        held = [_held(one, self.sizes) for one in section.trained]
        return self.costs.cpu.memory + sum(sorted(held)[-_lanes(section.trained) :])

    def _asked(self, one: Asked) -> float:
        unit, name = self.costs.cpu, one.kept or one.model
        first = self.converts and name not in self.served and not one.served
        self.served.add(name)
        return unit.serve + first * unit.convert + one.requests * (one.read * unit.read + one.written * unit.token)

    def _training(self, trained: Iterable[Trained]) -> float:
        """Return the seconds of `trained`: targets side by side, one launch after another."""
        trained = list(trained)
        if not trained:
            return 0.0
        rate = self.costs.cpu.train * formulas.GIGA
        lanes = _lanes(trained)
        busy = sum(one.tokens * _operations(one, self.sizes) / rate for one in trained)
        busy += sum(one.sampled for one in trained) / self.costs.cpu.sampled
        return busy / lanes + len({one.launch for one in trained}) * self.costs.cpu.start


def disk(section: Section, costs: Costs, sizes: Sizes, there: set[str], converts: bool = False) -> float:
    """Return the bytes that `section` adds: models to download, checkpoints, GGUF files, responses.

    Args:
        there: models that are downloaded, or written as files of the engine, by now; those of `section` are added.
        converts: the engine writes a file of its own of every model that it serves.
    """
    used = {one.model for one in (*section.asked, *section.trained, *section.files)}
    fresh = [name for name in used - there if sizes[name].remote or converts]
    there |= used
    kept = sum(SFT_BYTES * sizes[one.model].shape.parameters for one in section.trained if one.kept)
    files = sum(one.share * sizes[one.model].weights for one in section.files)
    words = sum(one.requests * (one.read + one.written) for one in section.asked) * costs.disk.token
    return sum(sizes[name].weights for name in fresh) + kept + files + words


def _held(one: Trained, sizes: Sizes) -> float:
    tokens = int(one.held)
    return memory(sizes[one.model].shape, tokens, checkpointing=one.checkpointing, processes=one.processes)


def _lanes(trained: Iterable[Trained]) -> int:
    """Return how many training processes run side by side here: one per target, as many as there are cores."""
    return max(1, min(len({one.model for one in trained}), os.cpu_count() or 1))


def _operations(one: Trained, sizes: Sizes) -> float:
    return formulas.flops_per_token(sizes[one.model].shape, one.document)
