"""What a real model meets on its way: a tokenizer, a template, loops and refusals that we did not make.

Engines are compared token by token. Where two of them part, transformers in float32 says how far apart the logits of
the two tokens are: engines that compute in float32 may part only at a tie, and the file as released (matrices of 4
bits, inputs rounded to 8) only where the two are near. Anything else would be another prompt, rope or number format.
"""

import importlib.util
import math
import shutil
from dataclasses import replace
from itertools import combinations, pairwise

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import real_model
import torch
from medpsy import evaluate, export, judge, prompts, quantization, study
from medpsy.engines import Prompt, Sampling, engine_kind, open_engine
from medpsy.engines.chat import ChatEngine
from medpsy.engines.convert import to_gguf
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
from medpsy.engines.local import Options
from medpsy.engines.models import papers
from medpsy.judge import UNJUDGED
from medpsy.provenance import cores
from medpsy.quantization.gguf import FORMATS, reader
from medpsy.study import ModelSpec
from medpsy.training import launch
from medpsy.training.data import write
from medpsy.training.stages import placed
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

NAME, FILE = "smollm2", "smollm2-as-released"
SUITES = ("medqa", "medmcqa", "pubmedqa", "mmlu_health")
GREEDY = Sampling(max_tokens=24, temperature=0)
TIE = 1e-3  # of logits, as in test_contract.py; measured: none of 8 texts of any two engines parts
NEAR = 0.5  # of logits, with inputs rounded to 8 bits; measured: 0.21 at most, and always the two likeliest tokens
THREADS = cores()  # a second thread on one core waits for the first, busily
SOME = ("Q8_0", "Q4_K_M", "IQ3_XXS")  # of all formats those that answer: without a matrix, a K and an I quant


@pytest.fixture(scope="module")
def data(request, root):
    """The folder with rows of the real benchmarks, or None: then the questions are the miniature's."""
    folder = root.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="module")
def settings(tmp_path_factory, root, data):
    """A study of the model as it is released and dequantized; it is its own parser and judge."""
    place = tmp_path_factory.mktemp("real")
    for name in ("params", "notebooks"):
        (place / name).symlink_to(root / name)
    dequantized, file = real_model.save(place / "models" / NAME), real_model.released()
    (place / "models" / FILE).mkdir()
    for path in (*papers(dequantized).values(), file):
        shutil.copyfile(path, place / "models" / FILE / path.name)
    models = {name: ModelSpec(name, f"models/{name}", gguf=name == FILE) for name in (NAME, FILE)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MEDPSY_ROOT", str(place))
        patched.setattr(evaluate, "suite", lambda _, key: real_model.suite(key, data))
        yield replace(
            study.load("mini"), models=models, parser=NAME, judges=(NAME,), targets={"small": NAME}, suites=SUITES,
            open_suites=("healthbench",), questions_per_suite=1, conversations_per_suite=1, runs=1, root=place,
            engine_options={"threads": THREADS}, sampling=Sampling(max_tokens=64, seed=7),
            open_sampling=Sampling(max_tokens=96, seed=7), parser_sampling=Sampling(max_tokens=16, temperature=0),
            judge_sampling=Sampling(max_tokens=48, temperature=0.5), judge_attempts=1,
        )  # fmt: skip
    shutil.rmtree(place)  # two GB


@pytest.fixture(scope="module")
def spec(settings):
    return settings.model(NAME)


@pytest.fixture(scope="module")
def asked(data):
    """Eight questions, two of each suite."""
    questions = [item for key in SUITES for item in real_model.suite(key, data).items[:2]]
    return [Prompt(f"{one.suite}/{one.id}", prompts.closed_ended(one)) for one in questions]


@pytest.fixture(scope="module")
def encoded(spec, asked):
    """Prompt id -> token ids, as all engines get them."""
    fitting, _ = ChatEngine(spec, Options())._prepare(asked, GREEDY)
    return {one.id: one.tokens.tolist() for one in fitting}


def test_tokens_are_those_of_the_released_file(settings, spec, encoded, asked, llama_tools):
    """llama.cpp reads the tokenizer of the file itself: what a prompt's text is to it, it is to us."""
    (file,) = (settings.model(FILE).local_dir).glob("*.gguf")
    tokenizer = ChatEngine(spec, Options())._tokenizer
    texts = {one.id: tokenizer.decode(encoded[one.id]) for one in asked}
    opening = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM"
    assert all(text.startswith(opening) for text in texts.values())
    with LlamaServer(file, ServerOptions(slots=1, context=256)) as server, server.client(timeout=60) as client:
        for name, text in texts.items():
            answer = client.post("/tokenize", json={"content": text, "parse_special": True, "add_special": False})
            assert answer.status_code == httpx.codes.OK and answer.json()["tokens"] == encoded[name]


def test_the_converter_knows_tokenizer_and_template_again(settings, spec, llama_tools):
    made = reader(to_gguf(spec, settings.gguf_dir))
    given = reader(real_model.released())
    for key in ("pre", "model", "tokens", "merges", "eos_token_id", "bos_token_id"):
        field = f"tokenizer.ggml.{key}"
        assert made.get_field(field).contents() == given.get_field(field).contents(), key
    assert made.get_field("tokenizer.chat_template").contents() == given.get_field("tokenizer.chat_template").contents()


def written(kind, model, asked, **options):
    """Return prompt id -> the token ids that an engine writes, greedily."""
    tokens = {}
    with open_engine(kind, model, **options) as engine, pytest.MonkeyPatch.context() as patched:
        response = engine._response

        def noted(prompt, made, *more, **how):
            tokens[prompt.id] = list(made)
            return response(prompt, made, *more, **how)

        patched.setattr(engine, "_response", noted)
        list(engine.generate(asked, GREEDY))
    return tokens


@pytest.fixture(scope="module")
def texts(settings, spec, asked, llama_tools):
    """Engine -> prompt id -> tokens."""
    gguf = {"gguf_dir": settings.gguf_dir, "threads": THREADS}
    made = {
        "transformers": written("transformers", spec, asked),
        "llama.cpp": written("llama_cpp", spec, asked, **gguf),
        "llama.cpp, as released": written("llama_cpp", settings.model(FILE), asked, **gguf),
    }
    if importlib.util.find_spec("vllm"):
        made["vLLM"] = written("vllm", spec, asked, threads=THREADS, context=2048, rows=16)
    return made


@pytest.fixture(scope="module")
def partings(spec, encoded, texts):
    """A row per pair of engines and prompt: how many tokens are the same, and the gap of logits where they part."""
    model, rows = AutoModelForCausalLM.from_pretrained(spec.local_dir, dtype=torch.float32).eval(), []
    for first, second in combinations(texts, 2):
        for name, start in encoded.items():
            mine, theirs = texts[first][name], texts[second][name]
            same = next((at for at, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]), None)
            row = {"pair": f"{first} / {second}", "prompt": name, "place": same, "gap": 0.0, "rank": 1}
            if same is not None:
                with torch.inference_mode():
                    logits = model(torch.tensor([start + mine[:same]])).logits[0, -1]
                either = logits[[mine[same], theirs[same]]]
                row |= {"gap": float((either[0] - either[1]).abs()), "rank": int((logits >= either.min()).sum())}
            elif len(mine) != len(theirs):
                row |= {"place": min(len(mine), len(theirs)), "gap": float("inf")}
            rows.append(row)
    return pd.DataFrame(rows)


