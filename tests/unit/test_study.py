"""The profiles load, and every slip of the pen in one is refused with file, key, value and fix."""

import copy
import dataclasses
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from medpsy import provenance, strict, study
from medpsy.benchmarks import SUITES

PROFILES = ("smoke", "mini", "review", "paper")
SOURCES = ("# report", "# card", "# ours")
STUDY = {
    "source": "mini",
    "models": {"anna": {"path": "models/anna"}, "bert": {"path": "org/bert", "revision": "0" * 40, "label": "Bert 1B"}},
    "parser": "bert",
    "suites": ["medqa", "pubmedqa"],
    "questions_per_suite": 0,
    "sampling": {"max_tokens": 64, "temperature": 0.6, "top_p": 0.95, "top_k": 20},
    "parser_sampling": {"max_tokens": 8, "temperature": 0},
    "runs": 3,
    "engine": "transformers",
    "seed": 7,
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    return tmp_path


def write(root: Path, content: dict | str, profile: str = "mine") -> str:
    folder = root / "params" / profile
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    return profile


def changed(**changes: object) -> dict:
    """Return STUDY with dotted keys replaced (`sampling__top_p=2`), or removed where the new value is `...`."""
    content = copy.deepcopy(STUDY)
    for dotted, new in changes.items():
        *outer, last = dotted.split("__")
        part = content
        for key in outer:
            part = part[key]
        if new is ...:
            del part[last]
        else:
            part[last] = new
    return content


@pytest.mark.parametrize("profile", PROFILES)
def test_committed_profiles_load(profile):
    loaded = study.load(profile)
    assert loaded.profile == profile
    assert set(loaded.suites) == set(SUITES)
    assert loaded.parser in loaded.models
    assert loaded.sampling.seed == loaded.parser_sampling.seed == loaded.seed


def test_committed_profiles_are_as_planned():
    smoke, mini, review, paper = map(study.load, PROFILES)
    assert (mini.source, mini.engine, mini.runs, mini.questions_per_suite) == ("mini", "llama_cpp", 2, 0)
    assert (smoke.engine, smoke.runs, smoke.questions_per_suite) == ("transformers", 1, 4)
    for one in (mini, review, paper):
        assert (one.sampling.temperature, one.sampling.top_k, one.sampling.top_p) == (0.6, 20, 0.95)  # card
    assert review.sampling.max_tokens == paper.sampling.max_tokens == 16384  # card
    assert {"qvac/MedPsy-4B", "qvac/MedPsy-1.7B"} <= {model.path for model in review.models.values()}
    assert set(review.models) - set(review.judges) < set(paper.models)
    assert all(model.local_dir for model in mini.models.values())


@pytest.mark.parametrize("profile", PROFILES)
def test_every_value_carries_its_source(profile):
    lines = (study.ROOT / "params" / profile / "study.yaml").read_text().splitlines()
    values = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    bare = [line for line in values if not line.rstrip().endswith(":") and not any(mark in line for mark in SOURCES)]
    assert bare == []


@pytest.mark.parametrize("profile", ["smoke", "mini"])
def test_the_miniature_declares_the_models_of_the_minihub_as_their_templates_are(profile):
    for model in study.load(profile).models.values():
        template = model.local_dir / "chat_template.jinja"
        if not template.exists():
            pytest.skip(f"{model.path} is not trained yet; run `make minihub`")
        assert ("<think>" in template.read_text()) == model.opens_thinking, model.name


def test_every_model_of_the_report_stands_under_its_row_name():
    labels = {model.label for model in study.load("paper").models.values()}
    assert {
        "MedPsy-4B",
        "MedGemma-27B-text-it",
        "Qwen3-1.7B (Thinking)",
        "LFM2.5-1.2B-Thinking",
        "gemma-3-4b-it",
    } <= labels


def test_load_fills_in_what_follows(root):
    loaded = study.load(write(root, STUDY))
    assert loaded.models["anna"].label == "anna"
    assert loaded.models["bert"].label == "Bert 1B"
    assert loaded.sampling == study.Sampling(max_tokens=64, temperature=0.6, top_p=0.95, top_k=20, seed=7)
    assert loaded.parser_sampling.temperature == 0.0
    assert isinstance(loaded.parser_sampling.temperature, float)  # 0 and 0.0 must be one setting
    assert loaded.suites == ("medqa", "pubmedqa")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling__top_pp": 0.9}, ["sampling.top_pp", "unknown key", "'top_p'"]),
        ({"rnus": 3}, ["rnus", "'runs'"]),
        ({"models__anna__pth": "x"}, ["models.anna.pth", "'path'"]),
        ({"models__anna__name": "x"}, ["models.anna.name", "unknown key"]),  # the key is the name
        ({"sampling__seed": 1}, ["sampling.seed", "unknown key"]),  # the study's seed holds
        ({"profile": "mini"}, ["profile", "unknown key"]),  # the folder is the profile
        ({"runs": "3"}, ["runs", "'3'", "whole number", "quotes"]),
        ({"runs": 3.0}, ["runs", "3.0", "whole number"]),
        ({"runs": True}, ["runs", "True", "whole number"]),
        ({"runs": 0}, ["runs", "0 is below 1"]),
        ({"sampling__temperature": "warm"}, ["sampling.temperature", "'warm'", "a number"]),
        ({"sampling__temperature": float("nan")}, ["sampling.temperature", "finite"]),
        ({"sampling__temperature": -0.1}, ["sampling.temperature", "-0.1"]),
        ({"sampling__top_p": 1.5}, ["sampling.top_p", "1.5", "at most 1"]),
        ({"sampling__top_p": 0}, ["sampling.top_p", "above 0"]),
        ({"sampling__max_tokens": 0}, ["sampling.max_tokens", "1 or above"]),
        ({"sampling__temperature": 0}, ["runs", "temperature 0", "runs: 1"]),
        ({"questions_per_suite": -1}, ["questions_per_suite", "-1"]),
        ({"parser": "brt"}, ["parser", "'brt'", "'bert'"]),
        ({"parser": None}, ["parser", "None", "text"]),
        ({"suites": ["medqa", "pubmed"]}, ["suites", "'pubmed'", "'pubmedqa'"]),
        ({"suites": "medqa"}, ["suites", "'medqa'", "list"]),
        ({"suites": []}, ["suites", "at least one"]),
        ({"suites": ["medqa", "medqa"]}, ["suites", "once"]),
        ({"data_dirs": {"medqaa": "x"}}, ["data_dirs", "'medqaa'", "'medqa'"]),
        ({"data_dirs": {"medqa": "x"}}, ["data_dirs", "source: hub"]),
        ({"engine": "llamacpp"}, ["engine", "'llamacpp'", "'llama_cpp'"]),
        ({"source": "huub"}, ["source", "'huub'", "'hub'"]),
        ({"models": ...}, ["models", "missing"]),
        ({"models": {}}, ["parser", "'bert'", "none"]),
        ({"models__anna": "models/anna"}, ["models.anna", "mapping"]),
        ({"models__anna__path": ...}, ["models.anna.path", "missing"]),
        ({"models__anna__path": ""}, ["models.anna", "path", "folder or a hub id"]),
        ({"models__bert__revision": "main"}, ["models.bert", "revision", "'main'", "40"]),
        ({"models__anna__opens_thinking": "no"}, ["models.anna.opens_thinking", "true or false"]),
        ({"models__anna__label": False}, ["models.anna.label", "quotes"]),
        ({"models__anna__base_url": "http://me:key@host/v1"}, ["models.anna", "base_url", "environment"]),
        ({"models__anna__base_url": "host:8000"}, ["models.anna", "base_url", "http"]),
        ({"parser_sampling": ...}, ["parser_sampling", "missing"]),
        ({"engine_options": [1]}, ["engine_options", "mapping"]),
        ({"models": {True: {"path": "x"}}}, ["models", "True", "quotes"]),
    ],
)
def test_a_slip_is_refused_with_file_key_value_and_fix(root, changes, words):
    with pytest.raises(strict.SettingsError) as caught:
        study.load(write(root, changed(**changes)))
    for word in ["params/mine/study.yaml", *words]:
        assert word in str(caught.value)
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs: 3\nruns: 4\n", ["line 2", "'runs'", "twice"]),
        ("sampling:\n  top_p: 1.0\n  top_p: 0.9\n", ["line 3", "'top_p'", "twice"]),
        ("models: {a: {path: x}, a: {path: y}}\n", ["'a'", "twice"]),
        ("runs: [1\n", ["line 2"]),
        ("- runs\n", ["mapping"]),
        ("", ["models", "missing"]),
        ("runs: !!python/object/apply:os.getcwd []\n", ["line 1", "python/object"]),
    ],
)
def test_yaml_that_is_not_plain_settings_is_refused(root, text, words):
    with pytest.raises(strict.SettingsError) as caught:
        study.load(write(root, text))
    for word in ["params/mine/study.yaml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("written", "fix"), [("1e-5", "1.0e-5"), ("6E-1", "6.0e-1"), ("1e5", "1.0e+5"), ("2.5e3", "2.5e+3")]
)
def test_a_number_that_yaml_reads_as_text_is_refused_with_its_right_spelling(root, written, fix):
    text = yaml.safe_dump(STUDY).replace("temperature: 0.6", f"temperature: {written}")
    with pytest.raises(strict.SettingsError, match="sampling.temperature.*reads it as text") as caught:
        study.load(write(root, text))
    assert fix in str(caught.value)
    assert isinstance(yaml.safe_load(f"x: {fix}")["x"], float)


