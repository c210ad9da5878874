"""What the tests of the engines share: one small model, its answers according to plain transformers, four engines."""

import importlib.util
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from medpsy.engines import Engine, Prompt, open_engine, programs
from medpsy.engines.convert import to_gguf
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
from medpsy.study import ModelSpec
from tiny_models import WORDS, save_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

HUB = Path(__file__).parents[2] / "lib" / "medpsy" / "mini" / "hub"
KEY_ENV = "MEDPSY_TEST_KEY"


@dataclass(frozen=True)
class Small:
    """The model all engines are tested with, and transformers' own view of it in float32, one prompt at a time."""

    spec: ModelSpec
    model: Any
    tokenizer: Any
    context: int

    def ids(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.apply_chat_template(list(prompt.messages), add_generation_prompt=True)["input_ids"]

    def greedy(self, prompt: Prompt, count: int) -> list[int]:
        """Return the tokens that `generate` of transformers writes after `prompt`."""
        start = torch.tensor([self.ids(prompt)])
        made = self.model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=count, do_sample=False)
        return made[0, start.shape[1] :].tolist()

    def logits(self, tokens: list[int]) -> torch.Tensor:
        """Return the logits after each of `tokens`: (tokens, vocabulary)."""
        with torch.inference_mode():
            return self.model(torch.tensor([tokens])).logits[0]

    def text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode([token for token in tokens if token != self.tokenizer.eos_token_id])


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A Qwen3 of the minihub if it is there, else a random one."""
    folder = HUB / "qwen3-small"
    folder = folder if folder.is_dir() else save_tiny(tmp_path_factory.mktemp("models") / "tiny")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Small(ModelSpec("small", str(folder)), model, tokenizer, model.config.max_position_embeddings)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random model whose chat template has a switch for thinking."""
    return ModelSpec("tiny", str(save_tiny(tmp_path_factory.mktemp("tiny") / "tiny")))


@pytest.fixture(scope="session")
def gguf_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="session")
def llama_tools():
    """Skip where llama.cpp is not installed."""
    try:
        programs.find("llama-server")
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def prompts():
    """Twelve conversations of differing length."""
    draw = random.Random(5)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 40))) for _ in range(12)]
    return [Prompt(f"p{at}", ({"role": "user", "content": text},)) for at, text in enumerate(texts)]


@contextmanager
def _opened(kind: str, small: Small, gguf_dir: Path) -> Iterator[Engine]:
    """Open an engine that handles few prompts at a time, so that some have to wait for others."""
    few = {"transformers": {"batch_rows": 4}, "vllm": {"rows": 4, "threads": 1}}
    few["llama_cpp"] = {"gguf_dir": gguf_dir, "slots": 3, "threads": 1}
    if kind in few:
        with open_engine(kind, small.spec, **few[kind]) as engine:
            yield engine
    else:
        template = ("--jinja", "--chat-template-file", str(small.spec.local_dir / "chat_template.jinja"))
        options = ServerOptions(slots=3, context=small.context, threads=1, extra=template)
        with LlamaServer(to_gguf(small.spec, gguf_dir), options) as server:
            switches = {"enable_thinking": True}  # llama-server would fill in a value of its own
            spec = ModelSpec("served", "served", base_url=f"{server.url}/v1", chat_template_kwargs=switches)
            os.environ[KEY_ENV] = server.key
            with open_engine(kind, spec, key_env=KEY_ENV, concurrency=4) as engine:
                yield engine
            del os.environ[KEY_ENV]


@pytest.fixture(scope="session", params=["transformers", "llama_cpp", "vllm", "openai"])
def engine(request, small, gguf_dir):
    """Each engine in turn, opened once."""
    if request.param == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    if request.param in ("llama_cpp", "openai"):
        request.getfixturevalue("llama_tools")
    with _opened(request.param, small, gguf_dir) as opened:
        yield opened
