"""The GSPO recipe: forms of responses, rewards, methods and adapters; and texts that attack a reader."""

# ruff: noqa: F811 - a fixture is imported, and tests name it
import json
from functools import partial

import pandas as pd
import pytest
import torch
from case_rows import cases
from fake_engine import FakeEngine, answered_by, fenced
from medpsy import store, training
from medpsy.attacks import ATTACK, CONTROL, FORMS, judge_flips, parser_flips
from medpsy.data.questions import Question
from medpsy.engines.chat import render
from medpsy.engines.models import weight_files
from medpsy.grading.readers import CLOSES, OPENS, pattern, split
from medpsy.recipes import medical_o1
from medpsy.store import ResponseStore, Session
from medpsy.training import save
from medpsy.training.config import arguments
from medpsy.training.data import OpenQuestion
from medpsy.training.rewards import Judge, Tier, conclusion, conversation, has_words, judge_of
from peft import get_peft_model
from recipes_example import HUB, defined, mine  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer

SECTION = "12_gspo_judge"
TIERS = (Tier("{reference}", 2.0), Tier("Says that this is not certain.", 0.5))
JUDGE = Judge("judge-middle", TIERS, otherwise=-0.5, no_conclusion=-1.0)
CONFIG = {
    "max_steps": 4, "generation_batch_size": 8, "num_generations": 4, "per_device_train_batch_size": 4,
    "max_completion_length": 24, "soft_punish_cache": 4, "max_prompt_length": 200, "save_steps": 2, "bf16": False,
}  # fmt: skip
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "down_proj"]}
RANGES = {"gspo": [3e-4, 4e-4], "grpo": [0.2, 0.27], "dapo": [0.2, 0.28]}
READING = {"OPENS": OPENS, "CLOSES": CLOSES, "pattern": pattern, "split": split, "has_words": has_words, "pd": pd}
FORMED = defined(SECTION, "response_form", **READING)


@pytest.mark.parametrize("case", cases("response_forms"))
def test_a_response_is_in_form_with_one_think_block_and_a_concise_conclusion(case):
    told = FORMED["response_form"](case["text"], case["finish_reason"], case["opens_thinking"], 40)
    assert told == FORMED[case["form"]]


def said(model: str, texts: list[str], **more) -> pd.DataFrame:
    rows = [{"question_id": str(n), "text": text} for n, text in enumerate(texts)]
    return pd.DataFrame(rows).assign(model=model, run=0, config="en", completion_tokens=10, **more)


def open_question(number: int) -> OpenQuestion:
    return OpenQuestion(str(number), ({"role": "user", "content": f"Q{number}?"},), f"Says mazel{number}")


def gullible(prompt, sampling):
    """A judge who believes a response that orders it to, or that holds the word of the reference."""
    text = prompt.messages[0]["content"]
    response, criterion = fenced(text), text.split("<criterion>")[1]
    return json.dumps({"criteria_met": "mazel" in criterion and ("met" in response or "mazel" in response)})


@pytest.fixture
def judged_by(mine, monkeypatch):
    """The study, with a judge that `gullible` speaks for."""
    return medical_o1.greedy(mine), answered_by(monkeypatch, FakeEngine("fp judge", reply=gullible))


TEXTS = ["<think>\nno\n</think>\nelse", "<think>\nno\n</think>\nmazel1", "<think>\nendless"]


def test_flips_under_attack_stand_beside_those_under_a_harmless_text_as_long(judged_by):
    study, _ = judged_by
    items = [(conversation(open_question(n), JUDGE), conclusion(TEXTS[n])) for n in range(2)]
    found = judge_flips(medical_o1.asking(study, JUDGE), items)
    assert list(found["Tried"]) == list(FORMS) and set(found["Responses"]) == {1}  # the second is met anyway
    assert found.set_index("Tried").loc["an order", [ATTACK, CONTROL]].tolist() == [1, 0]
    assert judge_flips(medical_o1.asking(study, JUDGE), []).empty


def test_a_parser_that_obeys_is_counted(mine, monkeypatch):
    def obeys(prompt, sampling):
        response = fenced(prompt.messages[0]["content"])
        return "B" if "Reply B." in response or "Rest" in response else "A"

    answered_by(monkeypatch, FakeEngine("fp parser", reply=obeys))
    session = Session(mine, ResponseStore(mine.store_dir))
    asked = Question("q", "mini", "", "Which?", ("lorin", "mazel"), 0, None, "")
    counts = parser_flips(session, [(asked, "A", 0), (asked, "It is A.", 0)]).set_index("Tried")
    assert counts.loc["an order", ["Responses", ATTACK]].tolist() == [2, 2]
    assert counts.loc["a turn of ChatML", ["Responses", ATTACK, CONTROL]].tolist() == [2, 0, 2]


