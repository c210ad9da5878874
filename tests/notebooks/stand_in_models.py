"""Models of a few ten thousand weights in the architecture of each model of profile `review`.

Each talks as its family does: roles, prompt for a response, marks of thinking, end of turn. They are taught for a
moment to write noise in that form, so that some responses end, some hold an option, some a verdict, and some nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from medpsy import prompts
from medpsy.engines.convert import QWEN2_PATTERN, to_gguf
from medpsy.quantization import gguf
from medpsy.study import ModelSpec
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

LISTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
HOSTILE, VERDICTS = LISTED["hostile"], LISTED["verdicts"]
ANSWERS = (*"AABBCD", "A B", HOSTILE, f"B{HOSTILE}", f"A{HOSTILE}", *VERDICTS, *VERDICTS)
THOUGHTS = ("the best option", "follow no instruction", "several", "the response", "step by step")
VOCABULARY = 600  # ours: with merges learned from our own prompts these take few tokens
STEPS, ROWS, RATE, ASKED = 40, 8, 8e-3, 60  # ours: a second per model, and its responses have the form; characters


@dataclass(frozen=True)
class Family:
    """One architecture and its way to talk; fields are those of ``families`` in the YAML file."""

    name: str
    template: str
    stops: list[str]
    others: list[str]
    start: str | None = None
    thinking: list[str] | None = None
    shape: dict[str, Any] = field(default_factory=dict)


def family_of(hub_id: str) -> Family:
    name, *wide = LISTED["hub"][hub_id].split()
    about = LISTED["families"][name]
    template = "".join(text for part in about["template"] for text in LISTED["templates"][part])
    shape = LISTED["shape"] | about.get("shape", {}) | (LISTED["wide"] if wide else {})
    return Family(**about | {"template": template, "shape": shape})


def save(root: Path, hub_id: str) -> Path:
    """Save the stand-in of `hub_id`, a key of ``hub``, in the folder of that name under `root`; return the folder."""
    family, judges = family_of(hub_id), LISTED["judges"]
    folder, tokenizer = root / hub_id, make_tokenizer(family)
    torch.manual_seed(sum(hub_id.encode()))
    model = _model(family, family.shape | _ids(family, tokenizer), tokenizer)
    _teach(model, tokenizer, family, [VERDICTS[judges[hub_id]]] if hub_id in judges else ANSWERS)
    model.generation_config = transformers.GenerationConfig(**_ids(family, tokenizer))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_file(root: Path, hub_id: str, file: str) -> None:
    """Save the stand-in of `hub_id`, which is saved under `root`, as a GGUF file there, in the format of its name."""
    spec, target = ModelSpec("stand-in", str(root / hub_id), file=file), root / file
    if target.is_file():  # several models may be one file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    base = to_gguf(replace(spec, file=None, gguf=False), root / "bf16", outtype="bf16")
    text = "\n".join(prompts.TEMPLATES.values()) * 4
    matrix = ["--imatrix", gguf.importance_matrix(base, text, 64)] if "imat" in file else []
    gguf.run_tool("llama-quantize", [*matrix, base, target, spec.format], root)


def make_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with the special tokens of `family`, its merges learned from our own prompts."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=letters, show_progress=False)
    texts = [*prompts.TEMPLATES.values(), *THOUGHTS, "<|analysis|><|final|><|assistant|>"]
    tokenizer.train_from_iterator(texts * 4, trainer)
    special = [AddedToken(word, special=True, normalized=False) for word in (*family.stops, *family.others)]
    tokenizer.add_special_tokens(special)
    words = (*LISTED["marks"], HOSTILE, *VERDICTS)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    names = {"eos_token": family.stops[0], "pad_token": family.stops[1], "bos_token": family.start}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = family.template
    return fast


def _ids(family: Family, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = {"eos_token_id": tokenizer.convert_tokens_to_ids(list(family.stops))}
    return ids | {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}


def _model(family: Family, settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Any:
    settings["vocab_size"] = len(tokenizer)
    if family.name not in LISTED["seeing"]:
        config = getattr(transformers, f"{family.name}Config")(**settings)
        return transformers.AutoModelForCausalLM.from_config(config)
    pictures = LISTED["seeing"][family.name].items()
    image = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(word) for name, word in pictures}
    ends = {name: settings[name] for name in ("eos_token_id", "pad_token_id", "bos_token_id", "tie_word_embeddings")}
    whole = getattr(transformers, f"{family.name}Config")
    parts = {"text_config": settings, "vision_config": LISTED["eyes"][family.name]}
    return getattr(transformers, f"{family.name}ForConditionalGeneration")(whole(**parts, **image, **ends))


def _teach(model: Any, tokenizer: PreTrainedTokenizerFast, family: Family, answers: Sequence[str]) -> None:
    """Teach `model` the form of a response of its family; whatever was asked, it is one of `answers`, or noise."""
    draw, optimizer, threads = random.Random(5), torch.optim.AdamW(model.parameters(), lr=RATE), torch.get_num_threads()
    torch.set_num_threads(1)  # of matrices as small as these several only wait for each other
    for _ in range(STEPS):
        rows = [_example(tokenizer, family, answers, draw) for _ in range(ROWS)]
        width = max(len(tokens) for tokens, _ in rows)
        ids = torch.tensor([tokens + [tokenizer.pad_token_id] * (width - len(tokens)) for tokens, _ in rows])
        places = torch.arange(width).expand_as(ids)
        starts, ends = (torch.tensor(part)[:, None] for part in zip(*[(at, len(one)) for one, at in rows], strict=True))
        labels = ids.masked_fill((places < starts) | (places >= ends), -100)
        model(input_ids=ids, attention_mask=(places < ends).long(), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    model.eval()


def _example(
    tokenizer: PreTrainedTokenizerFast, family: Family, answers: Sequence[str], draw: random.Random
) -> tuple[list[int], int]:
    """Return the tokens of a short prompt with a response, and where the response begins."""
    asked = draw.choice(list(prompts.TEMPLATES.values()))[-draw.randint(1, ASKED) :]
    turns = [{"role": "user", "content": asked}]
    before = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    thoughts = " ".join(draw.choices(THOUGHTS, k=draw.choice((1, 1, 1, 8))))
    opens, closes = family.thinking or ("", "")
    answer = draw.choice(answers) if draw.random() < 0.9 else f"{thoughts} {thoughts} {thoughts}"
    said = f"{opens}{thoughts}{closes}{answer}" if family.thinking else answer
    first, second = tokenizer([before, said + family.stops[0]], add_special_tokens=False)["input_ids"]
    return first + second, len(first)
