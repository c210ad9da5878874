"""The profiles load, every slip of the pen in one is refused with file, key, value and fix, and families of models add
what is known of them.
"""

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
from case_rows import cases
from medpsy import families, provenance, strict, study
from medpsy.data.suites import SUITES
from medpsy.engines import Prompt
from medpsy.families import Family, Known, Markers
from medpsy.store import Asked

PROFILES = ("smoke", "mini", "laptop", "review", "paper")
PARAMS = Path(__file__).resolve().parents[2] / "params"
THINK = Markers(("<think>",), ("</think>",))

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
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return tmp_path


def write(root: Path, content: dict | bytes, profile: str = "mine") -> str:
    folder = root / "params" / profile
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, bytes) else yaml.safe_dump(content, sort_keys=False).encode()
    (folder / "study.yaml").write_bytes(text)
    return profile


def changed(**changes: object) -> dict:
    """Return STUDY with dotted keys replaced (`sampling__top_p=2`), or left out where it is "<removed>"."""
    content = copy.deepcopy(STUDY)
    for dotted, new in changes.items():
        *outer, last = dotted.split("__")
        part = content
        for key in outer:
            part = part[key]
        if new == "<removed>":
            del part[last]
        else:
            part[last] = new
    return content


def test_committed_profiles_load_as_planned():
    smoke, mini, laptop, review, paper = loaded = [study.load(profile) for profile in PROFILES]
    for one in loaded:
        assert set(one.suites) == set(SUITES) and one.parser in one.models
        assert one.sampling.seed == one.parser_sampling.seed == one.seed
    assert (mini.source, mini.engine, mini.runs, mini.questions_per_suite) == ("mini", "llama_cpp", 2, 0)
    assert (smoke.engine, smoke.runs, smoke.questions_per_suite) == ("transformers", 1, 4)
    for one in (mini, laptop, review, paper):
        assert (one.sampling.temperature, one.sampling.top_k, one.sampling.top_p) == (0.6, 20, 0.95)  # card
    assert review.sampling.max_tokens == paper.sampling.max_tokens == 16384  # card
    for one in (laptop, review):
        assert {"qvac/MedPsy-4B", "qvac/MedPsy-1.7B"} <= {model.path for model in one.models.values()}
    released = {name for name, model in review.models.items() if model.file or {"openmed", "gspo"} & {*name.split("-")}}
    assert set(review.models) - set(review.judges) - released < set(paper.models)
    assert all(model.local_dir for model in mini.models.values())


def test_load_fills_in_what_follows(root):
    loaded = study.load(write(root, STUDY))
    assert loaded.models["anna"].label == "anna"
    assert loaded.models["bert"].label == "Bert 1B"
    assert loaded.sampling == study.Sampling(max_tokens=64, temperature=0.6, top_p=0.95, top_k=20, seed=7)
    assert loaded.parser_sampling.temperature == 0.0
    assert isinstance(loaded.parser_sampling.temperature, float)  # 0 and 0.0 must be one setting
    assert loaded.suites == ("medqa", "pubmedqa")
    assert (loaded.open_suites, loaded.judges, loaded.open_sampling, loaded.judge_attempts) == ((), (), None, 3)
    judged = {"open_suites": ["healthbench"], "judges": ["anna"], "judge_sampling": {"max_tokens": 32}}
    judged |= {"open_sampling": {"max_tokens": 99}, "conversations_per_suite": 5}
    loaded = study.load(write(root, changed(**judged)))
    assert (loaded.open_suites, loaded.judges) == (("healthbench",), ("anna",))
    assert (loaded.open_sampling, loaded.judge_sampling.seed) == (study.Sampling(max_tokens=99, seed=7), 7)
    assert dataclasses.replace(loaded, questions_per_suite=5).questions_per_suite == 5
    with pytest.raises(ValueError, match="runs"):  # changes after loading are checked too
        dataclasses.replace(loaded, runs=0)


@pytest.mark.parametrize(
    "slip", [*cases("study_slips"), {"changes": {"models": {True: {"path": "x"}}}, "says": ["quotes"]}]
)
def test_a_slip_is_refused_with_file_key_value_and_fix(root, slip):
    with pytest.raises(strict.SettingsError) as caught:
        study.load(write(root, changed(**slip["changes"])))
    for word in ["params/mine/study.yaml", *slip["says"]]:
        assert word in str(caught.value)
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"", "models: .*missing"), (b"a: \xff", ".*UTF-8"), (b"a: !!python/name:os []", "line 1: .*python")],
)
def test_yaml_that_is_not_plain_settings_is_refused(root, text, said):
    with pytest.raises(strict.SettingsError, match=f"params/mine/study.yaml: {said}"):
        study.load(write(root, text))


