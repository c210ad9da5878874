"""AfriMed-QA on invented rows: what becomes of a row, every trap, every refusal."""

import json

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite


def afrimed(tmp_path, row, **options):
    folder = invented.write_rows(tmp_path, "train.jsonl", [row])
    return load_suite("afrimedqa", data_dir=folder, partial=True, **options)


@pytest.mark.parametrize(
    ("options", "key", "want", "gold"),
    [
        ("wxyzv", "option5", "wxyzv", 4),
        (["w", "x", "y", "z", "N/A"], "option3", "wxyz", 2),
        (["w", "x", "y", "n/a", "N/a"], "option3", "wxy", 2),
        (["w", "x", "y", "z", None], "option4", "wxyz", 3),
        (["w", "x", "y", "z", ""], "option4", "wxyz", 3),
        (["w", "N/A", "y", "z"], "option3", "wyz", 1),  # the key counts before fillers are dropped
        (["N/A", "N/A", "y", "z", "v"], "option5", "yzv", 2),
        (["True", "False", "N/A", "N/A", "N/A"], "option2", ["True", "False"], 1),
        (["Na", "NA", "None", "K"], "option2", ["Na", "NA", "None", "K"], 1),  # sodium is no filler
        ([5, 10.5, 15, 20], "option2", ["5", "10.5", "15", "20"], 1),
    ],
)
def test_afrimedqa_options_are_lettered_without_gaps_and_the_gold_follows(tmp_path, options, key, want, gold):
    (question,) = afrimed(tmp_path, invented.afrimedqa(1, options=options, correct_answer=key)).questions
    assert (question.options, question.gold) == (tuple(want), gold)


def test_afrimedqa_option_order_is_by_number(tmp_path):
    texts = json.dumps({"option2": "x", "option1": "w", "option3": "y"})
    (question,) = afrimed(tmp_path, invented.afrimedqa(1, answer_options=texts)).questions
    assert (question.options, question.gold) == (("w", "x", "y"), 2)


@pytest.mark.parametrize(
    ("key", "kind", "exclude", "first"),
    [
        ("option3", "single", 2, 2),
        (" option3 ", "single", 2, 2),
        ("option3,option3", "single", 2, 2),
        ("option4,option2", "several", None, 3),
        ("option2, option4", "several", None, 1),
        (None, "none", None, None),
        ("", "none", None, None),
        ("N/A", "none", None, None),
        ("option5", "filler", None, None),
        ("option1,option2,option3,option4,option5", "filler", None, 0),
    ],
)
def test_afrimedqa_keys_are_kept_apart(tmp_path, key, kind, exclude, first):
    row = invented.afrimedqa(1, correct_answer=key)
    default, authors = afrimed(tmp_path, row), afrimed(tmp_path, row, multi="first")
    assert default.notes[f"key: {kind}"] == 1
    assert sum(default.notes[f"key: {name}"] for name in ("single", "several", "none", "filler")) == 1
    assert (default.questions[0].gold, authors.questions[0].gold) == (exclude, first)
    assert default.notes["without a key"] == (exclude is None)
    assert len(default.scored) == (exclude is not None)


def test_afrimedqa_keeps_expert_multiple_choice_only(tmp_path):
    rows = [
        invented.afrimedqa(1, options=("w", "n/a", "y")),
        invented.afrimedqa(2, tier="crowdsourced"),
        invented.afrimedqa(3, question_type="saq", answer_options=None, tier=None),
        invented.afrimedqa(4, question_type="consumer_queries", answer_options=None, tier=None),
        invented.afrimedqa(5, options=("N/A",) * 5),
        invented.afrimedqa(6, answer_options=None),
        invented.afrimedqa(7, split="train"),
    ]
    suite = load_suite("afrimedqa", data_dir=invented.write_rows(tmp_path, "train.jsonl", rows), partial=True)
    assert [question.id for question in suite.questions] == ["s1", "s7"]
    notes = suite.notes
    assert (notes["expert rows"], notes["fewer than two options, left out"]) == (4, 2)
    assert (notes["split test"], notes["split train"], notes["relettered past a filler"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("clean", "want"), [("clean\ntext", "clean\ntext"), (None, "raw"), ("", "raw"), ("N/A", "raw")]
)
def test_afrimedqa_prefers_the_clean_question(tmp_path, clean, want):
    (question,) = afrimed(tmp_path, invented.afrimedqa(1, question="raw", question_clean=clean)).questions
    assert question.stem == want
    assert "SECRET" not in str(question)


def test_afrimedqa_reads_the_authors_csv(tmp_path):
    rows = [invented.afrimedqa(n, correct_answer="N/A" if n == 0 else "option2") for n in range(3)]
    invented.write_named_csv(tmp_path / "afri_med_qa_15k_v2.4_phase_2_15275.csv", rows)
    suite = load_suite("afrimedqa", data_dir=tmp_path, partial=True)
    assert [question.gold for question in suite.questions] == [None, 1, 1]


@pytest.mark.parametrize("count", [289, 3_000, 3_909])
def test_afrimedqa_refuses_another_selection(tmp_path, count):
    rows = [invented.afrimedqa(n) for n in range(count)]
    with pytest.raises(DataError, match=r"train.jsonl: .* expert multiple-choice rows, 3,910 expected"):
        load_suite("afrimedqa", data_dir=invented.write_rows(tmp_path, "train.jsonl", rows))


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"correct_answer": "C"}, "option1 to option5 is expected"),
        ({"correct_answer": "option6"}, "option1 to option5 is expected"),
        ({"answer_options": "{'option1': 'w'}"}, "JSON is expected"),
        ({"answer_options": '["w", "x"]'}, "option1 to option5 is expected"),
        ({"answer_options": '{"A": "w", "B": "x"}'}, "option1 to option5 is expected"),
        ({"answer_options": '{"option1": ["w"], "option2": "x"}'}, "texts are expected"),
        ({"question_type": None}, "'question_type'"),
        ({"question": "", "question_clean": ""}, "'question'"),
    ],
)
def test_afrimedqa_refuses_a_malformed_row(tmp_path, change, want):
    with pytest.raises(DataError, match=f"train.jsonl, row 1, .*{want}"):
        afrimed(tmp_path, invented.afrimedqa(1, **change))


def test_afrimedqa_version_1_is_refused(tmp_path):
    row = invented.afrimedqa(1)
    del row["tier"]
    with pytest.raises(DataError, match="field 'tier' is missing: version 2"):
        afrimed(tmp_path, row)


def test_afrimedqa_knows_two_rules(tmp_path):
    with pytest.raises(ValueError, match="multi='last' is unknown; use one of exclude, first"):
        afrimed(tmp_path, invented.afrimedqa(1), multi="last")
