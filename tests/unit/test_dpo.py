"""Preference training: what a pair becomes, what is refused, and a real run that is killed and goes on."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from medpsy.corpus.rows import chat_form
from medpsy.data.questions import Question
from medpsy.training import dpo, worker
from medpsy.training.data import OpenQuestion, Pair, read, write
from medpsy.training.jobs import summary
from safetensors.torch import load_file
from training_examples import HUB, NAMES, Kill, Killed, job, one_thread  # noqa: F401
from transformers import AutoTokenizer

CONFIG = {
    "num_train_epochs": 2.0, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-3,
    "beta": 0.1, "max_length": 64, "bf16": False, "gradient_checkpointing": False, "save_steps": 2, "seed": 3,
}  # fmt: skip


def pair(number: int) -> Pair:
    asked = ({"role": "user", "content": f"What is {NAMES[number % 3]}?"},)
    chosen, rejected = (f"<think>\nRecall.\n</think>\n\nIt is {letter}." for letter in "AB")
    return Pair(f"pair-{number}", asked, chosen, rejected)


def pairs_job(root: Path):
    one = job(root, write(root / "pairs.parquet", [pair(number) for number in range(12)]), name="small-openmed-dpo")
    return replace(one, method="dpo", config=CONFIG)


def margins(record):
    return [row["rewards/margins"] for row in record["log"] if "rewards/margins" in row]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    one = pairs_job(tmp_path_factory.mktemp("dpo"))
    worker.do(one)
    return one, summary(Path(one.folder))


def test_training_raises_the_margin_of_chosen_over_rejected(whole):
    one, record = whole
    assert margins(record)[0] == pytest.approx(0.0, abs=1e-4) and margins(record)[-1] > 0.1
    assert (record["steps"], record["pairs"], record["method"]) == (6, 12, "dpo") and record["tokens"] > 0
    assert one.done()


def test_a_killed_run_goes_on_to_the_same_weights(whole, tmp_path, monkeypatch):
    one = pairs_job(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(dpo, "Journal", lambda name, work: Kill(3))
        with pytest.raises(Killed):
            worker.do(one)
    assert (Path(one.work) / "checkpoint-2").is_dir()
    worker.do(one)
    first, second = (load_file(Path(done.folder) / "model.safetensors") for done in (whole[0], one))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("name", "opens"), [("qwen3-large", True), ("qwen3-small", False)])
def test_a_pair_is_what_the_model_would_have_written_up_to_the_end_of_its_turn(name, opens):
    tokenizer = AutoTokenizer.from_pretrained(HUB / name)
    target = chat_form(tokenizer, opens_thinking=opens, switches={})
    prompt = tokenizer.apply_chat_template(list(pair(0).messages), tokenize=False, add_generation_prompt=True)
    assert target.prompts(tokenizer, [asdict(pair(0))]) == [prompt]
    row = dpo.written(target, prompt, pair(0))
    assert row["chosen"].endswith("</think>\n\nIt is A.<|im_end|>") and row["rejected"].count("<|im_end|>") == 1
    ended = replace(pair(0), chosen=f"{pair(0).chosen}<|im_end|>\n")
    assert dpo.written(target, prompt, ended) == row


def test_a_pair_that_is_too_long_is_refused_and_never_cut(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(HUB / "qwen3-small")
    with pytest.raises(ValueError, match=r"pair 'pair-\d+': prompt and chosen response have \d+ tokens and max_length"):
        dpo.preferences(pairs_job(tmp_path), tokenizer, 16)


def test_pairs_and_questions_come_back_as_they_were_written_and_senseless_ones_are_refused(tmp_path):
    path, asked = tmp_path / "rows.parquet", ({"role": "user", "content": "头疼怎么办？"},)
    closed = Question("2", "alphamed", "s", "Größe?", ("a", "b", "c"), 2, "context", "g")
    for given in (replace(pair(1), prompt_tools='[{"name": "search"}]'), OpenQuestion("头", asked, "休息"), closed):
        assert read(write(path, [given]), type(given)) == (given,)
    for message, senseless in {
        "rows.parquet: no question or pair": lambda: write(path, ()),
        "2 rows are called 'pair-0'": lambda: write(path, [pair(0), pair(0)]),
        "its reference is empty": lambda: OpenQuestion("头", asked, " "),
        "chosen and rejected are the same": lambda: replace(pair(0), rejected=f"{pair(0).chosen} "),
        "or rejected is empty": lambda: replace(pair(0), rejected=""),
    }.items():
        with pytest.raises(ValueError, match=message):
            senseless()