def test_an_unknown_profile_offers_the_nearest_and_without_a_project_the_fix_is_the_root(root):
    with pytest.raises(strict.SettingsError, match="MEDPSY_ROOT"):
        study.load("mini")
    write(root, STUDY, "review")
    with pytest.raises(strict.SettingsError, match="no such profile; did you mean 'review'"):
        study.load("reviev")


def test_every_path_hangs_from_the_root(root):
    loaded, outputs = study.load(write(root, changed(targets={"large": "anna"}))), root / "outputs/mine"
    assert loaded.section_dir("01_backbone_selection") == outputs / "01_backbone_selection"
    assert (loaded.store_dir, loaded.gguf_dir) == (outputs / "responses", outputs / "gguf")
    assert loaded.checkpoint("large", "rl1").local_dir == outputs / "models" / "large-rl1"


@pytest.mark.parametrize("section", ["../01", "a/b", "", ".", "/etc"])
def test_a_section_cannot_lead_out_of_the_outputs(root, section):
    with pytest.raises(ValueError, match="no notebook name"):
        study.load(write(root, STUDY)).section_dir(section)


@pytest.mark.parametrize(
    ("path", "base_url", "made", "local"), cases("local_folders", "path", "base_url", "made", "local")
)
def test_local_dir(root, path, base_url, made, local):
    if made:
        (root / path).mkdir(parents=True)
    spec = study.ModelSpec("x", path, base_url=base_url, root=root)
    assert spec.local_dir == (root / path if local else None)


