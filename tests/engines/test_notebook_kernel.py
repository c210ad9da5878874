"""Engines work inside a Jupyter kernel, where an event loop runs already and there is no main script to guard."""

import os
from contextlib import suppress

import nbformat
import psutil
import pytest
from medpsy.engines.programs import importable
from nbclient import NotebookClient
from test_vllm_engine import needs_vllm
from tiny_models import asking

PIDS = """
import psutil
print("pids", *(process.pid for process in psutil.Process().children(recursive=True)))
"""


@pytest.mark.parametrize("kind", ["llama_cpp", pytest.param("vllm", marks=[pytest.mark.slow, needs_vllm])])
def test_an_engine_works_in_a_kernel_and_ends_with_it(kind, tiny, gguf_dir, monkeypatch, llama_tools):
    monkeypatch.setenv("PYTHONPATH", importable()["PYTHONPATH"])
    more = {"gguf_dir": gguf_dir, "slots": 2} if kind == "llama_cpp" else {}
    code = asking(kind, tiny, count=6, tokens=8, **more) + PIDS
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, kernel_name="python3", timeout=600, resources={"metadata": {"path": os.getcwd()}}).execute()
    printed = "".join(output.get("text", "") for output in book.cells[0].outputs)
    assert printed.count("answered") == 6
    pids = [int(pid) for pid in printed.split("pids ")[1].split()]
    assert pids
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(120)
