"""The teacher's run over very many rows on N GPUs, from costs per row: time by part, files, memory, what a crash costs.

Follows what `medpsy.corpus.building` does, batch after batch: the engine loads the model, the teacher writes, the last
responses drain the slots, the store is searched for what is there, the rows are filtered. Nothing of it overlaps.
"""

import math
from dataclasses import dataclass

from medpsy.corpus.storage import SHARD_ROWS as CORPUS_ROWS
from medpsy.engines.chat import CHUNK
from medpsy.planning import formulas
from medpsy.planning.costs import Gpu, Serving, Store
from medpsy.planning.sizes import Size
from medpsy.responses import SHARD_ROWS, SHARD_SECONDS

LOOKS = 2  # times per batch that the store's keys are read: before it is asked, and before it is answered


@dataclass(frozen=True)
class TeacherRun:
    """`rows` rows of `row` tokens, answers to prompts of `prompt` tokens, asked in batches of `batch`.

    Args:
        gpus: all of them; as many copies of the teacher as they hold write side by side.
    """

    teacher: Size
    gpu: Gpu
    serving: Serving
    store: Store
    rows: float
    prompt: float
    row: float
    batch: int
    gpus: int

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch: {self.batch} must be at least 1 row")
        if self.gpus < self.per_copy:
            raise ValueError(f"GPUs: {self.gpus} hold no copy of the teacher, which takes {self.per_copy}")

    @property
    def per_copy(self) -> int:
        return formulas.gpus_needed(self.teacher, self.gpu, self.serving)

    @property
    def copies(self) -> int:
        return self.gpus // self.per_copy

    @property
    def context(self) -> float:
        """Tokens that a response holds in the cache on average."""
        return self.prompt + self.row / 2

    @property
    def slots(self) -> float:
        """Responses that one copy writes at a time."""
        return formulas.at_once(self.teacher, self.gpu, self.serving, self.context, self.serving.slots)

    @property
    def rows_per_second(self) -> float:
        """Over all copies, while their slots are full."""
        writing = formulas.writing_rate(self.teacher, self.gpu, self.serving, self.context)
        each = self.row / writing + self.prompt / formulas.reading_rate(self.teacher, self.gpu, self.serving)
        return self.copies * self.per_copy / each

    @property
    def response_seconds(self) -> float:
        """From the first to the last token of one response."""
        return self.slots * self.copies / self.rows_per_second

    @property
    def load_seconds(self) -> float:
        """Until a copy is ready after a start: weights read, engine up; all copies at once."""
        return self.teacher.weights / (self.store.weights * formulas.GIGA) + self.serving.start

    @property
    def batches(self) -> int:
        return math.ceil(self.rows / self.batch)

    @property
    def shard_rows(self) -> float:
        """Rows of a shard of the store of responses, which is written when it is full or old."""
        return max(1.0, min(SHARD_ROWS, self.rows_per_second * SHARD_SECONDS))

    @property
    def shards(self) -> float:
        return self.rows / self.shard_rows

    @property
    def corpus_files(self) -> int:
        return math.ceil(self.rows / CORPUS_ROWS)

    @property
    def prompt_files(self) -> int:
        """Files of prompts that lie for Ray Data while a batch is asked."""
        return math.ceil(min(self.batch, self.rows) / CHUNK)

    @property
    def row_bytes(self) -> float:
        """Of a stored response with its prompt."""
        return self.store.token * (self.prompt + self.row)

    def hours(self) -> dict[str, float]:
        """Return the hours of every part of the run, in the order of a batch."""
        seconds = {"Writing": self.rows / self.rows_per_second}
        seconds["Loading"] = self.batches * self.load_seconds
        seconds["Draining"] = self.batches * self.response_seconds
        seconds["Searching the store"] = self.batches * self._search()
        seconds["Filtering"] = self.rows * self.store.sift
        return {name: value / formulas.HOUR for name, value in seconds.items()}

    def _search(self) -> float:
        """Return the seconds of finding a batch in a store that is half full, as it is on average."""
        passes = LOOKS + 1  # once more for the shards that hold the batch, whose texts alone are read
        keys = passes * (self.store.key * self.rows + self.store.file * self.shards) / 2
        return keys + min(self.batch, self.rows) * self.store.text * (self.prompt + self.row)

    @property
    def lost_rows(self) -> float:
        """Responses under way in one copy, half written on average: what its death costs."""
        return self.slots

    @property
    def driver_loss(self) -> float:
        """Seconds that a restart of the driver costs: half a response, the open shard, the load."""
        return self.response_seconds / 2 + self.shard_rows / self.rows_per_second + self.load_seconds

    def memory(self, rows: float) -> float:
        """Return the GB that the driver holds of `rows` prompts under way."""
        return rows * self.store.held / formulas.GIGA