def test_engines_write_the_same_or_part_where_two_tokens_are_as_good(partings, texts):
    """With -s the table is seen."""
    table = partings.groupby("pair", sort=False).agg(
        equal=("place", lambda places: int(places.isna().sum())),
        first=("place", "min"),
        largest_gap=("gap", "max"),
        lowest_rank=("rank", "max"),
    )
    print(table.to_string(), partings[partings["gap"] > 0].to_string(), sep="\n")
    exact = ~table.index.str.contains("as released")
    assert (table.loc[exact, "largest_gap"] < TIE).all(), partings.to_string()
    assert (table.loc[exact, "equal"] >= len(texts["transformers"]) - 2).all()  # ties are rare
    assert (table["largest_gap"] < NEAR).all() and (table["lowest_rank"] <= 2).all(), partings.to_string()


def test_answers_are_read_and_counted_whatever_a_model_rambles(settings):
    graded = evaluate.closed_ended(settings, [NAME, FILE])
    asked = sum(map(len, evaluate.questions(settings).values()))
    assert len(graded) == 2 * asked >= 2 * len(SUITES) * settings.questions_per_suite
    assert set(graded["outcome"]) <= {"correct", "wrong", "unreadable", "cut off"} and graded["how"].notna().all()
    assert (graded["completion_tokens"] <= settings.sampling.max_tokens).all() and not (graded["chosen"] < 0).any()
    for rule in ("strict", "lenient", "cascade"):
        again = evaluate.with_reader(settings, graded, rule)
        assert (
            list(again["key"]) == list(graded["key"])
            and again["outcome"].isin(["correct", "wrong", "unreadable", "cut off"]).all()
        )


def test_a_judge_that_never_learned_to_judge_leaves_criteria_unjudged_with_the_reason(settings):
    judged = judge.open_ended(settings, [NAME])
    assert len(judged) and set(judged["outcome"]) <= {"met", "not met", UNJUDGED}
    assert (judged.loc[judged["outcome"] == UNJUDGED, "reason"] != "").all()


@pytest.fixture(scope="module")
def files(settings, data):
    stems = [item.stem for key in SUITES for item in real_model.suite(key, data).items[4:8]]
    (settings.root / "calibration.txt").write_text("\n\n".join(stems), encoding="utf-8")
    calibration = {"corpora": [], "text": "calibration.txt", "rows": 8, "held_out": 0, "context": 128}
    return quantization.build(settings, {"small": NAME}, formats=[*FORMATS], calibration=calibration, threads=THREADS)


