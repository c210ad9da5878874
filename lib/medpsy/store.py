"""Responses of models, each kept under the hash of everything that led to it, and the session that asks for them.

A rerun generates only what is missing; a killed run loses at most the open shard; two processes may write at once. A
failed response is stored and counted, and the next run asks again. With MEDPSY_REPLAY set, nothing is generated.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medpsy import engines
from medpsy.engines.base import Engine, Prompt, Response, Sampling
from medpsy.files import storable, swept, write_text, write_whole
from medpsy.study import SO_FAR, ModelSpec, Study

REPLAY = "MEDPSY_REPLAY"  # environment variable: set, nothing is generated and no model is looked for
MODELS, NOTES = "models.json", "notes"  # within a store: name -> fingerprint; what runs measured of themselves
NOTE = re.compile(r"[A-Za-z0-9][\w.-]*")
SHARD_ROWS = 1000  # ours: a million responses make a thousand files
SHARD_SECONDS = 20.0  # ours: a shard is written with the first response after that, so a killed run loses little
PROGRESS_SECONDS = 5.0  # between two reports of progress
TEXT, LARGE, INT = pa.string(), pa.large_string(), pa.int64()  # large: many responses may pass 2 GiB
SCHEMA = pa.schema(
    [(name, TEXT) for name in ("key", "fingerprint", "model", "engine", "prompt_id")]
    + [("messages", LARGE), ("sampling", TEXT), ("run", pa.int32())]  # the first two hold JSON
    + [("text", LARGE), ("finish_reason", TEXT), ("prompt_tokens", INT), ("completion_tokens", INT)]
    + [("seconds", pa.float64()), ("error", TEXT), ("created", pa.timestamp("us", tz="UTC"))]
)
SCHEMAS = {"shards": SCHEMA, "counts": pa.schema([("key", TEXT), ("count", INT)])}  # folder of a store -> columns
RESULT = ["key", "prompt_id", "model", "run", "text", "finish_reason"]
RESULT += ["prompt_tokens", "completion_tokens", "seconds", "error"]
T = TypeVar("T")  # plain data, as JSON holds it
Open = Callable[[], Engine]  # starts an engine
Progress = Callable[[str], None] | None
Requests = dict[str, tuple[Prompt, int]]  # key of the response -> prompt and run


class NotStored(RuntimeError):
    """Something is not stored, and this is a replay: nothing is generated. The message names the model."""


class DamagedShardWarning(UserWarning):
    """A shard could not be read and was set aside; its rows are made again."""


class FailedResponsesWarning(UserWarning):
    """Some requests got no response; they are counted as failed and asked again by the next run."""


def replaying() -> bool:
    """Return whether generation is forbidden: only what is stored is read, and no engine is opened."""
    return bool(os.environ.get(REPLAY) or os.environ.get(SO_FAR))


def refuse(what: str) -> None:
    """Raise NotStored in a replay; `what` says what is not stored."""
    if os.environ.get(SO_FAR):
        raise NotStored(f"{what}; run the section without --so-far to go on")
    if replaying():
        raise NotStored(
            f"replay: {what}. Nothing is generated in a replay: take a bundle that was exported after this section had "
            "run, or run the section with its models"
        )


def noted(root: Path, name: str, make: Callable[[], T]) -> T:
    """Return what `make` returns and keep it under `name` in the store `root`; in a replay, return what was kept:
    seconds, memory and logs are those of the run that the responses come from. NotStored where nothing was."""
    if not NOTE.fullmatch(name):
        raise ValueError(f"note {name!r} cannot name a file; use letters, digits, _ . and -")
    path = root / NOTES / f"{name}.json"
    if not replaying():
        write_text(path, json.dumps(make(), indent=1) + "\n")
    elif not path.is_file():
        refuse(f"note {name!r} is not stored")
    try:
        return json.loads(path.read_text(encoding="utf-8"))  # as a replay will have it
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); get the bundle again") from None


class Shards:
    """The Parquet files of one folder, all of one schema with a column ``key``; each is written whole or not at all. A
    file that cannot be read is named in a warning and moved to `damaged`, so that its rows are made again."""

    def __init__(self, folder: Path, schema: pa.Schema, damaged: Path) -> None:
        self.folder, self.schema, self._damaged = folder, schema, damaged
        self._keys: dict[Path, frozenset[str]] = {}  # shards never change

    def paths(self) -> list[Path]:
        return sorted(self.folder.glob("[!.]*.parquet"))

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(rows, self.schema)
        path = swept(self.folder, ".") / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet"
        write_whole(path, lambda file: pq.write_table(table, file, compression="zstd", write_page_checksum=True))

    def read(self, columns: Sequence[str], keys: Iterable[str] | None = None) -> pa.Table:
        """Return `columns`, and the key, of all rows or of those with one of `keys`."""
        names = list(dict.fromkeys(["key", *columns]))
        wanted = None if keys is None else frozenset(keys)
        tables = [self.schema.empty_table().select(names)]
        for path in self.paths():
            hits = None if wanted is None else wanted & self._keys_of(path)
            if hits == frozenset():
                continue  # reading the texts of all shards takes ten times as long
            if (table := self.load(path, names)) is not None:
                rows = None if hits is None else pc.is_in(table["key"], value_set=pa.array(hits, TEXT))
                tables.append(table if rows is None else table.filter(rows))
        return pa.concat_tables(tables)

    def load(self, path: Path, columns: Sequence[str]) -> pa.Table | None:
        """Return `columns` of one shard, or None where it is gone or damaged; one that does not open is neither."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None  # another process set it aside
        with file:
            try:
                shard = pq.ParquetFile(file, page_checksum_verification=True)
                if not shard.schema_arrow.equals(self.schema):
                    raise pa.ArrowInvalid("its columns are not those of a store")
                return shard.read(list(columns))
            except (pa.ArrowException, OSError) as error:
                problem = str(error).splitlines()[0][:120]
        self._damaged.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.replace(path, self._damaged / f"{self.folder.name}-{path.name}")
            text = f"shard {path} is damaged ({problem}); moved to {self._damaged.name}/, its rows are made again"
            warnings.warn(text, DamagedShardWarning, stacklevel=2)
        return None

    def _keys_of(self, path: Path) -> frozenset[str]:
        if path not in self._keys:
            table = self.load(path, ["key"])
            self._keys[path] = frozenset() if table is None else frozenset(table["key"].to_pylist())
        return self._keys[path]


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how: all of a response's key but the messages and the run."""

    model: ModelSpec
    fingerprint: str
    engine_kind: str
    sampling: Sampling

    @property
    def sampling_json(self) -> str:
        whole = ("max_tokens", "top_k", "seed")  # 1 and 1.0 are one temperature and must give one key
        settings = asdict(self.sampling).items()
        return json.dumps({name: int(n) if name in whole else float(n) for name, n in settings}, sort_keys=True)

    @cached_property
    def _start(self) -> Any:
        same = [self.fingerprint, self.model.chat_template_kwargs, self.engine_kind, self.sampling_json]
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode())

    def key(self, prompt: Prompt, run: int) -> str:
        """Return the SHA-256 over everything that can change the response to `prompt` in `run`."""
        digest = self._start.copy()
        digest.update(json.dumps([prompt.messages, run], sort_keys=True).encode())
        return digest.hexdigest()

    def row(self, key: str, prompt: Prompt, run: int, response: Response) -> dict[str, Any]:
        asked = {"key": key, "fingerprint": self.fingerprint, "model": self.model.name, "engine": self.engine_kind}
        asked |= {"messages": json.dumps(prompt.messages), "sampling": self.sampling_json, "run": run}
        made = {"text": storable(response.text), "error": response.error and storable(response.error)}
        return asked | asdict(response) | made | {"prompt_id": prompt.id, "created": datetime.now(UTC)}