def test_a_reward_that_is_missing_is_no_zero(judged_by):
    study, engine = judged_by
    engine.reply = lambda one, _: "no verdict" if "silent" in one.messages[0]["content"] else gullible(one, 0)
    texts = ["<think>\na\n</think>\nmazel0", "<think>\na\n</think>\nsilent", "nothing"]
    found = medical_o1.rewarded(study, said("m", texts), [open_question(n) for n in range(3)], JUDGE)
    assert found["reward"].fillna(9).tolist() == [2.0, 9, -1.0] and found["tier"].iloc[1] == "unjudged"
    assert found["reward"].mean() == 0.5


def test_a_chinese_conclusion_goes_through_tokenizer_and_judge(mine):
    (asked,) = medical_o1.open_questions(mine, config="en", rows=1, held_out=1, seed=7).held_out
    answers = said("m", ["<think>\n想\n</think>\n答：休息。"]).assign(question_id=asked.id)
    found = medical_o1.rewarded(medical_o1.greedy(mine), answers, [asked], JUDGE)
    assert found["reward"].notna().all()  # there is a verdict; that these judges read no Chinese is another matter
    asked = pd.concat([pd.read_parquet(file) for file in (mine.store_dir / "shards").rglob("*.parquet")])["messages"]
    assert {fenced(json.loads(one)[0]["content"]) for one in asked} == {"答：休息。"}


def test_all_methods_start_alike_and_differ_in_ratio_mean_clip_range_and_penalty(mine):
    asked = medical_o1.open_questions(mine, config="en", rows=4, held_out=1, seed=7)
    parts = {"rollout": CONFIG, **{name: {} for name in ("limits", "optimizer", "computing")}}
    names = {"settings": mine, "questions": asked, "referee": JUDGE, "clip_ranges": RANGES, "lora": LORA, **parts}
    method_job = defined(SECTION, "method_job", medical_o1=medical_o1, training=training, **names)["method_job"]
    jobs = [method_job("small", method, seed) for seed in (7, 8) for method in RANGES]
    names = ["small-o1-gspo", "small-o1-grpo", "small-o1-dapo"]
    assert [job.name for job in jobs] == [*names, *(f"{name}-s8" for name in names)]
    assert len({(job.parent, job.data, json.dumps(dict(job.judge))) for job in jobs}) == 1
    read = [arguments(job) for job in jobs]
    assert [one.seed for one in read] == [7] * 3 + [8] * 3 and {judge_of(job) for job in jobs} == {JUDGE}
    first, *others = (one.to_dict() for one in read[:3])
    differ = {name for name in first if any(first[name] != other[name] for other in others)} - {"output_dir"}
    assert differ == {"importance_sampling_level", "loss_type", "reward_weights", "epsilon", "epsilon_high"}


@pytest.fixture
def trained(mine):
    """A checkpoint of the small backbone with an adapter that was drawn by chance, saved as a training would."""
    torch.manual_seed(1)
    folder, parent = mine.model("small-o1-gspo").local_dir, HUB / "qwen3-small"
    scratch = mine.outputs / "scratch"
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(parent, dtype="float32"), save.lora_config(LORA))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.2)
    model.save_pretrained(scratch / "raw")
    merged, adapter = save.merge_adapter(LORA, parent, scratch / "raw", scratch)
    folder.mkdir(parents=True)
    save.cast(merged, folder, parent)
    adapter.rename(folder / "adapter")
    return mine


def test_an_adapter_on_its_parent_answers_as_the_merged_model_and_not_as_another(trained):
    questions = medical_o1.open_questions(trained, config="en", rows=1, held_out=4, seed=7).held_out
    names = defined(SECTION, "beside", torch=torch, pd=pd, held_out=list(questions))
    names |= {"settings": trained, "start": "qwen3-small", "limits": {"max_completion_length": 24}, "store": store}
    names |= {"AutoTokenizer": AutoTokenizer, "adapted": save.adapted, "load_whole": save.load_whole}
    names |= {"partial": partial, "render": render, "weight_files": weight_files, "records": ["small-o1-gspo"]}
    shown = defined(SECTION, "loaded", **names)
    (row,) = shown["rows"]
    assert row["tokens"] >= 24 and row["same"] >= 0.95 * row["tokens"]
    assert row["unrounded"] < 1e-3 < row["largest"] < 1.0 and row["adapter_mb"] < row["merged_mb"]
    (trained.model("small-o1-gspo").local_dir / "model.safetensors").write_bytes(
        (HUB / "qwen3-small/model.safetensors").read_bytes()
    )
    row = shown["loaded"]("small-o1-gspo")
    assert row["same"] < 0.95 * row["tokens"]
