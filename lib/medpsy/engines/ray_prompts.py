"""Prompts as Parquet files of token ids, from which Ray Data streams. Refuses, as all engines do, a prompt that does
not fit or an id used twice, before anything is generated.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.chat import CHUNK, Chat, Encoded, check_ids, check_sampling


@dataclass(frozen=True)
class Sent:
    """A prompt that Ray has: its id and its number of tokens."""

    id: str
    size: int


def write_prompts(folder: Path, chat: Chat, prompts: Iterable[Prompt], sampling: Sampling) -> int:
    """Write `prompts` to `folder`, `CHUNK` to a file, and return how many there are; only their ids are held.

    Columns: ``id``, ``size`` (tokens), ``tokenized_prompt`` (as Ray's vLLM stage calls it) and ``seed``.

    Raises:
        PromptTooLong, ValueError: as `Chat.encode`; files written until then are left to the caller.
    """
    check_sampling(sampling)
    iterator, ids = iter(prompts), []
    for number in itertools.count():
        chunk = list(itertools.islice(iterator, CHUNK))
        if not chunk:
            break
        encoded = chat.encode(chunk, sampling)
        _write(folder / f"{number:07}.parquet", encoded, [sampling.prompt_seed(one.id) for one in encoded])
        ids += [one.id for one in encoded]
    check_ids(ids)
    return len(ids)


def _write(path: Path, encoded: Sequence[Encoded], seeds: Sequence[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array([one.id for one in encoded], pa.string()),
        "size": pa.array([one.size for one in encoded], pa.int64()),
        "tokenized_prompt": pa.array([one.tokens.tolist() for one in encoded], pa.list_(pa.int32())),
        "seed": pa.array(seeds, pa.int64()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")
