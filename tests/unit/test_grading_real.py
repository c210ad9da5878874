"""The readers on real model outputs, against what a person read in them.

The letters below are our own reading of every row in which the upstream regular expression found none; "-" marks the
rows in which the model names several options or none, or contradicts itself.
"""

import gzip
import json
import re
from collections import Counter

import pytest
from medpsy.data.questions import Question
from medpsy.grading.readers import CLASH, EMPTY, FILTERED, NO_OPTION, NONE_FITS, NOT_OFFERED, READERS, REASONS, SEVERAL

lenient, strict = READERS["lenient"], READERS["strict"]
MODELS = ("Meta-Llama-3_1-70B-Instruct", "Mixtral-8x7B-Instruct-v0.1", "Qwen1.5-7B-Chat")
QWEN_WITHOUT_PRED = """
6009 D 6014 I 6033 G 6036 A 6037 A 6052 I 6061 - 6062 - 6067 - 6081 B 6082 I 6083 D 6092 A 6104 G 6105 G 6107 E 6108 G
6109 G 6112 C 6115 A 6116 A 6118 C 6124 E 6149 A 6172 F 6194 A 6195 A 6222 J 6225 E 6231 F 6232 F 6261 D 6262 D 6296 -
6309 A 6313 H 6314 H 6317 B 6328 - 6329 A 6342 - 6344 E 6356 H 6366 - 6373 C 6374 C 6385 J 6386 J 6397 - 6398 D 6403 -
6405 H 6421 D 6425 B 6426 H 6429 B 6437 D 6443 - 6446 H 6447 H 6449 G 6450 E 6451 E 6453 - 6456 D 6458 E 6479 F 6480 F
6485 H 6493 D 6494 D 6495 A 6501 B 6502 B 6541 C 6543 - 6548 F 6549 F 6557 I 6558 I 6561 F 6566 F 6567 D 6568 C 6592 F
6603 J 6606 I 6615 D 6632 C 6661 I 6669 G 6670 G 6672 D 6673 D 6674 C 6675 C 6677 J 6678 J 6684 C 6685 B 6686 B 6701 -
6702 - 6710 - 6741 D 6745 D 6748 C 6751 E 6752 E 6788 - 6789 H 6790 F 6791 F 6815 J 6819 F
"""
MIXTRAL_WITHOUT_PRED = """
6052 A 6104 - 6105 - 6186 - 6373 - 6374 - 6501 - 6502 - 6509 - 6542 - 6546 - 6547 - 6608 A 6613 J 6741 -
"""
# Where a person disagrees with the upstream regular expression that did find a letter: the answer names several
# options, or repeats itself until it is cut off, or settles on another one at its end.
ANOTHER_OPTION = {
    "Meta-Llama-3_1-70B-Instruct": {},
    "Mixtral-8x7B-Instruct-v0.1": {},
    "Qwen1.5-7B-Chat": {"6017": "J", "6481": "J", "6533": "F"},
}
KNOWN_GAP = {(MODELS[1], "6467")}  # Mixtral labels statements one by one, "the answer is (G) is false", and is cut off
GIVEN_UP = {"6437": "-"}  # concludes in Chinese


def read_by_hand(table):
    words = table.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def asked(identifier, stem, options, gold):
    return Question(str(identifier), "real", "", stem, tuple(options), gold, None, "real")


def letter(found):
    return "-" if found.choice is None else "ABCDEFGHIJ"[found.choice]


@pytest.fixture(scope="module")
def mmlu_pro(real_data):
    """Model -> list of (row, question) of MMLU-Pro health."""

    def load(model):
        path = real_data / "mmlu_pro_health_outputs" / f"{model}_5shots.jsonl.gz"
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return [(row, asked(row["question_id"], row["question"], row["options"], row["answer_index"])) for row in rows]

    return {model: load(model) for model in MODELS}


