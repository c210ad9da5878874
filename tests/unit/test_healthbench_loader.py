"""HealthBench's files: every row as published, and every defect named with file, row and field."""

import gzip
import json
import sys
import types
from collections import Counter

import benchmark_rows as files
import healthbench_rows as invented
import pytest
from medpsy.benchmarks import OPEN_SUITES, DataError, load_conversations, sample
from medpsy.benchmarks.healthbench import AXES, PARTS, REVISION, THEMES
from medpsy.benchmarks.healthbench_meta import load_labelled, physician_pairs
from medpsy.published.cells import table

MAIN = "2025-05-07-06-14-12_oss_eval.jsonl"


def load(folder, rows, name=MAIN, key="healthbench", **options):
    files.write_jsonl(folder / name, rows)
    return load_conversations(key, data_dir=folder, **({"partial": True} | options))


def test_the_open_suites_have_the_reports_names_and_the_published_sizes():
    assert [(key, one.title, one.published) for key, one in OPEN_SUITES.items()] == [
        ("healthbench", "HealthBench", 5_000),
        ("healthbench_hard", "HealthBench Hard", 1_000),
        ("healthbench_consensus", "HealthBench Consensus", 3_671),
    ]


def test_a_row_becomes_a_conversation_with_its_rubric(tmp_path):
    suite = load(tmp_path, [invented.example(1)])
    (one,) = suite.conversations
    assert (one.id, one.suite, one.theme) == ("p1", "healthbench", "hedging")
    assert one.tags == ("theme:hedging", "physician_agreed_category:enough")
    assert [turn["role"] for turn in one.messages] == ["user", "assistant", "user"]
    assert [(each.text, each.points, each.axis) for each in one.rubric] == [
        ("says yes", 7.0, "accuracy"),
        ("says no", -8.0, "communication_quality"),
    ]
    assert suite.notes["criteria"] == 2 and suite.notes["criteria with negative points"] == 1
    assert "SECRET" not in str(suite)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.key)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_each_part_is_found_by_its_published_name_also_packed(tmp_path, part, ending):
    for other in PARTS:
        files.write_jsonl(tmp_path / f"{other.file}{ending}", [invented.example(7, prompt_id=other.key)])
    files.write_jsonl(tmp_path / f"2025-05-07-06-14-12_oss_meta_eval.jsonl{ending}", [{"no": "conversation"}])
    suite = load_conversations(part.key, data_dir=tmp_path, partial=True)
    assert [one.id for one in suite.conversations] == [part.key]


def test_another_number_of_rows_is_refused_unless_it_is_said_to_be_a_part(tmp_path):
    with pytest.raises(DataError, match=rf"{MAIN}: 2 conversations, 5,000 expected.*partial=True"):
        load(tmp_path, [invented.example(0), invented.example(1)], partial=False)
    assert len(load(tmp_path, [invented.example(0), invented.example(1)]).conversations) == 2