class ResponseStore:
    """The responses under one folder. A failed response is asked again by the next store object, not by this one."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._shards: dict[Path, Shards] = {}
        self._fingerprints: dict[tuple[str | None, ...], str] = {}  # by name, path and revision
        self._failed: set[str] = set()  # keys this object asked for in vain
        self.generated = 0  # responses that were not stored before

    def answers(
        self, asked: Asked, open: Open, prompts: Sequence[Prompt], runs: Sequence[int], progress: Progress = None
    ) -> Iterator[pd.DataFrame]:
        """Generate what is not stored yet of all `runs`, then yield the responses of each run in the prompts' order.
        Arguments and errors as of `fill`. A frame has one row per distinct prompt; columns as in `RESULT`."""
        prompts = _distinct(prompts)
        self.fill(asked, open, prompts, runs, progress)
        for run in runs:
            keys = [asked.key(prompt, run) for prompt in prompts]
            rows = self._stored(asked.fingerprint, keys)
            if len(rows) < len(set(keys)):  # a shard turned out damaged while it was read
                self.fill(asked, open, prompts, [run], progress)
                rows = self._stored(asked.fingerprint, keys)
                if len(rows) < len(set(keys)):
                    raise OSError(f"{self.root}: shards turn out damaged again and again; check the disk")
            frame = rows.loc[keys].reset_index()[RESULT]
            yield frame.assign(prompt_id=[prompt.id for prompt in prompts], model=asked.model.name, run=run)

    def fill(
        self, asked: Asked, open: Open, prompts: Sequence[Prompt], runs: Sequence[int], progress: Progress = None
    ) -> None:
        """Generate what is missing of several runs in one session of the engine: it need not idle between them. `open`
        starts the engine and is called only if something is missing; `progress` takes a line every few seconds.
        RuntimeError where the engine is another one than asked for, NotStored where this is a replay and something is
        missing."""
        shards = self._of(asked.fingerprint)
        if not (missing := self._missing(shards, asked, _distinct(prompts), runs)):
            return
        suites = Counter(prompt.id.split("/")[0] for prompt, _ in missing.values())
        where = ", ".join(f"{suite} {number:,}" for suite, number in suites.items())
        refuse(f"{len(missing):,} responses of model {asked.model.name!r} are not stored ({where})")
        rows, done, tokens = [], 0, 0
        start = written = reported = time.monotonic()
        with open() as engine:
            try:
                for key, response in _generated(asked, engine, missing):
                    rows.append(asked.row(key, *missing[key], response))
                    if response.finish_reason == "failed":
                        self._failed.add(key)
                    now, done, tokens = time.monotonic(), done + 1, tokens + response.completion_tokens
                    if len(rows) >= SHARD_ROWS or now - written >= SHARD_SECONDS:
                        shards.write(rows)
                        rows, written = [], now
                    if progress and (now - reported >= PROGRESS_SECONDS or done == len(missing)):
                        rate = f"{tokens / (now - start):,.0f} tokens/s, {now - start:,.0f} s"
                        progress(f"{asked.model.name}: {done:,} of {len(missing):,} responses, {rate}")
                        reported = now
            finally:  # after an error or Ctrl-C, too
                self.generated += done
                if rows:
                    shards.write(rows)

    def fingerprint(self, model: ModelSpec) -> str:
        """Return which weights, tokenizer and template `model` stands for: from the record where they are not there,
        and in a replay, whose responses are those of the recorded model; this object asks once. OSError, ValueError or,
        in a replay, NotStored where the model is neither to be had nor on record."""
        name = (model.name, model.path, model.revision, model.file, model.file_revision)
        if name in self._fingerprints:
            return self._fingerprints[name]
        fingerprint = recorded = recorded_models(self.root).get(model.name)
        if recorded is None:
            refuse(f"no response of model {model.name!r} is stored")
        if not replaying():
            try:
                fingerprint = engines.fingerprint(model)
            except (OSError, ValueError):
                if recorded is None:  # else what is stored can be read; opening the engine says that it is not there
                    raise
        if recorded != fingerprint:
            record_models(self.root, {model.name: fingerprint})
        return self._fingerprints.setdefault(name, fingerprint)

    def lookup(self, keys: Sequence[str], columns: Sequence[str] = ("text",), *, model: ModelSpec) -> pd.DataFrame:
        """Return `columns` of the responses of `model` called `keys`, in their order; KeyError if one is not stored."""
        rows = self._stored(self.fingerprint(model), keys, (*columns, "finish_reason"))
        if gone := [key for key in keys if key not in rows.index]:
            count = f"{len(gone)} of {len(keys)} responses"
            raise KeyError(f"{count} are not stored, first {gone[0]}; run their section again")
        return rows.loc[list(keys), list(columns)].reset_index(drop=True)

    def _stored(self, fingerprint: str, keys: Sequence[str], columns: Sequence[str] = RESULT) -> pd.DataFrame:
        return _best(self._of(fingerprint).read([*columns, "created"], keys))

    def counts(self, name: str, keys: Sequence[str], count: Callable[[list[int]], Sequence[int]]) -> np.ndarray:
        """Return a whole number per key, kept under `name`, so that a replay needs no tokenizer; `count` takes the
        positions of the keys that have none yet and returns theirs."""
        shards = self._at("counts", name)
        stored = shards.read(["key", "count"], keys).to_pandas().drop_duplicates("key")
        numbers = pd.Series(keys, dtype="str").map(stored.set_index("key")["count"]).to_numpy(dtype=float, copy=True)
        if missing := np.flatnonzero(np.isnan(numbers)).tolist():
            if not os.environ.get(SO_FAR):  # where models were asked, tokenizers are
                refuse(f"{len(missing):,} of {len(keys):,} numbers of {name} are not stored")
            numbers[missing] = count(missing)
            shards.write([{"key": keys[at], "count": int(numbers[at])} for at in missing])
        return numbers.astype(np.int64)

    def stats(self) -> pd.DataFrame:
        """Return one row per model and suite: ``rows``, ``failed`` ones of them, tokens of prompts and of responses."""
        names = ["key", "model", "prompt_id", "finish_reason", "prompt_tokens", "completion_tokens", "created"]
        tables = [shards.read(names) for shards in self.shards()]
        rows = _best(pa.concat_tables([SCHEMA.empty_table().select(names), *tables]))
        rows["suite"], rows["rows"] = rows["prompt_id"].str.split("/").str[0], 1
        return rows.groupby(["model", "suite"])[["rows", "failed", "prompt_tokens", "completion_tokens"]].sum()

    def shards(self, kind: str = "shards") -> list[Shards]:
        """Return the shards of responses, a folder for each model, or those of `counts`, a folder for each name."""
        return [self._at(kind, path.name) for path in sorted(self.root.glob(f"{kind}/*"))]

    def _of(self, fingerprint: str) -> Shards:
        return self._at("shards", hashlib.sha256(fingerprint.encode()).hexdigest()[:16])  # a folder for each model

    def _at(self, kind: str, name: str) -> Shards:
        folder = self.root / kind / name
        return self._shards.setdefault(folder, Shards(folder, SCHEMAS[kind], self.root / "damaged"))

    def _missing(self, shards: Shards, asked: Asked, prompts: Sequence[Prompt], runs: Sequence[int]) -> Requests:
        """Return what has no response yet, one request per distinct conversation and run, those of one prompt together
        for prefix caches. What this object has seen fail counts as answered; in a replay every failure does."""
        rows = shards.read(["finish_reason"])
        done = pc.or_(replaying(), pc.not_equal(rows["finish_reason"], "failed"))
        failed = self._failed.intersection(rows["key"].to_pylist()) if self._failed else ()
        stored = {*rows["key"].filter(done).to_pylist(), *failed}
        requests: Requests = {}
        for prompt, run in itertools.product(prompts, runs):
            requests.setdefault(asked.key(prompt, run), (prompt, run))
        return {key: request for key, request in requests.items() if key not in stored}


def recorded_models(root: Path) -> dict[str, str]:
    """Return name -> fingerprint as recorded in the store `root`; raise ValueError where the record cannot be read."""
    path = root / MODELS
    try:
        names = {**json.loads(path.read_text(encoding="utf-8"))} if path.exists() else {}
        if not all(isinstance(value, str) for value in names.values()):
            raise ValueError("a fingerprint is no text")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{root.name}/{MODELS}: {error}; delete the file, it is written anew") from None
    return names


def record_models(root: Path, more: dict[str, str]) -> None:
    """Add `more` names to the record under a lock, since another process may."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{MODELS}.lock").open("a") as held:
        with contextlib.suppress(OSError):  # a file system without locks, as on some clusters
            fcntl.flock(held, fcntl.LOCK_EX)
        names = dict(sorted({**recorded_models(root), **more}.items()))
        write_text(root / MODELS, json.dumps(names, indent=2) + "\n")


