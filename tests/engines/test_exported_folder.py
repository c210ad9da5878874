"""Exported folders run as their own cards say: the printed quickstart is executed, with llama.cpp and transformers."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Small
from medpsy import exporting, partners, quantization, study
from medpsy.cli import app
from medpsy.engines import fingerprint, tools
from medpsy.partners import FICTION
from medpsy.report.display import Table
from medpsy.report.result import write_result
from typer.testing import CliRunner

NAME = "small-rl2"
VARIANT = f"{NAME}-Q4_K_M"
TEXT = "lorin treats fever; which drug treats the best of mazel?\n\n" * 40


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, small: Small) -> study.Study:
    """The study in miniature with one checkpoint, its backbone as it is, and outputs of its own."""
    root, project = tmp_path_factory.mktemp("root"), study.ROOT
    (root / "params").symlink_to(project / "params")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "ROOT", root)
        found = study.load("mini")
        shutil.copytree(small.spec.folder, found.models_dir / NAME)
        yield found


@pytest.fixture(scope="module")
def safetensors(mini: study.Study) -> Path:
    return exporting.export(mini, stage="rl2", size="small")


@pytest.fixture(scope="module")
def gguf(mini: study.Study, llama_tools: None) -> Path:
    """An exported variant with a score in the record of its section."""
    (study.ROOT / "calibration.txt").write_text(TEXT)
    calibration = {"corpora": [], "text": "calibration.txt", "rows": 30, "held_out": 0, "context": 64}
    families = quantization.build(mini, {"small": NAME}, formats=["Q4_K_M"], calibration=calibration)
    known = quantization.with_variants(mini, families)
    links = {"Average": [f"model={VARIANT}"]}
    table = Table(["Variant", "Average", "Average ±"], [["Q4_K_M", 51.5, 2.5]], links=links)
    inputs = {f"model/{VARIANT}": fingerprint(known.model(VARIANT))}
    about = {"profile": "mini", "title": "t", "settings": {}, "inputs": inputs}
    write_result("10_quantization", **about, tables={"scores": table})
    return exporting.export(mini, stage="rl2", size="small", variant="Q4_K_M")


def blocks(folder: Path, language: str) -> list[str]:
    """Return the quickstart's blocks of code in `language`, as the card prints them."""
    printed = (folder / "README.md").read_text(encoding="utf-8").partition("## Quickstart")[2].partition("## Scores")[0]
    return re.findall(rf"```{language}\n(.*?)```", printed, re.DOTALL)


def chat(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["chat", str(folder), *words], input="which drug treats fever?\n\nand lorin?\n")
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_printed_python_runs_in_the_folder(safetensors: Path) -> None:
    (code,) = blocks(safetensors, "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=safetensors, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3


def test_the_printed_server_answers_the_printed_request(gguf: Path) -> None:
    server, request = blocks(gguf, "sh")
    with socket.socket() as probe:  # the printed port may be taken on this machine
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = os.pathsep.join([str(tools.find("llama-server").parent), os.environ["PATH"]])
    about = {"cwd": gguf, "env": {**os.environ, "PATH": path, "no_proxy": "127.0.0.1"}, "text": True}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(f"exec {server.replace('8080', port)}", shell=True, **about, **quiet) as running:
        try:
            said = answered(request.replace("8080", port), running, about)
        finally:
            running.terminate()
    chunks = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert len("".join(delta.get("content") or "" for delta in deltas)) > 10
    assert not any(delta.get("reasoning_content") for delta in deltas)


def answered(request: str, running: subprocess.Popen, about: dict) -> str:
    """Return what the request prints once the server has loaded the model."""
    for _ in range(150):
        assert running.poll() is None
        done = subprocess.run(request, shell=True, capture_output=True, **about)
        if done.returncode == 0 and "data: {" in done.stdout:
            return done.stdout
        time.sleep(0.2)
    raise AssertionError(f"no answer: {done.stdout} {done.stderr}")


def test_an_exported_variant_is_the_measured_file_with_its_scores(mini: study.Study, gguf: Path) -> None:
    made = mini.outputs / "variants" / gguf.name / f"{gguf.name}.gguf"
    assert (gguf / made.name).read_bytes() == made.read_bytes()
    card = (gguf / "README.md").read_text(encoding="utf-8")
    assert "| Average | 51.5 ± 2.5 |" in card and "rounded to Q4_K_M" in card
    assert f"`{NAME}`: not evaluated yet" in card


def test_bf16_is_exported_without_the_section_that_quantizes(mini: study.Study, llama_tools: None) -> None:
    folder = exporting.export(mini, stage="rl2", size="small", variant="BF16")
    assert (folder / f"{NAME}-BF16.gguf").is_file() and not list(folder.glob("*.safetensors"))
    assert "rounded to" not in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_an_exported_folder_can_be_talked_to_through_a_pipe(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    said = chat(folder, "--max-tokens", "12", "--temperature", "0")
    assert FICTION in said.splitlines()[0] and len(said.split()) > len(FICTION.split())


def test_both_kinds_of_folder_say_the_same_when_greedy(safetensors: Path, mini: study.Study, llama_tools: None) -> None:
    words = ("--max-tokens", "12", "--temperature", "0")
    bf16 = exporting.export(mini, stage="rl2", size="small", variant="BF16")
    first, second = (chat(folder, *words).splitlines()[1:] for folder in (safetensors, bf16))
    assert first == second


def test_a_folder_moved_elsewhere_still_answers(safetensors: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(safetensors, tmp_path / "moved")
    assert partners.find(moved, pytest.fail).model.local_dir == moved.resolve()
    assert len(chat(moved, "--max-tokens", "4").splitlines()) > 1
