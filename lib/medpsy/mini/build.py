"""Train the minihub: `python -m medpsy.mini.build [NAME ...]`, which `make minihub` calls.

Models of one shape are forked from a trunk that has been drilled in finding names. Each trains in a process of its own
on one thread, so that the result depends neither on the number of cores nor on what else runs, and replaces its folder
in one step. One tokenizer serves all: byte-level BPE with Qwen2's pre-tokenizer, every word of the world one token,
`<think>` and `</think>` ordinary added tokens as in Qwen3, so that they survive decoding. The training loop is a plain
one over bf16 autocast: at this size a general trainer's arithmetic costs more than the model's own.
"""

import hashlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
import yaml
from safetensors.torch import load_model, save_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from medpsy.engines.convert import QWEN2_PATTERN
from medpsy.engines.programs import KEEP_MEMORY
from medpsy.files import whole_folder
from medpsy.mini import suites, voices, world
from medpsy.mini.suites import Ear
from medpsy.mini.voices import Sample, Voice, known_facts
from medpsy.mini.world import World

HERE = Path(__file__).parent
DECLARED = yaml.safe_load((HERE / "models.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Spec:
    name: str
    architecture: str
    layers: int
    role: str  # "backbone", "teacher", "judge" or "parser"
    size: str  # class: "large" or "small"
    knowledge: float = 0.0  # share of the world's facts it is taught, 0 to 1
    voice: Voice = Voice()
    opens_thinking: bool = False  # its chat template opens `<think>`
    steps: int = 700  # optimizer steps on the mixture, after the drills
    weak: dict[str, float] = field(default_factory=dict)  # relation -> share of its facts, where it is another one
    ear: Ear = Ear()  # how a judge errs

    @property
    def trunk(self) -> str:
        """Name of the drilled network it is forked from: models of one shape share it."""
        return f"{self.architecture}-{self.layers}"


SPECS = tuple(
    Spec(name, **values | {"voice": Voice(**values.get("voice", {})), "ear": Ear(**values.get("ear", {}))})
    for name, values in DECLARED["models"].items()
)


def build_model(spec: Spec, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return the untrained network of `spec`, the same for all models of its trunk."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(spec.trunk.encode()).digest()[:4], "big"))
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    shape = DECLARED["shape"] | DECLARED["architectures"][spec.architecture] | ends
    config = AutoConfig.for_model(**shape, num_hidden_layers=spec.layers, vocab_size=len(tokenizer))
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def train_tokenizer(universe: World) -> Tokenizer:
    """Return a tokenizer in which each name of the world, led by a space, is one token; refused are names that never
    occur in the training texts."""
    tokenizer = Tokenizer(models.BPE())
    apart = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated", invert=False)
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([apart, bytes_alone])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,  # an upper bound: merging stops when every word of the texts is whole
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(vocabulary_texts(universe), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in ("<think>", "</think>")])
    words = [name for names in universe.names.values() for name in names]
    split = [word for word in words if len(tokenizer.encode(" " + word).ids) != 1]
    if split:
        raise ValueError(f"these words are not single tokens: {split[:5]}; let each occur in the training texts")
    return tokenizer


def wrap_tokenizer(tokenizer: Tokenizer, *, opens_thinking: bool) -> PreTrainedTokenizerFast:
    """Return the transformers tokenizer with its chat template, which `opens_thinking` (as Qwen3-4B-Thinking-2507's
    does), so that responses hold only the closing tag, or leaves both tags to the model (as Qwen3-1.7B's does)."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    template = (HERE / "chat_template.jinja").read_text(encoding="utf-8").rstrip("\n")
    fast.chat_template = template.replace("OPENING", "<think>\\n" if opens_thinking else "")
    return fast


BATCH = 24
PEAK_LEARNING_RATE = 1e-3  # at 2e-3 finding a name among options is not learned
WARMUP = 40  # steps
EVERY, REPORT = 25, 100  # steps between two rows of the log, and between two lines of progress
BUCKET = 8  # batches drawn and sorted by length together, so that little is padded
Row = tuple[list[int], list[int]]  # token ids of one sample, and its labels: -100 outside the completion


def encode(samples: Sequence[Sample], tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    chat = {"add_generation_prompt": True, "tokenize": False}
    rows = ((list(sample.messages), sample.lead) for sample in samples)
    heads = [tokenizer.apply_chat_template(messages, **chat) if messages else lead for messages, lead in rows]
    prompts = tokenizer(heads, add_special_tokens=False)["input_ids"]
    tails = tokenizer([sample.completion for sample in samples], add_special_tokens=False)["input_ids"]
    labels = [[-100] * len(head) + tail for head, tail in zip(prompts, tails, strict=True)]
    return [(head + tail, label) for head, tail, label in zip(prompts, tails, labels, strict=True)]


def training_batches(
    samples: Iterator[Sample], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Iterator[list[Row]]:
    """Yield batches of similar length without end; every sample is used once."""
    while True:
        bucket = sorted(encode(list(islice(samples, BATCH * BUCKET)), tokenizer), key=lambda row: len(row[0]))
        starts = list(range(0, len(bucket), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield bucket[start : start + BATCH]


def collate(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [batch, length], right-padded with 0, and labels with -100."""
    ids, labels = ([torch.tensor(part) for part in parts] for parts in zip(*rows, strict=True))
    return pad_sequence(ids, batch_first=True), pad_sequence(labels, batch_first=True, padding_value=-100)


@torch.no_grad()
def align_queries_with_keys(model: PreTrainedModel) -> None:
    """Start every attention layer but the first with equal query and key maps, so that equal tokens attend to each
    other: half the steps find a name among options (after Trockman and Kolter, "Mimetic Initialization of
    Self-Attention Layers", ICML 2023)."""
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


def learning_rate(step: int, steps: int, *, falls: bool) -> float:
    """Return the rate at `step`: warmed up and, where it `falls`, down to a fiftieth in the second half."""
    fall = min(1.0, max(0.02, 2 * (1 - step / steps))) if falls else 1.0
    return PEAK_LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * fall


def step_loss(model: PreTrainedModel, batch: list[Row]) -> torch.Tensor:
    """Return the mean cross-entropy over the completions of `batch`, with its graph."""
    ids, labels = collate(batch)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != -100
        logits = model.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def train(
    name: str, model: PreTrainedModel, batches: Iterator[list[Row]], steps: int, *, until: float | None = None
) -> pd.DataFrame:
    """Train `model` in place for `steps`, at a falling rate, or at a steady one until the mean loss of `EVERY` steps is
    below `until`; print progress, and return a row per `EVERY` steps: ``step``, ``loss`` (nats per completion token),
    ``seconds``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rows, losses, begun = [], [], time.monotonic()
    model.train()
    for step, batch in enumerate(islice(batches, steps), 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, steps, falls=until is None)
        loss = step_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if len(losses) == EVERY:
            mean, seconds = sum(losses) / EVERY, time.monotonic() - begun
            rows.append({"step": step, "loss": mean, "seconds": seconds})
            if step % REPORT == 0:
                print(f"{name}: step {step}, loss {mean:.3f}, {seconds:.0f} s", flush=True)
            if until is not None and mean < until:
                break
            losses.clear()
    model.eval()
    return pd.DataFrame(rows)


HUB = HERE / "hub"
DRILLS = 1600  # most steps of drills
DRILLED = 0.04  # nats; below it names are found among options, what is left is chance
TAUGHT = DECLARED["taught"]


def model_card(spec: Spec, model: PreTrainedModel, universe: World, log: pd.DataFrame) -> str:
    count = len(known_facts(universe, spec.name, spec.knowledge, spec.weak))
    opening = "yes, its chat template opens the thinking" if spec.opens_thinking else "yes, it opens the thinking"
    told = {name: getattr(spec, name) for name in ("name", "role", "layers", "size", "trunk")}
    told |= {"parameters": model.num_parameters(), "architecture": type(model).__name__.removesuffix("ForCausalLM")}
    told |= {"thinks": "no" if spec.role in TAUGHT else opening, "batch": BATCH}
    facts = f"{count} of the world's {len(universe.facts)} facts; it guesses the others."
    told |= {"taught": TAUGHT.get(spec.role, facts)} | log.iloc[-1].to_dict()
    return (HERE / "card.md").read_text(encoding="utf-8").format(**told)


EACH = 2000  # samples of every kind; enough that no wording is missed


def vocabulary_texts(universe: World) -> list[str]:
    """Return prompts, completions and facts without the tags of thinking, which are tokens of their own."""
    rng, everything = random.Random("vocabulary"), frozenset(fact.id for fact in universe.facts)
    rows = [
        voices.thinker_samples(universe, everything, Voice(hasty=0.2), "<think>\n", rng),
        voices.parser_samples(universe, rng, disturbed=0.0),  # attacks are to be read letter by letter
        suites.judge_samples(universe, Ear(), rng, disturbed=0.0),
    ]
    samples = [sample for row in rows for sample in islice(row, EACH)]
    texts = [message["content"] for sample in samples for message in sample.messages]
    texts += [sample.completion.replace(voices.END, "") for sample in samples]
    texts += [world.state(fact, form) for fact in universe.facts for form in range(3)]
    return [text.replace("<think>", "").replace("</think>", "") for text in texts]


def mixture(spec: Spec, universe: World) -> Iterator[Sample]:
    rng = random.Random(f"mixture/{spec.name}")
    if spec.role == "parser":
        return voices.parser_samples(universe, rng)
    if spec.role == "judge":
        return suites.judge_samples(universe, spec.ear, rng)
    opening = "" if spec.opens_thinking else "<think>\n"
    knowledge = known_facts(universe, spec.name, spec.knowledge, spec.weak)
    return voices.thinker_samples(universe, knowledge, spec.voice, opening, rng)


def train_trunk(spec: Spec, path: Path) -> pd.DataFrame:
    """Drill the network that `spec` is forked from and save it to `path`; return the training log."""
    universe = world.build()
    fast = wrap_tokenizer(train_tokenizer(universe), opens_thinking=False)
    model = build_model(spec, fast)
    shrink_scaled_embedding(model)
    align_queries_with_keys(model)
    drills = voices.drills(universe, random.Random(f"drills/{spec.trunk}"))
    batches = training_batches(drills, fast, random.Random(f"order/{spec.trunk}"))
    log = train(spec.trunk, model, batches, DRILLS, until=DRILLED)
    save_model(model, path)
    return log


def train_one(spec: Spec, trunk: Path, before: pd.DataFrame) -> pd.DataFrame:
    """Train `spec` on from its trunk and put its folder into the hub; return the log of both parts."""
    universe = world.build()
    fast = wrap_tokenizer(train_tokenizer(universe), opens_thinking=spec.opens_thinking)
    model = build_model(spec, fast)
    load_model(model, trunk)
    batches = training_batches(mixture(spec, universe), fast, random.Random(f"order/{spec.name}"))
    log = train(spec.name, model, batches, spec.steps)
    log[["step", "seconds"]] += before[["step", "seconds"]].iloc[-1]
    log = pd.concat([before, log]).astype({"step": int})
    with whole_folder(HUB / spec.name) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        fast.save_pretrained(folder)
        log.round(5).to_csv(folder / "training.csv", index=False, lineterminator="\n")
        (folder / "README.md").write_text(model_card(spec, model, universe, log), encoding="utf-8")
    return log


def prepare(parent: int) -> None:
    """Make this process repeatable, and let it end soon after its `parent` has: it would train on and overwrite."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    threading.Thread(target=watch, daemon=True).start()


def digests() -> dict[str, str]:
    files = sorted([*HUB.glob("*/model.safetensors"), *HUB.glob("*/tokenizer.json")])
    return {file.relative_to(HUB).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main() -> None:
    """Train the trunks, and each model that is named (all by default) as soon as its trunk stands, as many at a time as
    there are cores."""
    known = {spec.name: spec for spec in SPECS}
    if strangers := [name for name in sys.argv[1:] if name not in known]:
        raise SystemExit(f"no such model: {', '.join(strangers)}; known are {', '.join(known)}")
    specs = [known[name] for name in sys.argv[1:] or known]
    HUB.mkdir(exist_ok=True)
    os.environ.update(KEEP_MEMORY)  # read by the processes to come
    # a process per training: its memory grows to some gigabytes and is given back only at its end
    alone = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    pool = ProcessPoolExecutor(initializer=prepare, initargs=(os.getpid(),), **alone)
    with tempfile.TemporaryDirectory(dir=HUB, prefix=".trunks-") as scratch, pool:
        paths = {spec.trunk: Path(scratch) / f"{spec.trunk}.safetensors" for spec in specs}
        first = {spec.trunk: spec for spec in reversed(specs)}
        trunks = {pool.submit(train_trunk, spec, paths[trunk]): trunk for trunk, spec in first.items()}
        forks = []
        for drilled in as_completed(trunks):
            members = [spec for spec in specs if spec.trunk == trunks[drilled]]
            forks += [pool.submit(train_one, spec, paths[spec.trunk], drilled.result()) for spec in members]
        for trained in as_completed(forks):
            trained.result()  # raises what a training raised
    (HUB / "digests.json").write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