def _distinct(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return `prompts` without repetitions; raise ValueError where one id stands for two conversations."""
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        if seen.setdefault(prompt.id, prompt).messages != prompt.messages:
            raise ValueError(f"prompt id {prompt.id!r} stands for two different conversations; give each its own id")
    return list(seen.values())


def _generated(asked: Asked, engine: Engine, requests: Requests) -> Iterator[tuple[str, Response]]:
    """Yield the key and the response of every request as the engine finishes it; a failed one where it gives none."""
    got, wanted = (engine.kind, engine.fingerprint), (asked.engine_kind, asked.fingerprint)
    if got != wanted:
        fix = "the responses would be kept under a wrong key; open the engine for this model with this kind"
        raise RuntimeError(f"{asked.model.name}: kind and fingerprint of the engine are {got}, not {wanted}; {fix}")
    waiting = {f"{prompt.id}#{run}": key for key, (prompt, run) in requests.items()}  # each run has seeds of its own
    prompts = [Prompt(engine_id, requests[key][0].messages) for engine_id, key in waiting.items()]
    for response in engine.generate(prompts, asked.sampling):
        if (key := waiting.pop(response.prompt_id, None)) is None:
            raise RuntimeError(f"engine {engine.kind} answered {response.prompt_id!r} twice or unasked; report it")
        yield key, response
    for engine_id, key in waiting.items():
        yield key, Response(engine_id, "", "failed", 0, 0, 0.0, f"engine {engine.kind} returned no response")


def _best(table: pa.Table) -> pd.DataFrame:
    """Return one row per key, their index: a response before a failure, then the oldest, which was read before."""
    rows = table.to_pandas()
    rows["failed"] = rows["finish_reason"] == "failed"
    return rows.sort_values(["failed", "created"], kind="stable").drop_duplicates("key").set_index("key")


@dataclass(frozen=True)
class Session:
    """One study, its store, and where lines of progress go. Given a `stack`, engines stay open until it is closed."""

    study: Study
    store: ResponseStore
    progress: Progress = None
    stack: contextlib.ExitStack | None = None
    running: dict[str, Engine] = field(default_factory=dict)

    def engine(self, model: ModelSpec) -> tuple[str, Open]:
        """Return the kind of engine that answers for `model`, as the store names it, and how to open it."""
        kind, options = self.study.answers(model)
        opening = partial(engines.open_engine, kind, model, **{"gguf_dir": self.study.gguf_dir} | options)
        return engines.engine_kind(kind, model, options), partial(self._kept, model.name, opening)

    def _kept(self, name: str, opening: Open) -> contextlib.AbstractContextManager[Engine]:
        if self.stack is None:
            return opening()
        if name not in self.running:
            self.running[name] = self.stack.enter_context(opening())
        return contextlib.nullcontext(self.running[name])

    def ask(
        self, name: str, prompts: Sequence[Prompt], runs: Sequence[int], sampling: Sampling
    ) -> Iterator[pd.DataFrame]:
        """Yield the responses of the model `name` to `prompts` in each run, as `ResponseStore.answers` does; failed
        ones are warned of."""
        model = self.study.model(name)
        kind, opening = self.engine(model)
        asked = Asked(model, self.store.fingerprint(model), kind, capped(sampling, model))
        for frame in self.store.answers(asked, opening, prompts, runs, self.progress):
            failed = frame[frame["finish_reason"] == "failed"]
            if len(failed):
                text = f"{len(failed)} of {len(frame)} requests to {name} failed and count as failed, first "
                text += f"{failed['prompt_id'].iloc[0]}: {failed['error'].iloc[0]}; run again to ask only these"
                warnings.warn(text, FailedResponsesWarning, stacklevel=2)
            yield frame


def capped(sampling: Sampling, model: ModelSpec) -> Sampling:
    """Return `sampling` with no more tokens than `model` may write."""
    return replace(sampling, max_tokens=min(sampling.max_tokens, model.max_tokens or sampling.max_tokens))
