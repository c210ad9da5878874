"""What our training costs beside the library underneath: SFT beside a bare PyTorch loop, RL beside bare TRL.

Both sides of a comparison have one thread, the same model, rows, number format and optimizer.
"""

import random
import tempfile
import time
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from trl import SFTTrainer

from medpsy import study
from medpsy.grading.reasoning import split
from medpsy.mini import corpus, world
from medpsy.mini.thinking import Voice
from medpsy.training import sft
from medpsy.training.job import Job
from medpsy.training.sft_settings import SftSettings

ROWS = 200
PARENT = "qwen3-large"
SETTINGS = {"packed_length": 512, "global_batch": 8, "micro_batch": 1, "learning_rate": 1e-4, "clip": 1.0}
SETTINGS |= {"warmup": 0.05, "floor": 0.1, "weight_decay": 0.01, "beta2": 0.98, "precision": "bfloat16"}
SETTINGS |= {
    "attention": "eager",
    "checkpointing": False,
    "epochs": 4.0,
    "save_every": 1000,
    "seed": 7,
    "report_to": [],
}


def rows(path: Path) -> Path:
    """Write a corpus of `ROWS` rows, made by a program that knows the whole world, and return its file."""
    universe, voice = world.build(), Voice()
    everything = frozenset(fact.id for fact in universe.facts)
    endless = corpus.thinker_samples(universe, everything, voice, "", random.Random("bench"))
    found = list(islice((one for one in endless if one.messages), ROWS))
    parts = [split(one.completion, opens_thinking=True, finish_reason="stop") for one in found]
    columns = {"id": [str(number) for number in range(ROWS)], "messages": [list(one.messages) for one in found]}
    columns |= {"reasoning": [part.reasoning for part in parts], "answer": [part.answer or "" for part in parts]}
    pq.write_table(pa.table(columns), path)
    return path


def sft_tokens_per_second() -> tuple[float, float]:
    """Return tokens per second of a stage of SFT, and of a bare loop over the same packs."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, parent = Path(scratch), str(study.load("mini").model(PARENT).local_dir)
        job = Job(
            "bench", "sft", parent, str(folder / "out"), str(folder / "work"), (str(rows(folder / "rows")),), {}, True
        )
        Path(job.work).mkdir()
        trainer = sft.train(job, SftSettings(**SETTINGS))
        log = trainer.state.log_history
        ours = max(row.get("num_tokens", 0) for row in log) / max(row["seconds"] for row in log)
        return ours, bare_loop(trainer, parent)


def bare_loop(trainer: SFTTrainer, parent: str) -> float:
    """Return tokens per second of forward, loss, backward and AdamW over the trainer's own packs."""
    model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS["learning_rate"], fused=True)
    packs = [trainer.data_collator([pack]) for pack in trainer.train_dataset]
    seen, begun = 0, time.perf_counter()
    for number, pack in enumerate(packs * int(SETTINGS["epochs"]), start=1):
        labels = pack["labels"]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**{name: one for name, one in pack.items() if name != "labels"}, use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
        (loss / SETTINGS["global_batch"]).backward()
        seen += labels.numel()
        if number % SETTINGS["global_batch"] == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS["clip"])
            optimizer.step()
            optimizer.zero_grad()
    return seen / (time.perf_counter() - begun)
