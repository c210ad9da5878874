"""How many tokens a training row has: for each target, in its own chat template, exactly as training writes it.

The numbers are kept in the response store, so a replay needs no tokenizer.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medpsy.corpus.rows import TrainingRow
from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec

KEPT = "row_tokens"  # name of the numbers in the store


@dataclass
class Lengths:
    """Counts rows for `targets`; a target's tokenizer is loaded when a number is not stored yet."""

    store: ResponseStore
    targets: Sequence[ModelSpec]

    def __post_init__(self) -> None:
        self._counters = {target.name: _counter(target) for target in self.targets}

    def longest(self, rows: Sequence[TrainingRow]) -> list[int]:
        """Return each row's tokens for the target that needs most of them."""
        if not rows:
            return []
        return np.max([self._counted(target, rows) for target in self.targets], axis=0).tolist()

    def _counted(self, target: ModelSpec, rows: Sequence[TrainingRow]) -> np.ndarray:
        start = hashlib.sha256(self.store.fingerprint(target).encode())
        keys = [_key(start, row) for row in rows]
        count = self._counters[target.name]
        return self.store.counts(KEPT, keys, lambda missing: count([rows[at] for at in missing]))


def _key(start: "hashlib._Hash", row: TrainingRow) -> str:
    key = start.copy()
    key.update(json.dumps(row.written).encode())
    return key.hexdigest()


def _counter(target: ModelSpec) -> Callable[[Sequence[TrainingRow]], list[int]]:
    """Return a function that counts rows; it loads the tokenizer when it is first called."""
    loaded = []

    def count(rows: Sequence[TrainingRow]) -> list[int]:
        from medpsy.training import examples  # late: transformers takes seconds to import

        if not loaded:
            tokenizer = _tokenizer(target)
            written = {"opens_thinking": target.opens_thinking, "switches": target.chat_template_kwargs}
            loaded.extend([tokenizer, examples.form(tokenizer, **written)])
        tokenizer, form = loaded
        return examples.lengths(tokenizer, [form.example(tokenizer, row.as_data()) for row in rows])

    return count


def _tokenizer(target: ModelSpec):
    from transformers import AutoTokenizer

    source = str(target.local_dir or target.path)
    revision = {} if target.local_dir else {"revision": target.revision}
    return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **revision)
