"""Train one model of the minihub from nothing, on a CPU, in minutes.

A plain loop over bf16 autocast: at this size the arithmetic of a general trainer costs more than the model's own.
It knows nothing of files; `medpsy.mini.build` saves what comes out.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from medpsy.mini.corpus import Sample

BATCH = 24
PEAK_LEARNING_RATE = 1e-3  # at 2e-3 finding a name among options is not learned
WARMUP = 40  # steps
EVERY = 25  # steps between two rows of the log
BUCKET = 8  # batches drawn and sorted by length together, so that little is padded


@dataclass(frozen=True)
class Encoded:
    """Token ids of one sample and the position at which the loss begins."""

    ids: list[int]
    start: int


@dataclass(frozen=True)
class LogRow:
    step: int
    loss: float  # mean cross-entropy per completion token, nats
    seconds: float


def encode(samples: Sequence[Sample], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    heads = [
        tokenizer.apply_chat_template(list(sample.messages), add_generation_prompt=True, tokenize=False)
        if sample.messages
        else sample.lead
        for sample in samples
    ]
    prompts = tokenizer(heads, add_special_tokens=False)["input_ids"]
    tails = tokenizer([sample.completion for sample in samples], add_special_tokens=False)["input_ids"]
    return [Encoded(head + tail, max(len(head), 1)) for head, tail in zip(prompts, tails, strict=True)]


def batches(
    samples: Iterator[Sample], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Iterator[list[Encoded]]:
    """Yield batches of similar length without end; every sample is used once."""
    while True:
        bucket = sorted(encode(list(islice(samples, BATCH * BUCKET)), tokenizer), key=lambda row: len(row.ids))
        starts = list(range(0, len(bucket), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield bucket[start : start + BATCH]


def collate(rows: list[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [batch, length], right-padded with 0, and labels with -100 outside the completions."""
    length = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), -100)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        labels[i, row.start : len(row.ids)] = torch.tensor(row.ids[row.start :])
    return ids, labels


@torch.no_grad()
def align_queries_with_keys(model: PreTrainedModel) -> None:
    """Start every attention layer but the first with equal query and key maps: equal tokens then attend to each other.

    After Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers" (ICML 2023). It halves the steps until
    a name is found among options.
    """
    for number, layer in enumerate(model.model.layers):
        attention = getattr(layer, "self_attn", None)
        if number == 0 or attention is None:
            continue
        keys = attention.k_proj.weight.unflatten(0, (-1, attention.head_dim))
        repeats = attention.q_proj.weight.shape[0] // attention.k_proj.weight.shape[0]
        attention.q_proj.weight.copy_(keys.repeat_interleave(repeats, 0).flatten(0, 1))


@torch.no_grad()
def shrink_scaled_embedding(model: PreTrainedModel) -> None:
    """Undo the factor that Gemma multiplies its embeddings with, or a fresh model only repeats its last token."""
    scale = getattr(model.get_input_embeddings(), "scalar_embed_scale", None)
    if scale is not None:
        model.get_input_embeddings().weight.div_(scale)


@dataclass(frozen=True)
class Phase:
    """Up to `steps` steps on `rows`, fewer once the mean loss of `EVERY` steps is below `until`.

    The last phase is the one in which the learning rate falls, over its second half, to a fiftieth.
    """

    steps: int
    rows: Iterator[list[Encoded]]
    until: float = 0.0
    falls: bool = False

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate at `step` of this phase, the `total`-th step of the training."""
        fall = min(1.0, max(0.02, 2 * (1 - step / self.steps))) if self.falls else 1.0
        return PEAK_LEARNING_RATE * min(1.0, (total + 1) / WARMUP) * fall


def step_loss(model: PreTrainedModel, batch: list[Encoded]) -> torch.Tensor:
    """Return the mean cross-entropy over the completions of `batch`, with its graph."""
    ids, labels = collate(batch)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != -100
        logits = model.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def train(model: PreTrainedModel, phases: Sequence[Phase]) -> Iterator[LogRow]:
    """Train `model` in place through `phases`; yield one row per `EVERY` steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    total, begun = 0, time.monotonic()
    model.train()
    for phase in phases:
        losses: list[float] = []
        for step, batch in enumerate(islice(phase.rows, phase.steps)):
            for group in optimizer.param_groups:
                group["lr"] = phase.rate(step, total)
            loss = step_loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            total += 1
            if len(losses) == EVERY:
                yield LogRow(total, sum(losses) / EVERY, time.monotonic() - begun)
                if sum(losses) / EVERY < phase.until:
                    break
                losses.clear()
    model.eval()
