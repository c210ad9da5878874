"""SFT: what the loss falls on, that documents of a pack are apart, and what is refused before it starts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from case_rows import cases
from medpsy import strict
from medpsy.corpus.rows import chat_form
from medpsy.training import sft
from medpsy.training.config import LOADING, DapoConfig, arguments, check, given
from tiny_models import ARCHITECTURES, save_tiny
from training_examples import CONFIG, HUB, corpus, job, one_thread  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

ROW = {"messages": [{"role": "user", "content": "What?"}], "reasoning": "Because.", "answer": "It is A."}
BOTH = pytest.mark.parametrize(("parent", "opens"), [("qwen3-large", True), ("qwen3-small", False)])


def tokenizer_of(parent):
    return AutoTokenizer.from_pretrained(HUB / parent)


def trainer_of(one, tmp_path) -> SFTTrainer:
    tokenizer = tokenizer_of(Path(one.parent).name)
    rows = sft.examples(one, tokenizer, one.config["max_length"])
    return SFTTrainer(model=one.parent, args=arguments(one), train_dataset=rows, processing_class=tokenizer)


@BOTH
def test_a_study_that_is_wrong_about_a_template_is_refused(parent, opens):
    with pytest.raises(ValueError, match="opens_thinking"):
        chat_form(tokenizer_of(parent), opens_thinking=not opens, switches={})


@BOTH
def test_the_loss_falls_on_the_completion_alone_which_is_what_the_model_would_have_written(tmp_path, parent, opens):
    one = job(tmp_path, corpus(tmp_path / "corpus1", rows=1), parent=parent)
    trainer, tokenizer = trainer_of(one, tmp_path), tokenizer_of(parent)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    parts = [
        tokenizer.decode(batch["input_ids"][0][mask])
        for mask in (batch["labels"][0] == -100, batch["labels"][0] != -100)
    ]
    asked = [{"role": "user", "content": "What is prubosk 0?"}]
    opening = "" if opens else "<think>\n"
    assert parts[0] == tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert parts[1] == f"{opening}Recall: prubosk is 0.\n</think>\n\nIt is 0.<|im_end|>"
    assert "".join(parts).count("<think>") == 1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_documents_in_a_pack_do_not_see_each_other(tmp_path, attention):
    """The logits of every document in a pack are those it has alone; only rounding differs."""
    one = job(tmp_path, corpus(tmp_path / "corpus1", rows=3), max_length=256)
    trainer = trainer_of(one, tmp_path)
    pack = trainer.train_dataset[0]
    assert len(pack["seq_lengths"]) == 3
    batch = {name: value for name, value in trainer.data_collator([pack]).items() if name != "labels"}
    model = AutoModelForCausalLM.from_pretrained(one.parent, **LOADING | {"attn_implementation": attention}).eval()
    with torch.no_grad():
        together = model(**batch, use_cache=False).logits[0]
        start = 0
        for size in pack["seq_lengths"]:
            alone = model(batch["input_ids"][:, start : start + size], use_cache=False).logits[0]
            assert torch.allclose(together[start : start + size], alone, atol=2e-4)
            start += size


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_documents_are_packed_where_they_stay_apart_alone(tmp_path, architecture):
    """Of two packs that differ in their first document, the logits of the second differ or not."""
    folder, sizes = save_tiny(tmp_path / "model", architecture), [9, 12]
    model = AutoModelForCausalLM.from_pretrained(folder, **LOADING).eval()
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    second = []
    for first in (range(300, 309), range(310, 319)):
        pack = {"input_ids": [*first, *range(320, 332)], "seq_lengths": sizes}
        batch = {name: value for name, value in collate([pack]).items() if name != "labels"}
        with torch.no_grad():
            second.append(model(**batch, use_cache=False).logits[0, sizes[0] :])
    assert torch.allclose(*second, atol=1e-3) == sft.packs(folder) == (architecture not in ("Lfm2", "Qwen3_5"))


def test_a_row_longer_than_a_pack_is_named_and_never_cut(tmp_path):
    one = job(tmp_path, corpus(tmp_path / "corpus1", rows=4, words=4), max_length=32)
    with pytest.raises(ValueError, match=r"row 'row-\d' has \d+ tokens and max_length is 32"):
        sft.examples(one, tokenizer_of("qwen3-small"), 32)


@pytest.mark.parametrize(("change", "words"), cases("trainer_arguments", "change", "words"))
def test_arguments_that_cannot_be_meant_are_refused(change, words):
    with pytest.raises(strict.SettingsError, match=words):
        told = {name: value for name, value in CONFIG.items() if name != "seed"}
        check(SFTConfig, "f.yaml", batch={"max_length": 128}, sft1={**told, **change})


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    one = job(tmp_path, tmp_path / "rows", gradient_accumulation_steps=8)
    assert arguments(one, processes=2).gradient_accumulation_steps == 4
    with pytest.raises(ValueError, match="gradient_accumulation_steps: 8 cannot be shared by 3 processes"):
        arguments(one, processes=3)


RL = {"generation_batch_size": 8, "num_generations": 4, "save_steps": 4, "per_device_train_batch_size": 4}
OURS = {"output_dir", "logging_steps", "logging_nan_inf_filter", "disable_tqdm", "model_init_kwargs", "data_seed"}


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("sft", SFTConfig("x", use_cpu=True, bf16=True, max_length=77, lr_scheduler_type="cosine", report_to=[])),
        ("rl", DapoConfig("x", use_cpu=True, soft_punish_cache=9, reward_weights=[1.0, 0.0, 1.0], **RL)),
    ],
)
def test_a_job_carries_a_configuration_as_json_and_makes_it_again(method, config, tmp_path):
    told = json.loads(json.dumps(given(config)))
    again = arguments(replace(job(tmp_path, tmp_path / "rows"), method=method, config=told)).to_dict()
    assert {key for key, value in config.to_dict().items() if again[key] != value} <= OURS | {"dataloader_pin_memory"}


SEARCH = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
WITH_TOOLS = "{{ tools | tojson if tools }}{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}"
WITH_TOOLS += "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CALL = '<tool_call>\n{"name": "search", "arguments": {"query": "mazel"}}\n</tool_call>'


def test_tools_reach_the_prompt_and_the_last_turn_may_call_one():
    tokenizer = tokenizer_of("qwen3-small")
    target = chat_form(tokenizer, opens_thinking=False, switches={})
    with pytest.raises(ValueError, match="tool 'search' is not in the prompt"):  # its own template leaves tools out
        target.examples(tokenizer, [{**ROW, "prompt_tools": json.dumps([SEARCH])}])
    tokenizer.chat_template = WITH_TOOLS
    turns = [("user", "What helps?"), ("assistant", CALL), ("tool", "Rest helps.")]
    row = {**ROW, "messages": [{"role": role, "content": text} for role, text in turns], "answer": CALL}
    tools = ({"prompt_tools": json.dumps([SEARCH])}, {"prompt_tools": ""}, {})
    one, without, plain = target.examples(tokenizer, [row | some for some in tools])
    assert one["prompt"].startswith('[{"type"') and '"search"' in one["prompt"].partition("<|im_start|>")[0]
    assert f"assistant\n{CALL}<|im_end|>\n<|im_start|>tool\nRest helps." in one["prompt"]
    assert one["completion"].endswith(f"{CALL}<|im_end|>")
    assert without["prompt"].startswith("<|im_start|>") and plain == without
