"""Train the minihub: `python -m medpsy.mini.build [NAME ...]`, which `make minihub` calls.

Models of one shape are forked from a trunk that has been drilled in finding names. Each trains in a process of its own
on one thread, so that the result depends neither on the number of cores nor on what else runs. A finished model
replaces its folder in one step; an interrupted one leaves the old folder as it was.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from medpsy.engines.child import KEEP_MEMORY
from medpsy.folders import whole_folder
from medpsy.mini import corpus, judges, pretrain, tokenizer, world
from medpsy.mini.card import loss_figure, model_card
from medpsy.mini.specs import SPECS, Spec, build_model
from medpsy.mini.vocabulary import vocabulary_texts

HUB = Path(__file__).parent / "hub"
DRILLS = 1600  # most steps of drills
DRILLED = 0.04  # nats; below it names are found among options, what is left is chance
REPORT = 100  # steps between two lines of progress


def mixture(spec: Spec, universe: world.World) -> Iterator[corpus.Sample]:
    """Return what `spec` is trained on after the drills."""
    rng = random.Random(f"mixture/{spec.name}")
    if spec.role == "parser":
        return corpus.parser_samples(universe, rng)
    if spec.role == "judge":
        return judges.samples(universe, spec.ear, rng)
    opening = "" if spec.opens_thinking else "<think>\n"
    knowledge = corpus.known_facts(universe, spec.name, spec.knowledge, spec.weak)
    return corpus.thinker_samples(universe, knowledge, spec.voice, opening, rng)


def fresh_tokenizer(universe: world.World, *, opens_thinking: bool) -> PreTrainedTokenizerFast:
    names = [name for kind in universe.names.values() for name in kind]
    return tokenizer.wrap(tokenizer.train(vocabulary_texts(universe), names), opens_thinking=opens_thinking)


def started(spec: Spec, fast: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return the untrained network of `spec`, the same for all models of its trunk."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(int.from_bytes(hashlib.sha256(spec.trunk.encode()).digest()[:4], "big"))
    ends = {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id, "bos_token_id": None}
    return build_model(spec, len(fast), ends)


def logged(name: str, rows: Iterator[pretrain.LogRow]) -> list[pretrain.LogRow]:
    """Return `rows`, printing a line of progress now and then."""
    found = []
    for row in rows:
        found.append(row)
        if row.step % REPORT == 0:
            print(f"{name}: step {row.step}, loss {row.loss:.3f}, {row.seconds:.0f} s", flush=True)
    return found


def train_trunk(spec: Spec, path: Path) -> list[pretrain.LogRow]:
    """Drill the network that `spec` is forked from and save it to `path`; return the training log."""
    universe = world.build()
    fast = fresh_tokenizer(universe, opens_thinking=False)
    model = started(spec, fast)
    pretrain.shrink_scaled_embedding(model)
    pretrain.align_queries_with_keys(model)
    drills = corpus.drills(universe, random.Random(f"drills/{spec.trunk}"))
    batches = pretrain.batches(drills, fast, random.Random(f"order/{spec.trunk}"))
    rows = logged(spec.trunk, pretrain.train(model, [pretrain.Phase(DRILLS, batches, until=DRILLED)]))
    save_model(model, path)
    return rows


def train_one(spec: Spec, trunk: Path, before: list[pretrain.LogRow]) -> list[pretrain.LogRow]:
    """Train `spec` on from its trunk and put its folder into the hub; return the log of both parts."""
    universe = world.build()
    fast = fresh_tokenizer(universe, opens_thinking=spec.opens_thinking)
    model = started(spec, fast)
    load_model(model, trunk)
    batches = pretrain.batches(mixture(spec, universe), fast, random.Random(f"order/{spec.name}"))
    rows = logged(spec.name, pretrain.train(model, [pretrain.Phase(spec.steps, batches, falls=True)]))
    steps, seconds = before[-1].step, before[-1].seconds
    rows = before + [replace(row, step=row.step + steps, seconds=row.seconds + seconds) for row in rows]
    with whole_folder(HUB / spec.name) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        fast.save_pretrained(folder)
        write_log(folder / "training.csv", rows)
        (folder / "README.md").write_text(model_card(spec, model, universe, rows), encoding="utf-8")
    return rows


def train_all(specs: Sequence[Spec], jobs: int) -> None:
    """Train the trunks of `specs`, and each model as soon as its trunk stands."""
    with (
        tempfile.TemporaryDirectory(dir=HUB, prefix=".trunks-") as scratch,
        # a process per training: its memory grows to some gigabytes and is given back only at its end
        ProcessPoolExecutor(
            jobs, get_context("spawn"), end_with, initargs=(os.getpid(),), max_tasks_per_child=1
        ) as pool,
    ):
        paths = {spec.trunk: Path(scratch) / f"{spec.trunk}.safetensors" for spec in specs}
        first = {spec.trunk: spec for spec in reversed(specs)}
        trunks = {pool.submit(train_trunk, spec, paths[trunk]): trunk for trunk, spec in first.items()}
        waiting: dict[Future, str] = {}
        for done in as_completed(trunks):
            for spec in [spec for spec in specs if spec.trunk == trunks[done]]:
                waiting[pool.submit(train_one, spec, paths[spec.trunk], done.result())] = spec.name
        for done in as_completed(waiting):
            print(f"{waiting[done]}: done in {done.result()[-1].seconds:.0f} s", flush=True)


def end_with(parent: int) -> None:
    """Let this process end soon after its `parent` has, however that one ended: it would train on and overwrite."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_log(path: Path, rows: list[pretrain.LogRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", "loss", "seconds"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(value, 5) for key, value in asdict(row).items()} for row in rows)


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
    os.environ.update(KEEP_MEMORY)  # read by the processes to come
    train_all([spec for spec in SPECS if spec.name in (arguments.names or known)], arguments.jobs)
    (HUB / "digests.json").write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
    loss_figure(HUB)


if __name__ == "__main__":
    main()