def test_bytes_that_are_not_utf8_are_refused(root):
    profile = write(root, STUDY)
    (root / "params" / profile / "study.yaml").write_bytes(b"label: \xff\n")
    with pytest.raises(strict.SettingsError, match="UTF-8"):
        study.load(profile)


def test_an_unknown_profile_offers_the_nearest(root):
    write(root, STUDY, "review")
    with pytest.raises(strict.SettingsError, match="no such profile; did you mean 'review'"):
        study.load("reviev")


def test_without_a_project_the_fix_is_the_root(root):
    with pytest.raises(strict.SettingsError, match="MEDPSY_ROOT"):
        study.load("mini")


def test_an_undeclared_model_offers_the_nearest(root):
    loaded = study.load(write(root, STUDY))
    assert loaded.model("anna").path == "models/anna"
    with pytest.raises(ValueError, match=r"'ana'.*params/mine/study.yaml.*'anna'"):
        loaded.model("ana")


def test_every_path_hangs_from_one_root(root):
    loaded = study.load(write(root, STUDY))
    outputs = root / "outputs" / "mine"
    assert loaded.section_dir("01_backbone_selection") == outputs / "01_backbone_selection"
    assert (loaded.store_dir, loaded.gguf_dir) == (outputs / "responses", outputs / "gguf")