@pytest.mark.parametrize(
    ("path", "value", "want"),
    [
        ("prompt", [], "field 'prompt' is .*a list of objects that is not empty"),
        ("prompt", "text", "field 'prompt' is 'text': JSON is expected"),
        ("prompt.2.role", "assistant", "field 'prompt' .*the last turn must be the user's"),
        ("prompt.0.role", "doctor", r"field 'prompt\[0\].role' is 'doctor': one of system, user, assistant"),
        ("prompt.1.content", " ", r"field 'prompt\[1\].content' is ' ': a text that is not empty"),
        ("prompt.1.content", ..., r"field 'prompt\[1\].content' is missing"),
        ("prompt_id", ..., "field 'prompt_id' is missing"),
        ("rubrics", [], "field 'rubrics' is .*not empty"),
        ("rubrics", ["yes"], "field 'rubrics' .*a list of objects"),
        ("rubrics.0.criterion", "", r"field 'rubrics\[0\].criterion'"),
        ("rubrics.1.points", 0, r"field 'rubrics\[1\].points' is 0: a number from -10 to 10"),
        ("rubrics.1.points", 11, r"field 'rubrics\[1\].points' is 11"),
        ("rubrics.1.points", "5", r"field 'rubrics\[1\].points' is '5'"),
        ("rubrics.1.points", True, r"field 'rubrics\[1\].points' is True"),
        ("rubrics.1.points", float("nan"), r"field 'rubrics\[1\].points' is nan"),
        ("rubrics.1.points", ..., r"field 'rubrics\[1\].points' is missing"),
        ("rubrics.0.points", -7, "field 'rubrics' .*one criterion with positive points"),
        ("rubrics.0.tags", ["level:example"], r"field 'rubrics\[0\].tags' .*exactly one tag axis:.* 0 found"),
        ("rubrics.0.tags", ["axis:accuracy"], r"field 'rubrics\[0\].tags' .*exactly one tag level:.* 0 found"),
        ("rubrics.0.tags", ["level:example", "axis:accuracy", "axis:completeness"], "exactly one tag axis:.* 2 found"),
        ("rubrics.0.tags", ["level:example", "axis:safety"], "axis:safety is unknown; known are completeness, acc"),
        ("rubrics.0.tags", ["level:other", "axis:accuracy"], "level:other is unknown; known are example, cluster"),
        ("example_tags", [], "field 'example_tags' .*exactly one tag theme:.* 0 found"),
        ("example_tags", ["theme:hedging", "theme:hedging"], "exactly one tag theme:.* 2 found"),
        ("example_tags", ["theme:diabetes"], "theme:diabetes is unknown; known are communication, complex_responses"),
        ("example_tags", None, "field 'example_tags' is None"),
    ],
)
def test_a_defect_is_named_with_file_row_and_field(tmp_path, path, value, want):
    with pytest.raises(DataError, match=rf"{MAIN}, row 2, {want}" if want.startswith("field") else want):
        load(tmp_path, [invented.example(9), invented.changed(path, value)])


def test_an_id_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="healthbench: id 'p1' occurs 2 times"):
        load(tmp_path, [invented.example(1), invented.example(1)])