def test_root_is_found_above_the_library_or_the_working_folder_or_named(tmp_path, monkeypatch):
    for name in ("params", "notebooks", "lib/medpsy"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.delenv("MEDPSY_ROOT", raising=False)
    assert study.find_root() == PARAMS.parent
    for library, working in (("lib/medpsy", "/"), ("/nowhere", "params")):
        monkeypatch.setattr(study, "__file__", str(tmp_path / library / "study.py"))
        monkeypatch.chdir(tmp_path / working)
        assert study.find_root() == tmp_path
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path / "lib"))
    assert study.find_root() == tmp_path / "lib"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_provenance_knows_commit_and_changes_where_there_is_git(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    clean = provenance.collect(tmp_path)
    assert (clean["commit"], clean["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "b.txt").write_text("2")  # a new file can change a result as well as a changed one
    assert provenance.collect(tmp_path)["dirty"] is True
    assert provenance.collect(Path("/"))["commit"] is None
    monkeypatch.setenv("PATH", "")
    record = provenance.collect(tmp_path)
    assert (record["commit"], record["dirty"], record["gpus"]) == (None, None, [])


def test_provenance_names_machine_in_numbers_and_no_place_or_person(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    record = provenance.collect(study.find_root())
    text = json.dumps(record)
    assert record["python"] == platform.python_version()
    assert 1 <= record["cores"] <= os.cpu_count()
    assert record["memory_gib"] > 0
    assert {"numpy", "pyarrow", "pandas"} <= set(record["versions"])
    for secret in ("sk-planted-secret", str(study.find_root()), str(Path.home()), sys.prefix):
        assert secret not in text
    if len(platform.node()) > 3:
        assert platform.node() not in text


COPY = {"path": "someone/quill", "revision": "0" * 40}


def model(root: Path, **entry: object) -> study.ModelSpec:
    """Return the model that a study declares by `entry`."""
    return study.load(write(root, changed(models__one=entry))).models["one"]


FILE = "someone/quill-GGUF/quill-q4_k_m-imat.gguf"


def test_a_file_of_the_hub_serves_the_weights_and_a_local_one_too(root):
    hub = model(root, **COPY, file=FILE)
    assert hub.gguf and hub.hub_file == ("someone/quill-GGUF", "quill-q4_k_m-imat.gguf") and hub.format == "Q4_K_M"
    assert hub.local_file is None and hub.loose == {"file_revision": "someone/quill-GGUF"}
    assert model(root, **COPY, file=FILE, file_revision="1" * 40).loose == {}
    local = model(root, **COPY, file="data/quill-IQ3_XXS.gguf")
    assert local.local_file == root / "data/quill-IQ3_XXS.gguf" and not local.hub_file and local.format == "IQ3_XXS"
    (root / FILE).parent.mkdir(parents=True)
    (root / FILE).touch()
    assert model(root, **COPY, file=FILE).local_file == root / FILE
    with pytest.raises(ValueError, match="quill.gguf names no number format"):
        _ = model(root, **COPY, file="data/quill.gguf").format
    for name, told in (("a-F32", "F32"), ("b.mxfp4", "MXFP4"), ("c-tq1_0", "TQ1_0"), ("quill", "quill.gguf")):
        assert model(root, **COPY, file=f"data/{name}.gguf").told_format == told
    with pytest.raises(strict.SettingsError, match="beside base_url; .*remove one"):
        model(root, path="quill", base_url="http://127.0.0.1:1/v1", file=FILE)
    with pytest.raises(strict.SettingsError, match="is no GGUF file"):
        model(root, **COPY, file="data/quill.safetensors")


def test_files_of_one_model_are_found_by_its_papers():
    laptop = study.load("laptop")
    names = [file.name for file in laptop.files("medpsy-1.7b-q8_0")]
    assert names == ["medpsy-1.7b-q8_0", "medpsy-1.7b", "medpsy-1.7b-iq3_m"]
    assert [file.name for file in laptop.files("qwen3-1.7b")] == ["qwen3-1.7b"]  # the same file is asked otherwise too
    assert laptop.model("qwen3-1.7b").file == laptop.model("qwen3-1.7b-plain").file
    assert len(study.load("review").files("medpsy-1.7b")) == 7 and study.load("paper").files("medpsy-1.7b") == []
    assert laptop.engine == "llama_cpp" and all(one.gguf for one in laptop.models.values())


@pytest.mark.parametrize(("profile", "own"), [("laptop", 1), ("review", 0), ("paper", 0)])
def test_every_hub_model_of_a_profile_has_a_family_of_which_nothing_is_repeated(profile, own):
    entries = strict.read(PARAMS / profile / "study.yaml")["models"]
    known = {name: entry for name, entry in entries.items() if families.of(entry["path"])}
    assert [name for name in entries.keys() - known if study.HUB_ID.fullmatch(entries[name]["path"])] == []
    repeated = {"opens_thinking", "chat_template_kwargs", "family"}
    assert sum(bool(repeated & entry.keys()) for entry in known.values()) == own  # without thinking, say


def test_every_fact_of_a_family_has_its_source():
    lines = families.FILE.read_text(encoding="utf-8").partition("\nfamilies:\n")[2].splitlines()
    facts = [line for line in lines if line.startswith("    ") and not line.lstrip().startswith(("#", "- "))]
    assert len(facts) > 60 and [line for line in facts if "  # " not in line] == []


def test_a_model_takes_what_the_family_that_it_has_or_names_says_and_its_own_entry_wins(root):
    thinks = model(root, path="Qwen/Qwen3-4B-Thinking-2507", revision="0" * 40)
    assert thinks.opens_thinking and thinks.chat_template_kwargs == {}
    assert model(root, path="Qwen/Qwen3-4B").chat_template_kwargs == {"enable_thinking": True}
    own = {"path": "Qwen/Qwen3.5-4B", "opens_thinking": False, "chat_template_kwargs": {"enable_thinking": False}}
    assert not model(root, **own).opens_thinking
    assert model(root, **own).chat_template_kwargs == {"enable_thinking": False}
    more = model(root, path="openai/gpt-oss-20b", chat_template_kwargs={"reasoning_effort": "high"})
    assert more.chat_template_kwargs == {"reasoning_effort": "high", "date_string": "26 Jul 2024"}
    assert not model(root, **COPY).opens_thinking
    assert model(root, **COPY, family="qwen3-thinking-2507").opens_thinking
    with pytest.raises(strict.SettingsError, match=r"models.one: family: 'qwen' is not in families.yaml; did you mean"):
        model(root, **COPY, family="qwen")


def test_the_key_of_a_stored_response_is_what_it_was():
    asked = Asked(study.ModelSpec("anna", "lib/anna"), "f" * 64, "llama_cpp:bf16", study.Sampling(64, seed=7))
    key = asked.key(Prompt("q", ({"role": "user", "content": "Which drug?"},)), 0)
    assert key == "5790fe11e85449e66b46b275a01c4a3d25f1578d1d06c4904ab8bed89ead55d6"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"a": Family(("x/y",), "turn", "MIT", reasoning="thinks")}, "families.a.reasoning: 'thinks' .* 'think'"),
        ({name: Family(("x/y",), "turn", "MIT") for name in "ab"}, "'x/y' stands under a and b; keep one"),
    ],
)
def test_what_cannot_be_meant_is_refused(named, said):
    with pytest.raises(ValueError, match=said):
        Known({"think": THINK}, (), (), named)