@pytest.mark.parametrize("section", ["../01", "a/b", "", ".", "/etc"])
def test_a_section_cannot_lead_out_of_the_outputs(root, section):
    with pytest.raises(ValueError, match="no notebook name"):
        study.load(write(root, STUDY)).section_dir(section)


def test_changes_after_loading_are_checked_too(root):
    loaded = study.load(write(root, STUDY))
    assert dataclasses.replace(loaded, questions_per_suite=5).questions_per_suite == 5
    with pytest.raises(ValueError, match="runs"):
        dataclasses.replace(loaded, runs=0)


@pytest.mark.parametrize(
    ("path", "base_url", "made", "local"),
    [
        ("lib/hub/anna", None, False, True),  # not there yet, but no hub id
        ("org/name", None, False, False),
        ("org/name", None, True, True),  # a folder of that name wins
        ("org/name", "http://localhost:8000/v1", True, False),
        ("checkpoints", None, False, True),
    ],
)
def test_local_dir(root, path, base_url, made, local):
    if made:
        (root / path).mkdir(parents=True)
    spec = study.ModelSpec("x", path, base_url=base_url)
    assert spec.local_dir == (root / path if local else None)


def test_unpinned_names_hub_models_without_a_revision(root):
    models = {"a": {"path": "org/a"}, "b": {"path": "org/b", "revision": "1" * 40}, "c": {"path": "lib/x/c"}}
    assert study.load(write(root, changed(models=models, parser="b"))).unpinned == ("a",)


