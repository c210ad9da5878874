"""The readers on real model outputs, against what a person read in them.

``read_by_hand.jsonl`` is our own reading of every row in which the upstream regular expression found no letter; "-"
marks the rows in which the model names several options or none, or contradicts itself.
"""

import gzip
import json
import re
from collections import Counter

import pytest
from case_rows import cases
from medpsy.data.questions import Question
from medpsy.grading.readers import CLASH, EMPTY, FILTERED, NO_OPTION, NONE_FITS, NOT_OFFERED, READERS, REASONS, SEVERAL

lenient, strict = READERS["lenient"], READERS["strict"]
MODELS = ("Meta-Llama-3_1-70B-Instruct", "Mixtral-8x7B-Instruct-v0.1", "Qwen1.5-7B-Chat")
# Where a person disagrees with the upstream regular expression that did find a letter: the answer names several
# options, or repeats itself until it is cut off, or settles on another one at its end.
ANOTHER_OPTION = {
    "Meta-Llama-3_1-70B-Instruct": {},
    "Mixtral-8x7B-Instruct-v0.1": {},
    "Qwen1.5-7B-Chat": {"6017": "J", "6481": "J", "6533": "F"},
}
KNOWN_GAP = {(MODELS[1], "6467")}  # Mixtral labels statements one by one, "the answer is (G) is false", and is cut off
GIVEN_UP = {"6437": "-"}  # concludes in Chinese


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


@pytest.mark.parametrize(("model", "truth", "plain"), cases("read_by_hand", "name", "letters", "plain"))
def test_rows_that_the_upstream_expression_missed(mmlu_pro, model, truth, plain):
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


def test_json_answers_filters_and_empty_outputs(mirage):
    """Every letter, alone or with its text, is read as such; the exceptions are named one by one."""
    exceptions, unnamed, hows = Counter(), Counter(), Counter()
    for row, question in mirage:
        value, found = row["json_answer_choice"], lenient(row["raw_output"], question)
        named = re.match(r"([A-J])(?:[.:)]\s|$)", value) if isinstance(value, str) else None
        if named and letter(found) != named[1]:
            assert found.choice is None, value
            exceptions[found.how] += 1
        unnamed[found.how] += named is None and found.choice is not None
        assert row["raw_output"] or found.how == EMPTY
        assert "filtered due to" not in row["raw_output"] or found.how == FILTERED
        assert found.choice is not None or found.how in REASONS
        hows[found.how] += found.choice is None
    # "A. x or B. y" (7), "E. something" with four options (4), "D. None of the above" where D is another option (1)
    assert exceptions == {SEVERAL: 5, NOT_OFFERED: 3, NO_OPTION: 1, CLASH: 1}
    # broken JSON that still shows its field, and three that say their choice in the reasoning alone
    assert +unnamed == {"json": 11, "stated": 2, "text": 1}
    assert (hows[EMPTY], hows[FILTERED]) == (12, 3)
    assert hows[NONE_FITS] >= 40
