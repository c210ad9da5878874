"""How many tokens a text has for one model, counted with that model's own tokenizer.

Loads a tokenizer only when something has to be counted; never runs code that comes with a model.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec

BATCH = 1000  # texts at a time; bounds the memory that their token ids take


def counted(store: ResponseStore, model: ModelSpec, texts: Sequence[str]) -> np.ndarray:
    """Return the number of tokens of each text, keeping the numbers in `store` so that a replay needs no tokenizer."""
    start = store.fingerprint(model).encode()
    keys = {at: hashlib.sha256(start + text.encode()).hexdigest() for at, text in enumerate(texts) if text}
    places = list(keys)
    numbers = np.zeros(len(texts), dtype=np.int64)
    numbers[places] = store.counts(
        "reasoning_tokens", list(keys.values()), lambda missing: count(model, [texts[places[at]] for at in missing])
    )
    return numbers


def count(model: ModelSpec, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text, special tokens of a conversation not counted.

    Raises:
        OSError, ValueError: the tokenizer of `model` is not to be had.
    """
    from transformers import AutoTokenizer  # late: takes seconds to import

    source = str(model.local_dir or model.path)
    revision = {} if model.local_dir else {"revision": model.revision}
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **revision)
    numbers: list[int] = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(list(texts[start : start + BATCH]), add_special_tokens=False)
        numbers += [len(ids) for ids in batch["input_ids"]]
    return numbers
