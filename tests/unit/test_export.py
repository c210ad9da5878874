"""An exported folder: what is in it, what its card says, what it refuses to overwrite."""

import json
import shutil
from dataclasses import replace

import pytest
from medpsy import export_scores, exported, exporting, study
from medpsy.engines import fingerprint
from medpsy.report.display import Table
from medpsy.report.result import write_result
from medpsy.report.stages import MAKERS

NAME = "small-rl2"


@pytest.fixture
def mini(tmp_path, root, monkeypatch):
    """The study in miniature with one checkpoint, a backbone that was never trained, and outputs of its own."""
    (tmp_path / "params").symlink_to(root / "params")
    monkeypatch.setattr(study, "ROOT", tmp_path)
    found = study.load("mini")
    shutil.copytree(root / "lib/medpsy/mini/hub/qwen3-small", found.models_dir / NAME)
    (found.models_dir / NAME / "training.json").write_text("{}")
    return found


def record(mini, digest):
    """Write a record of section 08 that holds scores of the checkpoint with `digest`."""
    links = {"Average": [f"model={NAME}", "model=other"], "HealthBench": [f"conversations#model={NAME}&suite=x", None]}
    columns = ["Stage", "Average", "Average ±", "HealthBench", "HealthBench ±"]
    table = Table(columns, [["+ rl2", 61.25, 3.5, 40.0, None], ["other", 1.0, 1.0, 2.0, 2.0]], links=links)
    inputs = {f"model/{NAME}": digest}
    about = {"profile": "mini", "title": "t", "settings": {}, "inputs": inputs}
    counts = Table(["Model", "cut off"], [[NAME, 7]], links={"cut off": [f"model={NAME}"]})
    write_result(export_scores.STAGES, **about, tables={"stages_small": table, "outcomes": counts})


def export(mini, **more):
    return exporting.export(mini, **{"stage": "rl2", "size": "small"} | more)


def test_a_folder_holds_the_model_a_card_and_a_mark(mini):
    folder = export(mini)
    source = mini.models_dir / NAME
    assert folder == mini.outputs / "export" / NAME
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in source.iterdir()} - {"training.json", "training.csv"} | {exported.MARK}
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    one = exported.read(folder)
    assert one.fingerprint == fingerprint(mini.model(NAME)) and one.fiction and one.variant is None
    assert one.sampling == mini.open_sampling


def test_the_card_warns_and_says_plainly_that_nothing_was_evaluated(mini):
    card = (export(mini) / "README.md").read_text()
    assert "Not medical advice" in card and "invented medicine" in card and "no medical device" in card
    assert "not evaluated yet: section 08_stage_ablations has no record." in card
    assert "AutoModelForCausalLM" in card and "llama-server" not in card
    assert str(study.ROOT) not in card


def test_the_card_has_the_scores_of_these_weights_with_margins(mini):
    record(mini, fingerprint(mini.model(NAME)))
    card = (export(mini) / "README.md").read_text()
    assert "| Average | 61.2 ± 3.5 |" in card and "| HealthBench | 40.0 |" in card
    assert "not evaluated" not in card and "cut off |" not in card and "not comparable" in card


def test_scores_of_other_weights_are_not_taken(mini):
    record(mini, "0" * 64)
    card = (export(mini) / "README.md").read_text()
    assert "61.2" not in card and "is not of these weights" in card


def test_an_export_is_replaced_and_any_other_folder_kept(mini, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    assert export(mini, out=out) == out  # an empty folder
    (out / "README.md").write_text("from before")
    export(mini, out=out)
    assert "from before" not in (out / "README.md").read_text()
    (out / exported.MARK).unlink()
    before = sorted(out.iterdir())
    for target in (out, out / "config.json"):
        with pytest.raises(FileExistsError, match="name another folder with --out"):
            export(mini, out=target)
    assert sorted(out.iterdir()) == before


def test_nothing_half_written_is_left(mini, monkeypatch):
    monkeypatch.setattr(exporting.export_card, "card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(mini)
    assert list((mini.outputs / "export").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"stage": "rl3"}, "stage 'rl3' is unknown; did you mean 'rl"),
        ({"size": "smal"}, "size 'smal' is no target of params/mini/study.yaml; did you mean 'small'?"),
        ({"variant": "Q4KM"}, "variant 'Q4KM' is unknown; did you mean 'Q4_K_M'?"),
        ({"stage": "sft1"}, f"run section {MAKERS['sft1']} first"),
        ({"variant": "Q4_K_M"}, "run 10_quantization"),
        ({"variant": "Q4_K_M"}, "no Q4_K_M file"),
    ],
)
def test_what_cannot_be_exported_is_met_with_what_to_do(mini, asked, said):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        export(mini, **asked)
    assert said in str(caught.value).replace("python -m medpsy ", "")
    assert not (mini.outputs / "export").exists()


def test_without_llama_cpp_a_gguf_export_says_how_to_get_it(mini, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDPSY_LLAMA_CPP", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MEDPSY_LLAMA_CPP"):
        export(mini, variant="BF16")


def test_a_mark_that_was_edited_is_met_with_file_and_key(mini):
    folder = export(mini)
    raw = json.loads((folder / exported.MARK).read_text())
    (folder / exported.MARK).write_text(json.dumps(raw | {"fictoin": True}))
    with pytest.raises(ValueError, match="small-rl2/medpsy.json: fictoin: unknown key; did you mean 'fiction'?"):
        exported.read(folder)


def test_switches_of_the_template_are_part_of_the_quickstart(mini):
    from medpsy.export_quickstart import quickstart

    one = replace(exported.read(export(mini)), chat_template_kwargs={"enable_thinking": True}, fiction=False)
    assert "return_dict=True, enable_thinking=True" in quickstart(one, 512)
    served = quickstart(replace(one, variant="Q8_0", weights="a.gguf"), 512)
    assert """--chat-template-kwargs '{"enable_thinking": true}'""" in served and "--ctx-size 512" in served
