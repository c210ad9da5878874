"""What evaluation and training cost beside engines and libraries: `python -m bench`, which `make bench` calls.

Every row is a ratio measured in one run: same model, same questions, same sampling, one after the other on the same
machine. Loading is left out on both sides. Of several repetitions the fastest counts: what else the machine does only
ever slows one down. Speeds of different runs or machines say nothing about each other.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import httpx
from medpsy import engines, prompts, study
from medpsy.data.suites import SUITES
from medpsy.engines.base import Prompt, Sampling
from medpsy.mini.suites import suite
from medpsy.store import Asked, ResponseStore
from medpsy.study import ModelSpec

from bench import attacks, quantized, replicas, training
from bench.judging import criteria_per_second
from bench.rows import Row, in_own_process, keep

BATCH = 16  # of the raw transformers loop
HARNESS = (1, 16)  # batch sizes of lm-evaluation-harness: its default, and ours
REPEATS = 3  # of each measurement; the harness, which takes longest, is measured once
RAW_VLLM = {"enable_prefix_caching": True, "enable_chunked_prefill": False, "max_model_len": 1024}
OPTIONS = {"slots": 16, "threads": 1}  # of one llama-server, so that the raw engine has the same
SETTINGS = {"temperature": 0.6, "top_k": 20, "top_p": 0.95}


def asked() -> list[Prompt]:
    """Return all questions of the miniature's suites as prompts."""
    suites = [suite(key).items for key in SUITES]
    return [Prompt(f"{one.suite}/{one.id}", prompts.closed_ended(one)) for items in suites for one in items]


def fastest(measured: Callable[[], int]) -> float:
    """Return tokens per second of the fastest of several calls of `measured`, which returns the tokens it made."""
    speeds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        speeds.append(measured() / (time.perf_counter() - begun))
    return max(speeds)


def ours(kind: str, model: ModelSpec, rows: Sequence[Prompt], sampling: Sampling) -> float:
    """Return tokens per second through engine and response store, the engine being loaded already."""
    options = OPTIONS if kind == "llama_cpp" else {}
    with engines.open_engine(kind, model, **options) as engine:
        longest = sorted(rows, key=lambda row: -len(str(row.messages)))
        list(engine.generate(longest[:4], sampling))  # starts what starts with the first prompts
        asked = Asked(model, engine.fingerprint, kind, sampling)

        def measured() -> int:
            with tempfile.TemporaryDirectory() as scratch:
                (frame,) = ResponseStore(Path(scratch)).answers(asked, lambda: nullcontext(engine), rows, [0])
                return int(frame["completion_tokens"].sum())

        return fastest(measured)


def templated(model: ModelSpec, rows: Sequence[Prompt]) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.local_dir)
    return [
        tokenizer.apply_chat_template(list(row.messages), add_generation_prompt=True, tokenize=False) for row in rows
    ]


def raw_transformers(model: ModelSpec, rows: Sequence[Prompt], sampling: Sampling) -> float:
    """Return tokens per second of plain `generate` over batches sorted by length."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.local_dir, padding_side="left")
    network = AutoModelForCausalLM.from_pretrained(model.local_dir, dtype=torch.float32)
    texts = sorted(templated(model, rows), key=len)

    def measured() -> int:
        written = 0
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(texts[start : start + BATCH], return_tensors="pt", padding=True, add_special_tokens=False)
            found = network.generate(**batch, do_sample=True, max_new_tokens=sampling.max_tokens, **SETTINGS)
            written += int((found[:, batch["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())
        return written

    return fastest(measured)


def raw_llama_server(model: ModelSpec, rows: Sequence[Prompt], sampling: Sampling) -> float:
    """Return tokens per second of plain requests from as many threads as the server has slots."""
    from medpsy.engines.convert import to_gguf
    from medpsy.engines.llama_cpp import LlamaServer, ServerOptions

    body = {"n_predict": sampling.max_tokens, "cache_prompt": True, **SETTINGS}
    texts = templated(model, rows)
    with tempfile.TemporaryDirectory() as scratch:
        options = ServerOptions(OPTIONS["slots"], 512, "f32", OPTIONS["threads"], 600.0)
        server = LlamaServer(to_gguf(model, Path(scratch)), options)
        try:
            limits = httpx.Limits(max_connections=OPTIONS["slots"])
            settings = {"base_url": server.url, "headers": server.headers, "timeout": None, "limits": limits}
            with httpx.Client(trust_env=False, **settings) as client, ThreadPoolExecutor(OPTIONS["slots"]) as pool:

                def one(text: str) -> int:
                    return client.post("/completion", json=body | {"prompt": text}).json()["tokens_predicted"]

                return fastest(lambda: sum(pool.map(one, texts)))
        finally:
            server.stop()


def raw_vllm(folder: str, texts: list[str], max_tokens: int) -> float:
    """Return tokens per second of vLLM's own `generate`, a seed per text as ours has; runs in a process of its own."""
    import os

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    import vllm

    llm = vllm.LLM(folder, dtype="float32", enforce_eager=True, **RAW_VLLM)
    sampling = [vllm.SamplingParams(max_tokens=max_tokens, seed=seed, **SETTINGS) for seed in range(len(texts))]
    llm.generate(texts[:2], sampling[:2], use_tqdm=False)

    def measured() -> int:
        found = llm.generate(texts, sampling, use_tqdm=False)
        return sum(len(one.outputs[0].token_ids) for one in found)

    return fastest(measured)


