"""Adapters kept apart against the models they were merged into, both loaded as anyone would: plain transformers, peft.

Answers questions greedily with the adapter on its parent, and asks the merged checkpoint what it would have said at
every place. Uses no engine of the study. The frameworks are imported when they are needed; a replay tells what was
noted.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy.engines.fixed_day import dated
from medpsy.engines.weights import model_folder
from medpsy.noted import noted
from medpsy.recipes.open_set import OpenQuestion
from medpsy.study import Study
from medpsy.training.lora_settings import ADAPTER

ASKED = 12  # questions; ours: some hundred tokens, at each of which the two may differ
Written = list[tuple[list[int], int]]  # token ids of prompt and answer, and where the answer begins


def adapters(
    study: Study, models: Sequence[str], parent: str, questions: Sequence[OpenQuestion], *, max_tokens: int
) -> pd.DataFrame:
    """Compare the adapter of every one of `models` with the merged checkpoint, on the first `ASKED` questions.

    Args:
        models: checkpoints that were trained with an adapter.
        parent: the model that all of them were trained from.
        max_tokens: of an answer.

    Returns:
        One row per model: ``tokens`` that the adapter on its parent answered with; how many of them the checkpoint
        (``same``) and the parent alone (``parent_same``) would have chosen too; the largest difference of two logits
        there, to the checkpoint (``largest``), to the adapter merged here and not rounded to the checkpoint's number
        format (``unrounded``), and to the parent alone (``learned``); ``adapter_mb`` and ``merged_mb``.

    Raises:
        FileNotFoundError: a checkpoint has no adapter.
    """
    asked = [list(one["prompt"]) for one in questions[:ASKED]]
    rows = [
        noted(study.store_dir, f"adapter-{name}", partial(_compared, study, name, parent, asked, max_tokens))
        for name in models
    ]
    return pd.DataFrame(rows)


def _compared(study: Study, name: str, parent: str, asked: Sequence[list], max_tokens: int) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer

    from medpsy.training.lora import adapted, whole

    folder = study.model(name).local_dir
    if not (folder / ADAPTER).is_dir():
        raise FileNotFoundError(f"{name}: its checkpoint has no folder {ADAPTER!r}; train it with lora")
    start, switches = model_folder(study.model(parent)), study.model(name).chat_template_kwargs
    place = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(start, trust_remote_code=False)
    prompts = [_ids(tokenizer, messages, switches) for messages in asked]
    model = adapted(start, folder / ADAPTER).to(place).eval()
    with torch.inference_mode():
        written = [_answered(model, ids, max_tokens, tokenizer) for ids in prompts]
        apart = list(_logits(model, written))
        with model.disable_adapter():
            alone = list(_logits(model, written))
        exact = _largest(apart, _logits(model.merge_and_unload(), written))
        del model
        merged = list(_logits(whole(folder).to(place).eval(), written))
    sizes = {"adapter_mb": _size(folder / ADAPTER), "merged_mb": _size(folder)}
    found = {"model": name, "tokens": sum(len(one) for one in apart), "same": _same(apart, merged)}
    found |= {"parent_same": _same(apart, alone), "learned": _largest(apart, alone)}
    return found | {"largest": _largest(apart, merged), "unrounded": exact} | sizes


def _ids(tokenizer: Any, messages: list, switches: Mapping[str, Any]) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, **dated(switches))["input_ids"]


def _answered(model: Any, ids: list[int], max_tokens: int, tokenizer: Any) -> tuple[list[int], int]:
    import torch

    inputs = torch.tensor([ids], device=model.device)
    how = {"do_sample": False, "max_new_tokens": max_tokens, "pad_token_id": tokenizer.pad_token_id}
    found = model.generate(input_ids=inputs, attention_mask=torch.ones_like(inputs), **how)
    return found[0].tolist(), len(ids)


def _logits(model: Any, written: Written) -> Iterator[Any]:
    """Yield the logits [tokens of the answer, vocabulary] from which every answer's tokens were chosen."""
    import torch

    for ids, start in written:
        yield model(input_ids=torch.tensor([ids], device=model.device)).logits[0, start - 1 : -1].float().cpu()


def _largest(first: Sequence[Any], second: Any) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(first, second, strict=True))


def _same(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return at how many tokens both would choose alike."""
    return sum(int((one.argmax(-1) == other.argmax(-1)).sum()) for one, other in zip(first, second, strict=True))


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
