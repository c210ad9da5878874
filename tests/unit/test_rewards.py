"""What a response earns: the four conditions of the report, and every odd response met so far."""

import pytest
from case_rows import cases
from medpsy.data.questions import Question
from medpsy.training.rewards import NOTHING, grade, reward_functions

QUESTION = Question("1", "alphamed", "", "Which drug?", ("lorin", "mazel", "pendra", "quist"), 1, None, "alphamed")
T = "I recall that mazel fits, so B."


@pytest.mark.parametrize(("text", "opens_thinking", "want"), cases("rewards", "text", "opens_thinking", "want"))
def test_a_response_earns_what_the_table_says(text, opens_thinking, want):
    assert grade(text, QUESTION, opens_thinking=opens_thinking, finished=True).value == want


@pytest.mark.parametrize("opens", [True, False])
def test_a_response_that_was_cut_off_earns_nothing_even_with_an_answer(opens):
    got = grade(f"<think>{T}</think> The answer is B.", QUESTION, opens_thinking=opens, finished=False)
    assert (got.value, got.right, got.how) == (NOTHING, False, "cut off")


def test_a_reward_says_what_was_chosen_and_why_nothing_was():
    right = grade(f"{T}</think> The answer is B.", QUESTION, opens_thinking=True, finished=True)
    assert (right.right, right.reasoned, right.chosen, right.how) == (True, True, 1, "stated")
    endless = grade(T, QUESTION, opens_thinking=True, finished=True)
    assert (endless.reasoned, endless.chosen, endless.how) == (False, None, "reasoning without an end")


def test_a_question_without_gold_is_refused():
    open_question = Question("2", "alphamed", "", "Which?", ("x", "y"), None, None, "alphamed")
    with pytest.raises(ValueError, match="alphamed/2: no gold"):
        grade("The answer is A.", open_question, opens_thinking=False, finished=True)


TEXTS = {1: f"{T}</think> The answer is B.", 2: f"{T}</think> The answer is C.", 3: "mumble"}
END = 0


def test_reward_functions_keep_the_contract_of_trl():
    def read(ids):
        return "".join(TEXTS[token] for token in ids if token != END), END in ids

    answer, accuracy = reward_functions({"q": QUESTION}, read, opens_thinking=True)
    ids = [[1, END], [2, END], [3, END], [1]]
    columns = {"prompts": [""] * 4, "completions": [""] * 4, "completion_ids": ids, "question_id": ["q"] * 4}
    metrics = {}
    assert answer(**columns, trainer_state=None, log_metric=metrics.__setitem__) == [1.0, 0.1, 0.0, 0.0]
    assert accuracy(**columns, trainer_state=None) == [1.0, 0.0, 0.0, 0.0]
    assert (answer.__name__, accuracy.__name__) == ("answer_reward", "accuracy")
    assert metrics == {
        "tier/right, with reasoning": 0.25,
        "tier/right, without reasoning": 0.0,
        "tier/wrong, with reasoning": 0.25,
        "tier/no valid structure": 0.5,
    }
