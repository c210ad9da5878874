"""What was answered: a store of responses on disk, each kept under the hash of everything that led to it.

A rerun generates only what is missing; a killed run loses at most the open shard; two processes may write at once.
Refuses to pass a failed response off as an answer: it is stored and counted, and the next run asks again.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from medpsy import bundle, fingerprints
from medpsy.asking import SCHEMA, Asked, Request, distinct
from medpsy.engines.base import Engine, Prompt, Sampling
from medpsy.generation import Progress, generate, missing_responses, refuse, replaying, reporter
from medpsy.shard_writer import ShardWriter
from medpsy.shards import ShardFolder
from medpsy.stored import answered, best, model_counts, ordered
from medpsy.study import ModelSpec

SHARD_ROWS = 1000  # ours: a million responses make a thousand files
SHARD_SECONDS = 20.0  # ours: the work a killed run has to do again
ATTEMPTS = 3  # a second and third only where shards turn out damaged while they are read
COUNTS = pa.schema([("key", pa.string()), ("count", pa.int64())])
RESULT = ["key", "prompt_id", "model", "run", "text", "finish_reason"]
RESULT += ["prompt_tokens", "completion_tokens", "seconds", "error"]


class ResponseStore:
    """The responses under one folder. A failed response is asked again by the next store object, not by this one."""

    def __init__(self, root: Path, *, shard_seconds: float = SHARD_SECONDS) -> None:
        self.root = Path(root)
        self._shard_seconds = shard_seconds
        self._fingerprints: dict[tuple, fingerprints.Known] = {}
        self._failed: set[str] = set()  # keys this object asked for in vain

    def answer(
        self,
        model: ModelSpec,
        open: Callable[[], Engine],
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        run: int,
        engine_kind: str,
        shard_rows: int = SHARD_ROWS,
        progress: Callable[[Progress], None] | None = None,
    ) -> pd.DataFrame:
        """Return the responses of `model` to `prompts` in one run, in their order; generate those not stored yet.

        Args:
            open: starts the engine; called only if something is missing.
            progress: called every few seconds while something is generated.

        Returns:
            One row per distinct prompt; columns as in `RESULT`.
        """
        prompts = distinct(prompts)
        asked = self._asked(model, sampling, engine_kind)
        keys = asked.keys(prompts, run)
        settings = {"sampling": sampling, "runs": (run,), "engine_kind": engine_kind, "shard_rows": shard_rows}
        for _ in range(ATTEMPTS):
            self.fill(model, open, prompts, **settings, progress=progress)
            rows, found = ordered(self._folder(asked.fingerprint).read([*RESULT, "created"], keys), keys)
            if found.all():
                frame = rows.select(RESULT).to_pandas()
                return frame.assign(prompt_id=[prompt.id for prompt in prompts], model=model.name, run=run)
        raise OSError(f"{self.root.name}: shards turn out damaged again and again; check the disk")

    def fill(
        self,
        model: ModelSpec,
        open: Callable[[], Engine],
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        runs: Sequence[int],
        engine_kind: str,
        shard_rows: int = SHARD_ROWS,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Generate what is missing of several runs in one session of the engine: it need not idle between them."""
        asked = self._asked(model, sampling, engine_kind)
        requests = asked.requests(distinct(prompts), runs)
        missing = self._missing(asked, requests)
        stored = len(requests) - len(missing)
        progress = progress or (lambda _: None)
        progress(Progress(model.name, 0, len(missing), stored))
        if not missing:
            return
        refuse(missing_responses(model.name, missing))
        self._known(model).require(model, len(missing))
        folder = self._folder(asked.fingerprint)
        with open() as engine, ShardWriter(folder, rows=shard_rows, seconds=self._shard_seconds) as writer:
            report = reporter(asked, len(missing), stored, progress)
            self._failed |= generate(asked, engine, missing, writer, report)

    def fingerprint(self, model: ModelSpec) -> str:
        """Return which weights, tokenizer and template `model` stands for, from the record where they are not there."""
        return self._known(model).fingerprint

    def lookup(
        self, keys: Sequence[str], columns: Sequence[str] = ("text",), *, model: ModelSpec | None = None
    ) -> pd.DataFrame:
        """Return `columns` of the stored responses called `keys`, in that order; generate nothing.

        Args:
            model: who wrote them all, so that no other model's shards are read.

        Raises:
            KeyError: some are not stored (never generated, or in a damaged shard).
        """
        names = [*dict.fromkeys(["key", *columns, "finish_reason", "created"])]
        folders = [self._folder(self.fingerprint(model))] if model else self._folders()
        tables = [folder.read(names, keys) for folder in folders]
        rows, found = ordered(pa.concat_tables([SCHEMA.empty_table().select(names), *tables]), keys)
        if not found.all():
            gone = np.flatnonzero(~found)
            raise KeyError(
                f"{len(gone)} of {len(keys)} responses are not stored, first {keys[gone[0]]}; run their section again"
            )
        return rows.select(list(columns)).to_pandas()

    def counts(self, name: str, keys: Sequence[str], count: Callable[[list[int]], Sequence[int]]) -> np.ndarray:
        """Return a whole number per key, kept under `name`, so that a replay needs no tokenizer.

        Args:
            count: takes the positions of the keys that have no number yet and returns their numbers.
        """
        folder = ShardFolder(self.root / "counts" / name, COUNTS, self.root / "damaged")
        known = folder.read(["key", "count"], keys).to_pandas().drop_duplicates("key")
        numbers = pd.Series(keys, dtype="str").map(known.set_index("key")["count"]).to_numpy(dtype=float, copy=True)
        missing = np.flatnonzero(np.isnan(numbers)).tolist()
        if missing:
            refuse(f"{len(missing):,} of {len(keys):,} numbers of {name} are not stored")
            numbers[missing] = count(missing)
            folder.write([{"key": keys[at], "count": int(numbers[at])} for at in missing])
        return numbers.astype(np.int64)

    def stats(self) -> dict[str, object]:
        """Return counts of rows, failed rows, tokens and bytes: of the store, and of each model by suite."""
        names = ["key", "model", "prompt_id", "finish_reason", "prompt_tokens", "completion_tokens", "created"]
        tables = [folder.read(names) for folder in self._folders()]
        every = sum(len(table) for table in tables)
        frame = pa.concat_tables([SCHEMA.empty_table().select(names), *map(best, tables)]).to_pandas()
        shards = [path for folder in self._folders() for path in folder.paths()]
        return {
            "rows": len(frame),
            "failed": int((frame["finish_reason"] == "failed").sum()),
            "superseded": every - len(frame),
            "shards": len(shards),
            "damaged": len(list((self.root / "damaged").glob("*.parquet"))),
            "bytes": sum(path.stat().st_size for path in shards),
            "models": {name: model_counts(rows) for name, rows in frame.groupby("model")},
        }

    def export(self, path: Path, **more: object) -> dict[str, object]:
        """Write the whole store to one bundle file; return its manifest and digest. See `medpsy.bundle.export`."""
        return bundle.export([*self._folders(), *self._count_folders()], self.root, Path(path), **more)

    @classmethod
    def replay(cls, path: Path, root: Path, *, sha256: str | None = None) -> Self:
        """Return a store at `root` with everything the bundle at `path` holds; what cannot be trusted is refused."""
        bundle.replay(Path(path), Path(root), sha256=sha256)
        return cls(root)

    def _known(self, model: ModelSpec) -> fingerprints.Known:
        name = (model.name, model.path, model.revision)
        if name not in self._fingerprints:
            self._fingerprints[name] = fingerprints.known(self.root, model)
        return self._fingerprints[name]

    def _asked(self, model: ModelSpec, sampling: Sampling, engine_kind: str) -> Asked:
        return Asked(model, self.fingerprint(model), engine_kind, sampling)

    def _folder(self, fingerprint: str) -> ShardFolder:
        """Return the shards of one model, so that looking up its responses reads no other's."""
        name = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        return ShardFolder(self.root / "shards" / name, SCHEMA, self.root / "damaged")

    def _folders(self) -> list[ShardFolder]:
        return [ShardFolder(path, SCHEMA, self.root / "damaged") for path in sorted(self.root.glob("shards/*"))]

    def _count_folders(self) -> list[ShardFolder]:
        return [ShardFolder(path, COUNTS, self.root / "damaged") for path in sorted(self.root.glob("counts/*"))]

    def _missing(self, asked: Asked, requests: dict[str, Request]) -> list[Request]:
        """Return the requests without a response, but for those that this object has seen fail, or that may not be."""
        table = self._folder(asked.fingerprint).read(["key", "finish_reason"])
        done = answered(table, self._failed, failed_too=replaying())
        have = pc.is_in(pa.array(requests, pa.string()), value_set=done).to_pylist()
        return [request for request, stored in zip(requests.values(), have, strict=True) if not stored]