def test_the_hub_copy_is_read_file_by_file_at_its_revision(tmp_path, monkeypatch):
    import datasets

    calls = []

    def load_dataset(hub_id, **options):
        calls.append((hub_id, options))
        return datasets.Dataset.from_list([invented.example(3)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    suite = load_conversations("healthbench_hard", partial=True)
    options = {"data_files": "hard_2025-05-08-21-00-10.jsonl", "split": "train", "revision": REVISION}
    assert calls == [("openai/healthbench", options)]
    assert suite.conversations[0].rubric[1].points == -8 and suite.key == "healthbench_hard"


def test_the_miniature_is_asked_for_its_conversations(monkeypatch):
    module = types.ModuleType("medpsy.mini.conversations")
    module.load = lambda key: (invented.conversation("a", suite=key), invented.conversation("b", suite=key))
    monkeypatch.setitem(sys.modules, "medpsy.mini.conversations", module)
    suite = load_conversations("healthbench_hard", source="mini")
    assert [one.id for one in suite.conversations] == ["a", "b"] and suite.title == "HealthBench Hard"
    assert suite.notes["source"] == "mini"
    with pytest.raises(ValueError, match="belong to source='hub'"):
        load_conversations("healthbench", source="mini", data_dir=".")
    with pytest.raises(ValueError, match="did you mean healthbench_hard"):
        load_conversations("healthbench_hart", source="mini")


def test_the_digest_covers_rubric_and_messages():
    from medpsy.benchmarks.suite import digest

    one = invented.conversation("a")
    others = [invented.conversation("a", (7, -7)), invented.conversation("a", theme="global_health")]
    assert len({digest([each]) for each in (one, *others)}) == 3
    assert digest([one]) == digest([invented.conversation("a")])


def test_a_sample_draws_from_all_conversations_alike():
    many = [invented.conversation(f"c{n}", theme="hedging" if n < 90 else "communication") for n in range(100)]
    chosen = sample(many, 40, seed=1)
    assert len(chosen) == 40 and all(one in chosen for one in sample(many, 20, seed=1))
    assert Counter(one.theme for one in chosen)["communication"] < 12  # not half of them, as strata would give


def test_themes_are_the_columns_of_table_3_in_order():
    assert ["Overall", *THEMES.values()] == list(table("table03_healthbench_dimensions").columns)


# --- real rows


def real_rows(real_data):
    text = gzip.decompress((real_data / "healthbench" / "main_sample.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.strip().split("\n")]


@pytest.fixture(scope="module")
def real(real_data):
    return load_conversations("healthbench", data_dir=real_data / "healthbench", partial=True)


def test_every_real_row_loads_with_the_tags_it_has(real):
    assert (real.notes["conversations"], real.notes["criteria"]) == (174, 1_395)
    themes = Counter(one.theme for one in real.conversations)
    assert set(themes) == set(THEMES) and themes["context_seeking"] == 86
    assert {each.axis for one in real.conversations for each in one.rubric} == set(AXES)
    assert sum(len(one.messages) > 1 for one in real.conversations) == 107


def test_real_hard_rows_load_from_a_file_of_their_own(real_data, tmp_path):
    folder = real_data / "healthbench"
    hard = set(json.loads((folder / "hard_and_consensus_prompt_ids.json").read_text()))
    chosen = [row for row in real_rows(real_data) if row["prompt_id"] in hard]
    suite = load(tmp_path, chosen, "hard_2025-05-08-21-00-10.jsonl.gz", "healthbench_hard")
    assert {one.id for one in suite.conversations} == hard and len(hard) == 67


def test_ideal_completions_and_the_canary_never_enter_a_conversation(real_data, real):
    shown = str(real.conversations)
    assert "canary" not in shown and "healthbench:26b5c67b" not in shown
    data = [row["ideal_completions_data"] for row in real_rows(real_data)]
    ideals = [one["ideal_completion"] for one in data if one]
    assert ideals and not any(ideal in shown for ideal in ideals if len(ideal) > 100)


# --- meta-evaluation


def labelled(**changes):
    row = {
        "prompt": [{"role": "user", "content": "Is lorin good?"}],
        "completion": "Yes.",
        "rubric": "says yes",
        "category": "cluster:hedging_yes",
        "binary_labels": [True, True, False],
        "anonymized_physician_ids": ["a", "b", "c"],
        "prompt_id": "p1",
        "completion_id": "x",
    }
    return {**row, **changes}


def test_each_physicians_label_counts_once(tmp_path):
    files.write_jsonl(tmp_path / "meta.jsonl", [labelled(), labelled(binary_labels=[False])])
    found = load_labelled(tmp_path, partial=True)
    assert found[0].conversation.rubric[0].text == "says yes" and found[0].answer == "Yes."
    labels, said = physician_pairs(found, [True, None])
    assert (labels, said) == ([True, True, False, False], [True, True, True, None])


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"binary_labels": []}, "field 'binary_labels'"),
        ({"binary_labels": ["yes"]}, "field 'binary_labels'"),
        ({"rubric": ""}, "field 'rubric'"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "field 'prompt' .*last turn"),
    ],
)
def test_a_defect_of_the_meta_evaluation_is_named(tmp_path, changes, want):
    files.write_jsonl(tmp_path / "meta.jsonl", [labelled(), labelled(**changes)])
    with pytest.raises(DataError, match=f"meta.jsonl, row 2, {want}"):
        load_labelled(tmp_path, partial=True)


def test_a_part_of_the_meta_evaluation_is_not_taken_for_the_whole(tmp_path):
    files.write_jsonl(tmp_path / "meta.jsonl", [labelled()])
    with pytest.raises(DataError, match="1 rows, 29,511 expected"):
        load_labelled(tmp_path)