def test_all_formats_are_built_faithful_and_some_answer(settings, files, asked):
    assert list(files["format"]) == ["BF16", *FORMATS] and list(files["unlike"]) == [[]] * 8
    assert files["bytes"].is_monotonic_decreasing
    # rows of 576 weights are no multiple of 256, so that most matrices fall back to blocks of 32, as llama.cpp says
    kinds = files.set_index("format")["matrices"].map(set)
    assert kinds["Q8_0"] == {"Q8_0"} and {"Q5_0", "Q4_K"} < kinds["Q4_K_M"] and {"IQ4_NL", "IQ3_XXS"} < kinds["IQ3_XXS"]
    own = quantization.with_variants(settings, files)
    for row in files[files["format"].isin(SOME)].itertuples():
        tokens = written("llama_cpp", own.model(row.name), asked[:1], threads=THREADS)
        assert all(len(set(made)) > 8 for made in tokens.values()), row.format  # no noise, no loop from the start


SFT = {
    "max_steps": 2, "max_length": 512, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1,
    "learning_rate": 1e-5, "bf16": False, "gradient_checkpointing": False, "save_steps": 2, "seed": 3, "packing": True,
    "completion_only_loss": True, "model_init_kwargs": {"attn_implementation": "eager"},
}  # fmt: skip
RL = {
    "max_steps": 2, "generation_batch_size": 4, "num_generations": 4, "per_device_train_batch_size": 2,
    "learning_rate": 1e-5, "bf16": False, "gradient_checkpointing": False, "save_steps": 2, "seed": 3,
    "max_completion_length": 16, "soft_punish_cache": 4, "max_prompt_length": 768, "loss_type": "dapo", "beta": 0.0,
    "epsilon": 0.2, "epsilon_high": 0.28, "reward_weights": [1.0, 0.0, 0.0], "sampling_rounds": 1, "temperature": 1.0,
    "reward": "own_reward.py:reward",
}  # fmt: skip
REWARD = "def reward(text, question, *, opens_thinking, finished):\n    return float(len(set(text)))\n"


@pytest.fixture(scope="module")
def trained(settings, data):
    """Two steps of SFT, then two of DAPO with a reward that no group of different texts shares."""
    (settings.root / "own_reward.py").write_text(REWARD, encoding="utf-8")
    questions = real_model.suite("medmcqa", data).items[:12]
    rows = []
    for one in questions:
        said = {"reasoning": f"The question is: {one.stem}", "answer": f"The answer is {one.options[one.gold]}."}
        rows.append({"id": one.id, "messages": list(prompts.closed_ended(one))} | said)
    corpus = settings.corpora_dir / "corpus1"
    corpus.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), corpus / "part-00000.parquet")
    parts = {"asked": questions[:6], "held": questions[6:]}
    asked, held = (write(settings.root / f"{name}.parquet", part) for name, part in parts.items())
    backbone = settings.model(NAME)
    sft, rl = (settings.checkpoint("small", stage) for stage in ("sft1", "rl1"))
    jobs = [
        placed(settings, sft, NAME, backbone, method="sft", config=SFT, data=[corpus / "part-00000.parquet"]),
        placed(settings, rl, NAME, sft, method="rl", config=RL, data=[asked, held]),
    ]
    return launch([jobs])


def test_two_steps_of_sft_and_of_dapo_move_a_real_model_a_little(settings, trained):
    weights = [
        load_file(settings.root / place / "model.safetensors")
        for place in (f"models/{NAME}", *(settings.checkpoint("small", stage).path for stage in ("sft1", "rl1")))
    ]
    for (before, after), (name, record) in zip(pairwise(weights), trained.items(), strict=True):
        assert record["steps"] == 2 and before.keys() == after.keys(), name
        moved = [float((after[key].float() - before[key].float()).abs().max()) for key in before]
        assert 0 < max(moved) < 1e-3 and all(map(math.isfinite, moved)), (name, max(moved))
    losses = [row["loss"] for row in trained["small-sft1"]["log"] if "loss" in row]
    assert len(losses) == 2 and 0.5 < min(losses) < max(losses) < 5  # of a model that reads English
    rewards = [row for row in trained["small-rl1"]["log"] if "reward" in row]
    assert rewards and all(row["reward"] > 5 and row["reward_std"] > 0 for row in rewards)


def test_the_trained_model_is_exported_and_both_engines_write_what_it_writes(settings, trained, asked, llama_tools):
    folders = [export.export(settings, stage="rl1", size="small", variant=variant) for variant in (None, "BF16")]
    plain, gguf = (ModelSpec(folder.name, str(folder)) for folder in folders)
    assert engine_kind("transformers", gguf) == "llama_cpp" and (folders[0] / "README.md").is_file()
    few = asked[::2]  # one of each suite
    texts = [written("transformers", plain, few)]
    texts += [written("llama_cpp", plain, few, gguf_dir=settings.gguf_dir, threads=THREADS)]
    assert sum(texts[0][name] == texts[1][name] for name in texts[0]) >= 3
    first = written("llama_cpp", gguf, few, threads=THREADS)
    assert sum(texts[0][name][:3] == first[name][:3] for name in first) >= 3  # rounded to bfloat16
