"""What our training costs beside the library underneath: SFT beside a bare PyTorch loop, RL beside bare TRL.

Both sides of a comparison have one thread, the same model, rows, number format and optimizer.
"""

import random
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer, SFTTrainer

from medpsy import study
from medpsy.grading.reasoning import split
from medpsy.mini import corpus, world
from medpsy.mini.thinking import Voice
from medpsy.training import rl, sft
from medpsy.training.dapo import DapoTrainer
from medpsy.training.job import Job
from medpsy.training.rl_config import grpo_config
from medpsy.training.rl_questions import rl_set
from medpsy.training.rl_settings import RlSettings
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
RL = {"rollouts": 4, "prompts_per_rollout": 8, "group_size": 8, "updates_per_rollout": 2, "micro_batch": 32}
RL |= {"learning_rate": 1e-5, "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "max_new_tokens": 192, "seed": 7}
RL |= {"overlong_buffer": 64, "most_prompt_tokens": 256, "evaluate_every": 100, "held_out_batch": 1, "keep": "last"}
RL |= {"precision": "float32", "checkpointing": False, "report_to": ()}


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
            "bench",
            "sft",
            parent,
            str(folder / "out"),
            str(folder / "work"),
            (str(rows(folder / "rows")),),
            str(folder),
            {},
            True,
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


def rl_steps_per_second() -> tuple[float, float]:
    """Return optimizer steps per second of DAPO without dynamic sampling, which bare TRL lacks, and of bare TRL."""
    torch.set_num_threads(1)
    settings = RlSettings(**RL)
    known = rl_set(study.load("mini"), size=RL["rollouts"] * RL["prompts_per_rollout"], held_out=1, seed=7)
    parent = str(study.load("mini").model(PARENT).local_dir)
    tokenizer = AutoTokenizer.from_pretrained(parent)
    with tempfile.TemporaryDirectory() as scratch:
        job = Job("bench", "rl", parent, scratch, scratch, (), scratch, {}, True)
        rows = rl.fitting(known.train, tokenizer, job, settings.most_prompt_tokens)
        given = {"model": parent, "train_dataset": rows, "processing_class": tokenizer}
        given |= {"reward_funcs": rl.rewards(job, settings, rl.by_name(known.train, ()), tokenizer)}
        given |= {"args": grpo_config(settings, Path(scratch))}
        return tuple(steps_per_second(make(**given)) for make in (partial(DapoTrainer, rounds=0), GRPOTrainer))


def steps_per_second(trainer: GRPOTrainer) -> float:
    begun = time.perf_counter()
    trainer.train()
    return trainer.state.global_step / (time.perf_counter() - begun)