def harness(model: ModelSpec, rows: Sequence[Prompt], sampling: Sampling, batch: int) -> float:
    """Return tokens per second of lm-evaluation-harness's transformers backend on the same prompts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    backend = HFLM(pretrained=str(model.local_dir), device="cpu", dtype="float32", batch_size=batch)
    options = {"until": ["<|im_end|>"], "max_gen_toks": sampling.max_tokens, "do_sample": True, **SETTINGS}
    requests = [Instance("generate_until", {}, (text, dict(options)), 0) for text in templated(model, rows)]
    begun = time.perf_counter()
    answers = backend.generate_until(requests, disable_tqdm=True)
    seconds = time.perf_counter() - begun
    return sum(len(ids) for ids in backend.tokenizer(list(answers), add_special_tokens=False)["input_ids"]) / seconds


def measure() -> list[Row]:
    """Return all comparisons, with the small Qwen3 of the miniature."""
    spec, rows = study.load("mini").model("qwen3-small"), asked()
    sampling = Sampling(max_tokens=256)
    texts = templated(spec, rows)
    references = {
        "llama_cpp": lambda: raw_llama_server(spec, rows, sampling),
        "transformers": lambda: raw_transformers(spec, rows, sampling),
        "vllm": lambda: in_own_process(raw_vllm, str(spec.local_dir), texts, sampling.max_tokens),
    }
    found, speeds = [], {}
    for kind, reference in references.items():
        speeds[kind], raw = ours(kind, spec, rows, sampling), reference()
        found.append(Row(f"evaluation with {kind} / raw {kind}", speeds[kind], raw, speeds[kind] / raw))
    for batch in HARNESS:
        other, name = harness(spec, rows, sampling, batch), f"evaluation with llama_cpp / lm-eval hf, batch {batch}"
        found.append(Row(name, speeds["llama_cpp"], other, speeds["llama_cpp"] / other))
    served, bench = quantized.tokens_per_second(spec.local_dir)
    name = f"{quantized.FORMAT} with llama_cpp, one at a time / llama-bench"
    found.append(Row(name, served, bench, served / bench))
    two, twice = replicas.rows_per_second(spec.local_dir, rows, sampling)
    found.append(Row("two replicas with ray / twice one", two, twice, two / twice, "rows/s"))
    judging, naive = criteria_per_second()
    found.append(Row("judging with llama_cpp / one prompt at a time", judging, naive, judging / naive, "criteria/s"))
    for name, unit, call in (
        ("SFT with TRL / bare PyTorch loop", "tokens/s", training.sft_tokens_per_second),
        ("RL without dynamic sampling / bare TRL", "steps/s", training.rl_steps_per_second),
    ):
        speed, bare = in_own_process(call)
        found.append(Row(name, speed, bare, speed / bare, unit))
    return found + attacks.rows()


def main() -> None:
    keep(measure(), "bench.json")
