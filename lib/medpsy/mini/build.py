"""Train the minihub: `python -m medpsy.mini.build [NAME ...]`, which `make minihub` calls.

Each model trains in a process of its own on one thread, so that the result depends neither on the number of
cores nor on what else runs. A finished model replaces its folder in one step; an interrupted one leaves the old
folder as it was.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch

from medpsy.mini import corpus, pretrain, tokenizer, world
from medpsy.mini.card import loss_figure, model_card
from medpsy.mini.specs import SPECS, Spec, build_model

HUB = Path(__file__).parent / "hub"
DRILLS = 1600  # most steps of drills
DRILLED = 0.04  # nats; below it names are found among options, what is left is chance
# glibc gives freed tensors back to the system and takes them again at every step, a fifth of the time; this keeps them
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456"}
REPORT = 100  # steps between two lines of progress


def sample_rows(spec: Spec, universe: world.World) -> tuple[Iterator[corpus.Sample], Iterator[corpus.Sample]]:
    """Return the drills and the mixture that `spec` is trained on, one after the other."""
    drills, rng = (corpus.drills(universe, random.Random(f"drills/{spec.name}")), random.Random(f"mixture/{spec.name}"))
    if spec.role == "parser":
        return drills, corpus.parser_samples(universe, rng)
    opening = "" if spec.opens_thinking else "<think>\n"
    knowledge = corpus.known_facts(universe, spec.name, spec.knowledge)
    return drills, corpus.thinker_samples(universe, knowledge, spec.voice, opening, rng)


def train_one(name: str) -> list[pretrain.LogRow]:
    """Train model `name` and put its folder into the hub; return the training log."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    spec = next(spec for spec in SPECS if spec.name == name)
    universe = world.build()
    names = [name for kind in universe.names.values() for name in kind]
    fast = tokenizer.wrap(tokenizer.train(corpus.vocabulary_texts(universe), names), opens_thinking=spec.opens_thinking)
    torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    ends = {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id, "bos_token_id": None}
    model = build_model(spec, len(fast), ends)
    pretrain.shrink_scaled_embedding(model)
    pretrain.align_queries_with_keys(model)
    rng = random.Random(f"order/{name}")
    first, second = (pretrain.batches(row, fast, rng) for row in sample_rows(spec, universe))
    rows = []
    phases = [pretrain.Phase(DRILLS, first, until=DRILLED), pretrain.Phase(spec.steps, second, falls=True)]
    for row in pretrain.train(model, phases):
        rows.append(row)
        if row.step % REPORT == 0:
            print(f"{name}: step {row.step}, loss {row.loss:.3f}, {row.seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(dir=HUB, prefix=f".{name}-") as scratch:
        folder = Path(scratch) / name
        model.to(torch.bfloat16).save_pretrained(folder)
        fast.save_pretrained(folder)
        write_log(folder / "training.csv", rows)
        (folder / "README.md").write_text(model_card(spec, model, universe, rows), encoding="utf-8")
        replace_folder(folder, HUB / name)
    return rows


def write_log(path: Path, rows: list[pretrain.LogRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", "loss", "seconds"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(value, 5) for key, value in asdict(row).items()} for row in rows)


def replace_folder(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`; the old folder is kept until the new one stands."""
    aside = old.with_name(f".{old.name}-old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)


def digests() -> dict[str, str]:
    """Return the SHA-256 of every weight and tokenizer file of the hub, by path within it."""
    files = sorted([*HUB.glob("*/model.safetensors"), *HUB.glob("*/tokenizer.json")])
    return {file.relative_to(HUB).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main() -> None:
    known = [spec.name for spec in SPECS]
    parser = argparse.ArgumentParser(description="Train the models of the miniature.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"models to train, all by default: {', '.join(known)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="models trained at a time (default: cores)")
    arguments = parser.parse_args()
    if strangers := set(arguments.names) - set(known):
        parser.error(f"no such model: {', '.join(sorted(strangers))}; known are {', '.join(known)}")
    HUB.mkdir(exist_ok=True)
    os.environ.update(MALLOC)  # read by the processes to come
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train_one, name): name for name in arguments.names or known}
        for done in as_completed(waiting):
            print(f"{waiting[done]}: done in {done.result()[-1].seconds:.0f} s", flush=True)
    (HUB / "digests.json").write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
    loss_figure(HUB)


if __name__ == "__main__":
    main()