@pytest.fixture(scope="module")
def mirage(real_data):
    """List of (row, question) of the four MIRAGE files."""
    found = []
    for name in ("medqa", "medmcqa", "mmlu", "pubmedqa"):
        with gzip.open(real_data / "mirage_cot_outputs" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                gold = "ABCD".index(row["gold"])
                found.append((row, asked(row["qid"], row["question"], row["options"].values(), gold)))
    return found


@pytest.mark.parametrize(
    ("model", "table", "plain"),
    [("Qwen1.5-7B-Chat", QWEN_WITHOUT_PRED, 99), ("Mixtral-8x7B-Instruct-v0.1", MIXTRAL_WITHOUT_PRED, 3)],
)
def test_rows_that_the_upstream_expression_missed(mmlu_pro, model, table, plain):
    truth = read_by_hand(table)
    rows = [(row, question) for row, question in mmlu_pro[model] if row["pred"] is None]
    assert {question.id for _, question in rows} == set(truth)
    found = {question.id: letter(lenient(row["raw_output"], question)) for row, question in rows}
    assert found == truth | {name: choice for name, choice in GIVEN_UP.items() if name in truth}
    assert sum(choice != "-" for choice in truth.values()) == plain
    for row, question in rows:  # strict reads fewer, none of them wrongly
        assert letter(strict(row["raw_output"], question)) in ("-", truth[question.id])


@pytest.mark.parametrize("model", MODELS)
def test_where_the_upstream_expression_found_a_letter(mmlu_pro, model):
    agree, other, none = 0, {}, Counter()
    for row, question in mmlu_pro[model]:
        if row["pred"] is None or (model, question.id) in KNOWN_GAP:
            continue
        found = lenient(row["raw_output"], question)
        if letter(found) == row["pred"]:
            agree += 1
        elif found.choice is None:
            none[found.how] += 1
        else:
            other[question.id] = letter(found)
    assert other == ANOTHER_OPTION[model]
    assert agree >= {MODELS[0]: 507, MODELS[1]: 481, MODELS[2]: 363}[model]
    assert sum(none.values()) <= {MODELS[0]: 10, MODELS[1]: 21, MODELS[2]: 36}[model]
    assert none[SEVERAL] >= {MODELS[0]: 2, MODELS[1]: 18, MODELS[2]: 30}[model]


def test_the_biased_reader_flatters_the_weakest_model_most(mmlu_pro):
    gain = {}
    for model, rows in mmlu_pro.items():
        right = {
            name: sum(READERS[name](row["raw_output"], question).choice == question.gold for row, question in rows)
            for name in ("lenient", "first_or_last")
        }
        gain[model] = 100 * (right["first_or_last"] - right["lenient"]) / len(rows)
    assert gain["Meta-Llama-3_1-70B-Instruct"] < 1
    assert gain["Qwen1.5-7B-Chat"] > 4


def test_json_answers(mirage):
    """Every letter, alone or with its text, is read as such; the exceptions are named one by one."""
    exceptions = Counter()
    for row, question in mirage:
        value = row["json_answer_choice"]
        named = re.match(r"([A-J])(?:[.:)]\s|$)", value) if isinstance(value, str) else None
        if named is None:
            continue
        found = lenient(row["raw_output"], question)
        if letter(found) != named[1]:
            assert found.choice is None, value
            exceptions[found.how] += 1
    # "A. x or B. y" (7), "E. something" with four options (4), "D. None of the above" where D is another option (1)
    assert exceptions == {SEVERAL: 5, NOT_OFFERED: 3, NO_OPTION: 1, CLASH: 1}


def test_answers_without_a_letter_in_their_json(mirage):
    read = {}
    for row, question in mirage:
        value = row["json_answer_choice"]
        if isinstance(value, str) and re.match(r"([A-J])(?:[.:)]\s|$)", value):
            continue
        found = lenient(row["raw_output"], question)
        if found.choice is not None:
            read[question.id] = found.how
    # broken JSON that still shows its field, and three that say their choice in the reasoning alone
    assert Counter(read.values()) == {"json": 11, "stated": 2, "text": 1}


def test_filters_and_empty_outputs_are_no_answers(mirage):
    hows = Counter()
    for row, question in mirage:
        found = lenient(row["raw_output"], question)
        if not row["raw_output"]:
            assert found.how == EMPTY
        if "filtered due to" in row["raw_output"]:
            assert found.how == FILTERED
        assert found.choice is not None or found.how in REASONS
        hows[found.how] += found.choice is None
    assert (hows[EMPTY], hows[FILTERED]) == (12, 3)
    assert hows[NONE_FITS] >= 40
