"""An exported folder: what it holds, what its card says, that it runs as its card says; and the command of a chat."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from medpsy import export, quantization, study
from medpsy.engines import fingerprint, programs
from medpsy.show import Table
from medpsy.study import MAKERS
from records import write_record

NAME = "small-rl2"
VARIANT = f"{NAME}-Q4_K_M"
TEXT = "lorin treats fever; which drug treats the best of mazel?\n\n" * 40


@pytest.fixture
def mini(tmp_path, small, root, monkeypatch):
    """The study in miniature with one checkpoint, its backbone as it is, and outputs of its own."""
    (tmp_path / "params").symlink_to(root / "params")
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    loaded = study.load("mini")
    shutil.copytree(small.spec.folder, loaded.models_dir / NAME)
    (loaded.models_dir / NAME / "training.json").write_text("{}")
    return loaded


def exported(mini: study.Study, **more) -> Path:
    return export.export(mini, **{"stage": "rl2", "size": "small"} | more)


def record(section: str, column: str, row: list, model: str, digest: str) -> None:
    """Write a record of `section` that holds scores of the model with `digest`."""
    links = {
        "Average": [f"model={model}", "model=other"],
        "HealthBench": [f"conversations#model={model}&suite=x", None],
    }
    columns = [column, "Average", "Average ±", "HealthBench", "HealthBench ±"]
    table = Table(columns, [row, ["other", 1.0, 1.0, 2.0, 2.0]], links=links)
    counts = Table(["Model", "cut off"], [[model, 7]], links={"cut off": [f"model={model}"]})
    tables = {"scores": table, "outcomes": counts}
    write_record(study.find_root() / "outputs/mini", section, tables=tables, inputs={f"model/{model}": digest})


def blocks(folder: Path, language: str) -> list[str]:
    """Return the quickstart's blocks of code in `language`, as the card prints them."""
    return re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_a_folder_holds_the_model_a_mark_and_a_card_that_warns(mini):
    folder, source = exported(mini), mini.models_dir / NAME
    assert folder == mini.outputs / "export" / NAME
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in source.iterdir()} - {"training.json", "training.csv"} | {export.MARK}
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    settings = export.read(folder)
    assert settings == export.ChatSettings.of(mini, mini.model(NAME))
    assert settings.fiction and settings.sampling == mini.open_sampling
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    assert export.NOTICE in card.text and export.FICTION in card.text and "no medical device" in card.text
    assert export.UNSCORED in card.text and card.data.eval_results is None
    assert str(study.find_root()) not in str(card)


def test_the_card_has_the_scores_of_these_weights_and_of_no_others(mini):
    row = ["+ rl2", 61.25, 3.5, 40.0, None]
    record(export.STAGES, "Stage", row, NAME, fingerprint(mini.model(NAME)))
    card = ModelCard.load(exported(mini) / "README.md")
    assert "| Average | 61.2 ± 3.5 |" in card.text and "| HealthBench | 40.0 |" in card.text
    results = {one.dataset_name: one.metric_value for one in card.data.eval_results}
    assert results == {"Average": 61.2, "HealthBench": 40.0}
    record(export.STAGES, "Stage", row, NAME, "0" * 64)
    assert export.UNSCORED in (exported(mini) / "README.md").read_text()


def test_an_export_is_replaced_and_any_other_folder_kept(mini, tmp_path):
    out = exported(mini, out=tmp_path / "mine")
    (out / "README.md").write_text("from before")
    exported(mini, out=out)
    assert "from before" not in (out / "README.md").read_text()
    (out / export.MARK).unlink()
    before = sorted(out.iterdir())
    with pytest.raises(FileExistsError, match="name another folder with --out"):
        exported(mini, out=out)
    assert sorted(out.iterdir()) == before


def test_nothing_half_written_is_left(mini, monkeypatch):
    monkeypatch.setattr(export, "_card", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exported(mini)
    assert list((mini.outputs / "export").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"stage": "rl3"}, "stage 'rl3' is unknown; did you mean 'rl"),
        ({"size": "smal"}, "size 'smal' is no target of params/mini/study.yaml; did you mean 'small'?"),
        ({"variant": "Q4KM"}, "variant 'Q4KM' is unknown; did you mean 'Q4_K_M'?"),
        ({"stage": "sft1"}, f"run section {MAKERS['sft1']} first"),
        ({"variant": "Q4_K_M"}, "no Q4_K_M file of it as it is now; run python -m medpsy run 10_quantization"),
        ({"variant": "BF16"}, "MEDPSY_LLAMA_CPP"),
    ],
)
def test_what_cannot_be_exported_is_met_with_what_to_do(mini, monkeypatch, asked, message):
    monkeypatch.setenv(programs.VARIABLE, str(study.find_root()))  # no llama.cpp there
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        exported(mini, **asked)
    assert not (mini.outputs / "export").exists()


