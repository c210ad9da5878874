"""The hub path: the real `datasets.load_dataset` on folders in each hub copy's schema, at the published size."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import RL_SET, SUITES, DataError, load_suite
from medpsy.benchmarks.mmlu_health import SUBJECTS
from medpsy.benchmarks.rows import hub_message

COMMIT = "0123456789" * 4


def many(make, count, **changes):
    return [make(number, **changes) for number in range(count)]


def mmlu():
    return {
        subject: {"test": [invented.mmlu_hub(n, subject) for n in range(size)]} for subject, size in SUBJECTS.items()
    }


def mmlu_pro():
    return {"default": {"test": many(invented.mmlu_pro, 818) + many(invented.mmlu_pro, 12_032 - 818, category="law")}}


def afrimedqa():
    experts = many(invented.afrimedqa, 3_910)
    others = many(invented.afrimedqa, 129, tier="crowdsourced")
    open_questions = many(invented.afrimedqa, 11_236, question_type="saq", answer_options=None, correct_answer=None)
    return {"default": {"train": experts + others + open_questions}}


FULL = {
    "mmlu_health": mmlu,
    "afrimedqa": afrimedqa,
    "mmlu_pro_health": mmlu_pro,
    "medmcqa": lambda: {"default": {"validation": many(invented.medmcqa, 4_183)}},
    "medqa": lambda: {"default": {"test": many(invented.medqa, 1_273)}},
    "medxpertqa": lambda: {"Text": {"test": many(invented.medxpertqa, 2_450)}, "MM": {"test": [{"id": "MM-1"}]}},
    "pubmedqa": lambda: {"pqa_labeled": {"train": many(invented.pubmedqa, 1_000)}},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """A test that reaches for the network by mistake fails at once instead of trying again and again."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder in which a hub id names a folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def options_for(key, hub):
    """PubMedQA needs the official list, which is not on the hub."""
    if key != "pubmedqa":
        return {}
    invented.write_json(hub / "lists/test_ground_truth.json", invented.pubmedqa_list(range(500)))
    return {"data_dir": hub / "lists"}


@pytest.mark.parametrize("key", SUITES)
def test_a_complete_hub_copy_loads_at_its_pinned_revision(key, hub):
    spec = SUITES[key]
    invented.write_hub(hub, spec.hub_id, FULL[key]())
    suite = load_suite(key, **options_for(key, hub))
    assert len(suite.questions) == spec.published
    assert (suite.key, suite.title, suite.scored) == (key, spec.title, suite.questions)
    assert suite.notes["without a key"] == 0
    assert "SECRET" not in str(suite.questions)


@pytest.mark.parametrize("key", SUITES)
def test_a_hub_copy_that_lacks_one_row_is_refused(key, hub):
    configs = FULL[key]()
    first_config = next(iter(configs.values()))
    next(iter(first_config.values())).pop(0)
    invented.write_hub(hub, SUITES[key].hub_id, configs)
    with pytest.raises(DataError, match=r"[\d,]+ .*rows.*, [\d,]+ expected"):
        load_suite(key, **options_for(key, hub))


def test_every_suite_names_a_full_commit():
    assert all(len(spec.revision) == 40 for spec in SUITES.values())


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "91c6572", "A" * 40])
def test_without_a_full_commit_nothing_is_fetched(revision):
    with pytest.raises(DataError, match=r"is not a commit; pass revision=<40 hex digits>"):
        load_suite("medqa", hub_id="somebody/medqa", revision=revision)


def test_the_pin_of_one_copy_is_not_used_for_another():
    with pytest.raises(DataError, match="somebody/medqa: revision None"):
        load_suite("medqa", hub_id="somebody/medqa")


def test_the_rl_set_has_no_known_revision_and_takes_the_callers(hub):
    assert RL_SET.revision is None and RL_SET.use == "training"
    invented.write_hub(hub, RL_SET.hub_id, {"default": {"train": many(invented.alphamed, 18_000)}})
    with pytest.raises(DataError, match="pass revision"):
        load_suite("alphamed")
    assert len(load_suite("alphamed", revision=COMMIT).questions) == 18_000


def test_the_pinned_medmcqa_copy_counts_from_zero(hub):
    invented.write_hub(hub, SUITES["medmcqa"].hub_id, {"default": {"validation": many(invented.medmcqa, 8, base=1)}})
    with pytest.raises(DataError, match=r"row 4, field 'cop' is 4: 0 to 3 is expected"):
        load_suite("medmcqa", partial=True)


def test_another_medmcqa_copy_may_count_from_one(hub):
    invented.write_hub(hub, "lighteval/med_mcqa", {"default": {"validation": many(invented.medmcqa, 8, base=1)}})
    suite = load_suite("medmcqa", hub_id="lighteval/med_mcqa", revision=COMMIT, partial=True)
    assert [question.gold for question in suite.questions] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_hub_and_local_copy_ask_the_same(hub):
    rows = many(invented.medxpertqa, 20)
    invented.write_hub(hub, SUITES["medxpertqa"].hub_id, {"Text": {"test": rows}})
    invented.write_jsonl(hub / "local/test.jsonl", [invented.medxpertqa_original(n) for n in range(20)])
    from_hub = load_suite("medxpertqa", partial=True)
    from_files = load_suite("medxpertqa", data_dir=hub / "local", partial=True)
    assert from_hub.digest == from_files.digest
    assert from_hub.notes["source"].startswith("TsinghuaC3I/MedXpertQA@7e7c465a")


def test_a_config_that_is_missing_is_explained(hub):
    invented.write_hub(hub, SUITES["medxpertqa"].hub_id, {"MM": {"test": [{"id": "MM-1"}]}})
    with pytest.raises(DataError, match=r"TsinghuaC3I/MedXpertQA: not readable from the hub.*data_dir"):
        load_suite("medxpertqa")


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ("Dataset 'a/b' is a gated dataset on the Hub. You must be authenticated to access it.", "set HF_TOKEN"),
        ("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed.", "set HF_TOKEN"),
        ("Couldn't reach 'a/b' on the Hub (ConnectError)", "check the connection"),
        ("Dataset scripts are no longer supported, but found b.py", "data_dir"),
    ],
)
def test_hub_errors_say_what_to_do(said, want):
    message = hub_message("a/b", ConnectionError(said))
    assert want in message and said in message
