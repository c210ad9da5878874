"""Engines work inside a Jupyter kernel, where an event loop runs already and there is no main script to guard."""

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
import pytest
from medpsy.engines.programs import importable
from nbclient import NotebookClient

CELL = """
import sys
from pathlib import Path
import psutil
sys.path.insert(0, {tests!r})
from tiny_models import Spec
from medpsy.engines import Prompt, Sampling, open_engine
prompts = [Prompt(str(at), ({{"role": "user", "content": "which drug"}},)) for at in range(6)]
engine = open_engine({kind!r}, Spec("tiny", "models/tiny", Path({folder!r})){more})
print(len(list(engine.generate(prompts, Sampling(max_tokens=8)))), "responses")
print("pids", *(process.pid for process in psutil.Process().children(recursive=True)))
"""


@pytest.mark.parametrize("kind", ["llama_cpp", pytest.param("vllm", marks=pytest.mark.slow)])
def test_an_engine_works_in_a_kernel_and_ends_with_it(kind, tiny, gguf_dir, monkeypatch, request):
    if kind == "llama_cpp":
        request.getfixturevalue("llama_tools")
    elif importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    monkeypatch.setenv("PYTHONPATH", importable()["PYTHONPATH"])
    more = f", gguf_dir=Path({str(gguf_dir)!r}), slots=2, threads=1" if kind == "llama_cpp" else ", threads=1"
    code = CELL.format(tests=str(Path(__file__).parent), kind=kind, folder=str(tiny.folder), more=more)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, kernel_name="python3", timeout=600, resources={"metadata": {"path": os.getcwd()}}).execute()
    printed = "".join(output.get("text", "") for output in book.cells[0].outputs)
    assert "6 responses" in printed
    pids = [int(pid) for pid in printed.split("pids ")[1].split()]
    assert pids
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(120)
