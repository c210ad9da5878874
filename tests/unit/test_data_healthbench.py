"""HealthBench's files: every row as published, and every defect named with file, row and field."""

import gzip
import json
from collections import Counter

import benchmark_rows as files
import healthbench_rows as invented
import pytest
from case_rows import cases
from medpsy.data.healthbench import AXES, FILES, PHYSICIANS, PHYSICIANS_FILES, THEMES
from medpsy.data.questions import sample
from medpsy.data.rows import DataError
from medpsy.data.suites import OPEN_SUITES, digest
from medpsy.data.suites import load as load_suite

MAIN = "2025-05-07-06-14-12_oss_eval.jsonl"


def load(folder, rows, name=MAIN, key="healthbench", **options):
    files.write_jsonl(folder / name, rows)
    return load_suite(key, data_dir=folder, **({"partial": True} | options))


def test_a_row_becomes_a_conversation_with_its_rubric(tmp_path):
    suite = load(tmp_path, [invented.example(1)])
    (one,) = suite.items
    assert (one.id, one.suite, one.theme) == ("p1", "healthbench", "hedging")
    assert one.tags == ("theme:hedging", "physician_agreed_category:enough")
    assert [turn["role"] for turn in one.messages] == ["user", "assistant", "user"]
    assert [(each.text, each.points, each.axis) for each in one.rubric] == [
        ("says yes", 7.0, "accuracy"),
        ("says no", -8.0, "communication_quality"),
    ]
    assert "SECRET" not in str(suite)


def test_a_copy_in_csv_holds_the_same_conversations_and_another_number_of_rows_is_refused(tmp_path):
    rows = [invented.example(1), invented.example(2)]
    files.write_named_csv(tmp_path / "csv" / "healthbench.csv", rows)
    copy = load_suite("healthbench", data_dir=tmp_path / "csv", partial=True)
    assert copy.digest == load(tmp_path, rows).digest
    with pytest.raises(DataError, match=rf"{MAIN}: 2 conversations, 5,000 expected.*partial=True"):
        load(tmp_path, rows, partial=False)


@pytest.mark.parametrize("key", FILES)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_each_part_is_found_by_its_published_name_also_packed(tmp_path, key, ending):
    for other, (file, *_) in FILES.items():
        files.write_jsonl(tmp_path / f"{file}{ending}", [invented.example(7, prompt_id=other)])
    files.write_jsonl(tmp_path / f"2025-05-07-06-14-12_oss_meta_eval.jsonl{ending}", [{"no": "conversation"}])
    assert [one.id for one in load_suite(key, data_dir=tmp_path, partial=True).items] == [key]


def test_labels_of_physicians_are_read_with_the_criterion_that_they_decide(tmp_path):
    rows = [invented.labelled(1), invented.labelled(2, theme="global_health", binary_labels=[False])]
    files.write_jsonl(tmp_path / PHYSICIANS_FILES[0], rows)
    first, second = load_suite(PHYSICIANS, data_dir=tmp_path, partial=True).items
    assert (first.labels, second.labels) == ((True, True), (False,))
    assert (first.answer, first.conversation.rubric[0].text) == (rows[0]["completion"], rows[0]["rubric"])
    assert [item.conversation.theme for item in (first, second)] == ["hedging", "global_health"]


@pytest.mark.parametrize(("field", "value"), cases("labelled_defects", "field", "value"))
def test_a_defect_of_a_labelled_row_is_named(tmp_path, field, value):
    files.write_jsonl(tmp_path / PHYSICIANS_FILES[0], [invented.labelled(1, **{field: value})])
    with pytest.raises(DataError, match=r"oss_meta_eval.jsonl, row 1"):
        load_suite(PHYSICIANS, data_dir=tmp_path, partial=True)


@pytest.mark.parametrize(("path", "value", "want"), cases("healthbench_defects", "path", "value", "want"))
def test_a_defect_is_named_with_file_row_and_field(tmp_path, path, value, want):
    with pytest.raises(DataError, match=rf"{MAIN}, row 2.*{want}"):
        load(tmp_path, [invented.example(9), invented.changed(path, ... if value == "<removed>" else value)])


def test_the_hub_copy_is_read_file_by_file_at_its_revision(tmp_path, monkeypatch):
    import datasets

    calls = []

    def load_dataset(hub_id, **options):
        calls.append((hub_id, options))
        return datasets.Dataset.from_list([invented.example(3)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    suite = load_suite("healthbench_hard", partial=True)
    options = {
        "data_files": "hard_2025-05-08-21-00-10.jsonl",
        "split": "train",
        "revision": OPEN_SUITES["healthbench_hard"].revision,
    }
    assert calls == [("openai/healthbench", options)]
    assert suite.items[0].rubric[1].points == -8 and suite.key == "healthbench_hard"


def test_the_digest_covers_rubric_and_messages():
    one = invented.conversation("a")
    others = [invented.conversation("a", (7, -7)), invented.conversation("a", theme="global_health")]
    assert len({digest([each]) for each in (one, *others)}) == 3
    assert digest([one]) == digest([invented.conversation("a")])


def test_a_sample_draws_from_all_conversations_alike():
    many = [invented.conversation(f"c{n}", theme="hedging" if n < 90 else "communication") for n in range(100)]
    chosen = sample(many, 40, seed=1)
    assert len(chosen) == 40 and all(one in chosen for one in sample(many, 20, seed=1))
    assert Counter(one.theme for one in chosen)["communication"] < 12  # not half of them, as strata would give


# --- real rows


def test_every_real_row_loads_with_the_tags_it_has_and_without_ideal_completion_and_canary(real_data, tmp_path):
    folder = real_data / "healthbench"
    real = load_suite("healthbench", data_dir=folder, partial=True)
    assert (len(real.items), sum(len(one.rubric) for one in real.items)) == (174, 1_395)
    themes = Counter(one.theme for one in real.items)
    assert set(themes) == set(THEMES) and themes["context_seeking"] == 86
    assert {each.axis for one in real.items for each in one.rubric} == set(AXES)
    assert sum(len(one.messages) > 1 for one in real.items) == 107
    text = gzip.decompress((folder / "main_sample.jsonl.gz").read_bytes()).decode()
    rows, shown = [json.loads(line) for line in text.strip().split("\n")], str(real.items)
    assert "canary" not in shown and "healthbench:26b5c67b" not in shown
    ideals = [one["ideal_completion"] for row in rows if (one := row["ideal_completions_data"])]
    assert ideals and not any(ideal in shown for ideal in ideals if len(ideal) > 100)
    hard = set(json.loads((folder / "hard_and_consensus_prompt_ids.json").read_text()))
    chosen = [row for row in rows if row["prompt_id"] in hard]
    suite = load(tmp_path, chosen, "hard_2025-05-08-21-00-10.jsonl.gz", "healthbench_hard")
    assert {one.id for one in suite.items} == hard and len(hard) == 67
