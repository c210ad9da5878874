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
from medpsy import study
from medpsy.grading.readers import split
from medpsy.mini import voices, world
from medpsy.mini.voices import Voice
from medpsy.training import rl, sft
from medpsy.training.dapo import DapoTrainer
from medpsy.training.data import rl_set
from medpsy.training.jobs import Job
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer, SFTTrainer

ROWS = 200
PARENT = "qwen3-large"
CONFIG = {
    "max_length": 512,
    "gradient_accumulation_steps": 8,
    "per_device_train_batch_size": 1,
    "num_train_epochs": 4.0,
}
CONFIG |= {"learning_rate": 1e-4, "warmup_steps": 0.05, "lr_scheduler_type": "cosine_with_min_lr", "max_grad_norm": 1.0}
CONFIG |= {"lr_scheduler_kwargs": {"min_lr_rate": 0.1}, "weight_decay": 0.01, "adam_beta2": 0.98, "save_steps": 1000}
CONFIG |= {"bf16": True, "gradient_checkpointing": False, "model_init_kwargs": {"attn_implementation": "eager"}}
CONFIG |= {"packing": True, "completion_only_loss": True, "shuffle_dataset": True, "seed": 7}
RL = {"max_steps": 8, "generation_batch_size": 64, "num_generations": 8, "per_device_train_batch_size": 32, "seed": 7}
RL |= {"learning_rate": 1e-5, "lr_scheduler_type": "constant_with_warmup", "max_completion_length": 192}
RL |= {"soft_punish_cache": 64, "max_prompt_length": 256, "save_steps": 200, "loss_type": "dapo", "epsilon_high": 0.28}
RL |= {"bf16": False, "gradient_checkpointing": False, "reward_weights": [1.0, 0.0, 1.0], "sampling_rounds": 0}


def rows(path: Path) -> Path:
    """Write a corpus of `ROWS` rows, made by a program that knows the whole world, and return its file."""
    universe, voice = world.build(), Voice()
    everything = frozenset(fact.id for fact in universe.facts)
    endless = voices.thinker_samples(universe, everything, voice, "", random.Random("bench"))
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
        files, paths = (str(rows(folder / "rows")),), {"folder": str(folder / "out"), "work": str(folder / "work")}
        job = Job("bench", "sft", parent, data=files, store=scratch, config=CONFIG, opens_thinking=True, **paths)
        Path(job.work).mkdir()
        trainer, _, _ = sft.train(job)
        log = trainer.state.log_history
        ours = max(row.get("num_tokens", 0) for row in log) / max(row["seconds"] for row in log)
        return ours, bare_loop(trainer, parent)


def bare_loop(trainer: SFTTrainer, parent: str) -> float:
    """Return tokens per second of forward, loss, backward and AdamW over the trainer's own packs."""
    model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=CONFIG["learning_rate"], fused=True)
    packs = [trainer.data_collator([pack]) for pack in trainer.train_dataset]
    seen, begun = 0, time.perf_counter()
    for number, pack in enumerate(packs * int(CONFIG["num_train_epochs"]), start=1):
        labels = pack["labels"]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**{name: one for name, one in pack.items() if name != "labels"}, use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
        (loss / CONFIG["gradient_accumulation_steps"]).backward()
        seen += labels.numel()
        if number % CONFIG["gradient_accumulation_steps"] == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG["max_grad_norm"])
            optimizer.step()
            optimizer.zero_grad()
    return seen / (time.perf_counter() - begun)


def rl_steps_per_second() -> tuple[float, float]:
    """Return optimizer steps per second of DAPO without dynamic sampling, which bare TRL lacks, and of bare TRL."""
    torch.set_num_threads(1)
    known = rl_set(study.load("mini"), size=32, held_out=1, seed=7)  # 4 rollouts of 8 questions
    parent = str(study.load("mini").model(PARENT).local_dir)
    tokenizer = AutoTokenizer.from_pretrained(parent)
    with tempfile.TemporaryDirectory() as scratch:
        job = Job("bench", "rl", parent, scratch, scratch, (), scratch, RL, True)
        given = {"model": parent, "processing_class": tokenizer, "args": rl.rollout_arguments(job)}
        given |= {"train_dataset": rl.fitting(known.train, tokenizer, job, RL["max_prompt_length"])}
        given |= {"reward_funcs": rl.rule_rewards(job, given["args"], known.train, tokenizer)}
        return tuple(steps_per_second(trainer(**given)) for trainer in (DapoTrainer, GRPOTrainer))


def steps_per_second(trainer: GRPOTrainer) -> float:
    begun = time.perf_counter()
    trainer.train()
    return trainer.state.global_step / (time.perf_counter() - begun)