def test_root_is_found_upward_or_named(tmp_path, monkeypatch):
    for name in ("params", "notebooks", "lib/medpsy"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.delenv("MEDPSY_ROOT", raising=False)
    assert study.find_root(tmp_path / "lib" / "medpsy") == tmp_path
    assert study.find_root(Path("/nowhere"), tmp_path / "params") == tmp_path
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path / "lib"))
    assert study.find_root(tmp_path) == tmp_path / "lib"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_provenance_knows_commit_and_changes(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    clean = provenance.collect(tmp_path)
    assert (clean["commit"], clean["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "b.txt").write_text("2")  # a new file can change a result as well as a changed one
    assert provenance.collect(tmp_path)["dirty"] is True


def test_provenance_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.collect(tmp_path)["commit"] is None
    monkeypatch.setenv("PATH", "")
    record = provenance.collect(tmp_path)
    assert (record["commit"], record["dirty"], record["gpus"]) == (None, None, [])


def test_provenance_names_machine_in_numbers_and_no_place_or_person(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    record = study.provenance()
    text = json.dumps(record)
    assert record["python"] == platform.python_version()
    assert 1 <= record["cores"] <= os.cpu_count()
    assert record["memory_gib"] > 0
    assert {"numpy", "pyarrow", "pandas"} <= set(record["versions"])
    for secret in ("sk-planted-secret", str(study.ROOT), str(Path.home()), sys.prefix):
        assert secret not in text
    if len(platform.node()) > 3:
        assert platform.node() not in text


OPEN = {
    "open_suites": ["healthbench", "healthbench_hard"],
    "conversations_per_suite": 5,
    "open_sampling": {"max_tokens": 99},
    "judges": ["anna", "bert"],
    "judge_sampling": {"max_tokens": 32, "temperature": 0.5},
    "judge_attempts": 2,
}


def test_judges_and_open_suites_are_read_and_may_be_absent(root):
    bare = study.load(write(root, STUDY))
    assert (bare.open_suites, bare.judges, bare.judge_attempts) == ((), (), 3)
    assert bare.open_sampling is None and bare.judge_sampling is None
    loaded = study.load(write(root, changed(**OPEN)))
    assert loaded.open_suites == ("healthbench", "healthbench_hard") and loaded.judges == ("anna", "bert")
    assert (loaded.conversations_per_suite, loaded.judge_attempts) == (5, 2)
    assert loaded.open_sampling == study.Sampling(max_tokens=99, seed=7)
    assert loaded.judge_sampling == study.Sampling(max_tokens=32, temperature=0.5, seed=7)


def test_the_files_of_an_open_suite_may_lie_in_a_folder(root):
    loaded = study.load(write(root, changed(source="hub", data_dirs={"healthbench_hard": "data/hb"})))
    assert loaded.data_dirs == {"healthbench_hard": "data/hb"}


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"open_suites": ["healthbench_hart"]}, "open_suites: 'healthbench_hart' is no suite; did you mean 'healthb"),
        ({"open_suites": ["healthbench"] * 2}, "open_suites: .*each suite once"),
        ({"open_suites": ["medqa"]}, "open_suites: 'medqa' is no suite"),
        ({"suites": ["healthbench"]}, "suites: 'healthbench' is no suite"),
        ({"judges": ["ana"]}, "judges: 'ana' is not under models; did you mean 'anna'"),
        ({"judges": ["anna", "anna"]}, "judges: .*each judge once"),
        ({"judge_sampling": ...}, "judge_sampling: this key is missing, and there are judges; add it"),
        ({"judge_sampling": {"max_tokens": 0}}, "judge_sampling.max_tokens: 0 is out of range"),
        ({"judge_sampling": {"max_token": 9}}, "judge_sampling.max_token: unknown key; did you mean 'max_tokens'"),
        ({"judge_attempts": 0}, "judge_attempts: 0 is below 1"),
        ({"conversations_per_suite": -1}, "conversations_per_suite: -1 is below 0; 0 means all conversations"),
        ({"open_sampling": {"max_tokens": 9, "top_p": 2.0}}, "open_sampling.top_p: 2.0 is out of range"),
        ({"open_sampling": {"max_tokens": 9, "temperature": 0}}, r"runs: 3 runs at temperature 0 \(open_sampling\)"),
    ],
)
def test_a_slip_in_judges_or_open_suites_is_named(root, change, want):
    content = changed(**{key: value for key, value in (OPEN | change).items() if value is not ...})
    with pytest.raises(strict.SettingsError, match=f"params/mine/study.yaml: {want}"):
        study.load(write(root, content))
