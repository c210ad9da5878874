"""Each loader on real rows, where they are at hand: a part of each split, and the counts known for that part."""

import csv
import gzip
import json
import shutil
from collections import Counter

import pytest
from medpsy.benchmarks import DataError, load_suite, sample

FOLDERS = {
    "mmlu_health": "mmlu_health",
    "mmlu_pro_health": "mmlu_pro_health",
    "medmcqa": "medmcqa_validation",
    "medqa": "medqa_usmle_4opt",
    "medxpertqa": "medxpertqa_text",
    "pubmedqa": "pubmedqa_labeled",
}
SIZES = {"mmlu_health": 667, "mmlu_pro_health": 517, "medmcqa": 2_483, "medqa": 739, "medxpertqa": 146, "pubmedqa": 299}


@pytest.fixture
def load(real_data):
    return lambda key, **options: load_suite(key, data_dir=real_data / FOLDERS[key], partial=True, **options)


def lines(path):
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


@pytest.mark.parametrize("key", FOLDERS)
def test_every_real_row_becomes_a_question_with_a_gold(load, key):
    suite = load(key)
    assert len(suite.questions) == len(suite.scored) == SIZES[key]
    assert suite.notes["empty options"] == 0
    assert load(key).digest == suite.digest
    assert set(sample(suite.questions, 20, seed=1)) <= set(suite.questions)


@pytest.mark.parametrize("key", FOLDERS)
def test_a_part_is_not_taken_for_the_whole(real_data, key):
    with pytest.raises(DataError, match="expected"):
        load_suite(key, data_dir=real_data / FOLDERS[key])


def test_mmlu(load, real_data):
    questions = load("mmlu_health").questions
    assert Counter(question.weight_group for question in questions) == {
        "anatomy": 87, "clinical_knowledge": 160, "college_biology": 86,
        "college_medicine": 96, "medical_genetics": 60, "professional_medicine": 178,
    }  # fmt: skip
    with (real_data / "mmlu_health/test/anatomy_test.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.reader(file))[-1]
    question = next(question for question in questions if question.id == "anatomy/87")
    assert question.options[question.gold] == last[1 + "ABCD".index(last[5])].strip()


def test_mmlu_pro(load, real_data):
    suite = load("mmlu_pro_health")
    assert Counter(len(question.options) for question in suite.questions)[10] == 387
    assert suite.notes["other categories left out"] == 156
    texts = {
        str(row["question_id"]): row["options"]
        for row in lines(real_data / "mmlu_pro_health/test_health_part.jsonl.gz")
    }
    assert all(question.options == tuple(text.strip() for text in texts[question.id]) for question in suite.questions)


def test_medmcqa(load, real_data):
    suite = load("medmcqa")
    assert Counter(question.gold for question in suite.questions) == {0: 770, 1: 661, 2: 536, 3: 516}
    assert (suite.notes["first option in cop"], suite.notes["choice type single"]) == (1, 1_687)
    assert sum("None" in question.options for question in suite.questions) == 21  # the word, not a gap
    long = [row["exp"] for row in lines(real_data / "medmcqa_validation/validation_part.jsonl.gz") if row["exp"]]
    shown = " ".join(question.stem for question in suite.questions)
    assert not any(text in shown for text in long if len(text) > 100)


def test_medqa(load, real_data):
    rows = lines(real_data / "medqa_usmle_4opt/test_part.jsonl.gz")
    questions = load("medqa").questions
    assert [question.options[question.gold] for question in questions] == [row["answer"].strip() for row in rows]
    assert Counter(question.subject for question in questions) == {"step1": 399, "step2&3": 340}


def test_medxpertqa(load):
    suite = load("medxpertqa")
    assert suite.notes["option lists cut from stems"] == 146
    for question in suite.questions:
        assert len(question.options) == 10
        assert "Answer Choices" not in question.stem and f"(A) {question.options[0]}" not in question.stem


def test_medxpertqa_image_rows_are_recognised(real_data, tmp_path):
    for place, name in enumerate(("sampled_text_part", "mm_rows_sample")):
        shutil.copy(real_data / f"medxpertqa_text/{name}.jsonl.gz", tmp_path / f"test-{place}.jsonl.gz")
    suite = load_suite("medxpertqa", data_dir=tmp_path, partial=True)
    assert (len(suite.questions), suite.notes["rows with images left out"]) == (146, 40)


def test_pubmedqa(load, real_data):
    suite = load("pubmedqa")
    assert [suite.notes[f"gold {choice}"] for choice in ("yes", "no", "maybe")] == [169, 95, 35]
    assert suite.notes["not in the test list"] == 298
    rows = json.loads(gzip.decompress((real_data / "pubmedqa_labeled/ori_pqal_part.json.gz").read_bytes()))
    for question in suite.questions:
        row = rows[question.id]
        assert row["LONG_ANSWER"] not in question.context
        assert all(passage.strip() in question.context for passage in row["CONTEXTS"])
        assert question.options[question.gold] == row["final_decision"]