def test_the_printed_python_runs_in_the_folder(mini):
    folder = exported(mini)
    (code,) = blocks(folder, "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3


def test_an_exported_variant_is_the_measured_file_with_its_scores(mini, llama_tools):
    (study.find_root() / "calibration.txt").write_text(TEXT)
    calibration = {"corpora": [], "text": "calibration.txt", "rows": 30, "held_out": 0, "context": 64}
    families = quantization.build(mini, {"small": NAME}, formats=["Q4_K_M"], calibration=calibration, threads=1)
    digest = fingerprint(quantization.with_variants(mini, families).model(VARIANT))
    record(export.QUANTIZED, "Variant", ["Q4_K_M", 51.5, 2.5, None, None], VARIANT, digest)
    folder = exported(mini, variant="BF16")  # without the section that quantizes
    assert (folder / f"{NAME}-BF16.gguf").is_file() and not list(folder.glob("*.safetensors"))
    assert "rounded to" not in (folder / "README.md").read_text(encoding="utf-8")
    folder = exported(mini, variant="Q4_K_M")
    made = mini.outputs / "variants" / VARIANT / f"{VARIANT}.gguf"
    assert (folder / made.name).read_bytes() == made.read_bytes() and not list(folder.glob("*.safetensors"))
    card = ModelCard.load(folder / "README.md")
    assert "| Average | 51.5 ± 2.5 |" in card.text and "rounded to Q4_K_M" in card.text and export.UNSCORED in card.text
    assert card.data.library_name == "gguf" and [one.metric_value for one in card.data.eval_results] == [51.5]
    (command,) = blocks(folder, "sh")
    try:
        path = str(programs.find("llama-cli").parent)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    asked = {"input": "which drug treats fever?\n/exit\n", "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, **asked)
    assert done.returncode == 0 and len(done.stdout.partition("fever?")[2].split()) > 3, done


@pytest.fixture
def gguf(tmp_path, small, monkeypatch):
    """An exported folder with a GGUF file, and a llama-cli that prints what it is asked."""
    (tmp_path / "llama-cli").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "llama-cli").chmod(0o755)
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path))
    folder = tmp_path / "moved"
    shutil.copytree(small.spec.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "small.gguf").write_bytes(b"GGUF")
    settings = {"name": "small", "fiction": True, "threads": 1, "chat_template_kwargs": {"enable_thinking": True}}
    sampling = {"max_tokens": 64, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "seed": 0}
    (folder / export.MARK).write_text(json.dumps(settings | {"sampling": sampling}))
    return folder


def test_chat_prints_the_notice_and_becomes_llama_cli(gguf):
    words = [sys.executable, "-m", "medpsy", "chat", str(gguf)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    notice, *arguments = done.stdout.splitlines()
    assert notice == f"small: {export.NOTICE} {export.FICTION}"
    assert arguments[:3] == ["--model", str(gguf / "small.gguf"), "--jinja"]
    given = dict(zip(arguments[3::2], arguments[4::2], strict=True))
    assert given["--predict"] == "64" and given["--temp"] == "0.6" and given["--threads"] == "1"
    assert given["--chat-template-kwargs"] == '{"enable_thinking": true}'
    mark = json.loads((gguf / export.MARK).read_text())
    (gguf / export.MARK).write_text(json.dumps(mark | {"fictoin": True}))
    with pytest.raises(ValueError, match="moved/medpsy.json: fictoin: unknown key; did you mean 'fiction'?"):
        export.chat_command(str(gguf), pytest.fail)


def test_a_model_of_the_study_brings_its_sampling(mini, llama_tools, gguf, monkeypatch):
    monkeypatch.setattr(export, "to_gguf", lambda model, folder: folder / f"{model.name}.gguf")
    notice, command = export.chat_command(NAME, lambda: mini)
    assert command[2] == str(mini.gguf_dir / f"{NAME}.gguf") and export.FICTION in notice
    assert command[command.index("--predict") + 1] == str(mini.open_sampling.max_tokens)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("large-sft1", f"run section {MAKERS['sft1']} first"),
        ("small-o1-gspo", f"run section {MAKERS['o1']} first"),
        ("larg-rl2", "did you mean 'large-rl2'?"),
        ("far", "behind an endpoint"),
        ("{folder}", "no medpsy.json"),
    ],
)
def test_what_cannot_be_talked_to_is_met_with_what_to_do(mini, name, message):
    far = study.ModelSpec("far", "big", base_url="http://host.example/v1")
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        name = name.format(folder=mini.models_dir)
        export.chat_command(name, lambda: replace(mini, models=mini.models | {"far": far}))
