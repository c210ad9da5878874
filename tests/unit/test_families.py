"""Quirks of real models: each known once, taken by the models of a study, and never by those of the miniature."""

import pytest
import yaml
from medpsy import families, strict, study
from medpsy.asking import Asked
from medpsy.engines import Prompt, Sampling
from medpsy.families import Family, Known, Markers
from medpsy.study import HUB_ID, ModelSpec

THINK = Markers(("<think>",), ("</think>",))
REAL = ("review", "paper")
COPY = {"path": "someone/quill", "revision": "0" * 40}
REST = """source: hub
parser: one
suites: [medqa]
questions_per_suite: 0
sampling: {max_tokens: 8}
parser_sampling: {max_tokens: 8}
runs: 1
engine: vllm
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a study whose one model has the given entry."""

    def loaded(**entry):
        folder = tmp_path / "params" / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(REST + yaml.safe_dump({"models": {"one": entry}}))
        monkeypatch.setattr(study, "ROOT", tmp_path)
        return study.load("mine").models["one"]

    return loaded


@pytest.mark.parametrize("profile", REAL)
def test_every_hub_model_of_a_profile_has_a_family(profile):
    named = {one.path for one in study.load(profile).models.values() if HUB_ID.fullmatch(one.path)}
    assert [path for path in named if families.of(path) is None] == []


@pytest.mark.parametrize("profile", REAL)
def test_a_profile_repeats_nothing_of_a_family(profile, root):
    entries = strict.read(root / "params" / profile / "study.yaml")["models"]
    repeated = {"opens_thinking", "chat_template_kwargs", "family"}
    assert [name for name, entry in entries.items() if repeated & set(entry) and families.of(entry["path"])] == []


def test_every_fact_of_a_family_has_its_source(root):
    lines = families.FILE.read_text(encoding="utf-8").partition("\nfamilies:\n")[2].splitlines()
    facts = [line for line in lines if line.startswith("    ") and not line.lstrip().startswith(("#", "- "))]
    assert len(facts) > 60 and [line for line in facts if "  # " not in line] == []


def test_a_model_takes_what_its_family_says_and_its_own_entry_wins(load):
    thinks = load(path="Qwen/Qwen3-4B-Thinking-2507", revision="0" * 40)
    assert thinks.opens_thinking and thinks.chat_template_kwargs == {}
    assert load(path="Qwen/Qwen3-4B").chat_template_kwargs == {"enable_thinking": True}
    own = {"path": "Qwen/Qwen3.5-4B", "opens_thinking": False, "chat_template_kwargs": {"enable_thinking": False}}
    assert not load(**own).opens_thinking and load(**own).chat_template_kwargs == {"enable_thinking": False}
    more = load(path="openai/gpt-oss-20b", chat_template_kwargs={"reasoning_effort": "high"})
    assert more.chat_template_kwargs == {"reasoning_effort": "high", "date_string": "26 Jul 2024"}


def test_a_copy_names_its_family_and_others_have_none(load):
    assert not load(**COPY).opens_thinking
    assert load(**COPY, family="qwen3-thinking-2507").opens_thinking
    with pytest.raises(strict.SettingsError, match=r"models.one: family: 'qwen' is not in families.yaml; did you mean"):
        load(**COPY, family="qwen")


@pytest.mark.parametrize("profile", ["smoke", "mini"])
def test_models_of_the_miniature_have_no_family_and_no_switches(profile):
    assert {(one.family, len(one.chat_template_kwargs)) for one in study.load(profile).models.values()} == {(None, 0)}


def test_the_key_of_a_stored_response_is_what_it_was():
    asked = Asked(ModelSpec("anna", "lib/anna"), "f" * 64, "llama_cpp:bf16", Sampling(64, seed=7))
    keys = asked.keys([Prompt("q", ({"role": "user", "content": "Which drug?"},))], 0)
    assert keys == ["5790fe11e85449e66b46b275a01c4a3d25f1578d1d06c4904ab8bed89ead55d6"]


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


def test_a_gated_family_says_what_to_accept():
    gated = {path for one in families.known().families.values() if one.terms for path in one.models}
    assert "google/medgemma-1.5-4b-it" in gated and "meta-llama/Llama-3.3-70B-Instruct" in gated
    assert not [path for path in gated if path.startswith("Qwen/")]
