"""Where reasoning ends: the last end marker, and never at a token limit."""

import pytest
from medpsy import families
from medpsy.grading.reasoning import split


def parts(text, opens_thinking=False, finish_reason="stop"):
    found = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
    return found.answer, found.state


@pytest.mark.parametrize(
    ("text", "opens_thinking", "finish_reason", "answer", "state"),
    [
        # the model writes both markers, or only the last one because the template wrote the first
        ("<think>Maybe B.</think>\n\nThe answer is C.", False, "stop", "The answer is C.", "answer"),
        ("Maybe B.</think>The answer is C.", True, "stop", "The answer is C.", "answer"),
        ("Maybe B.</think>The answer is C.", False, "stop", "The answer is C.", "answer"),
        # the last end marker counts
        ("<think>a</think> B <think>no</think> C", False, "stop", "C", "answer"),
        ("a</think>b</think>c", True, "stop", "c", "answer"),
        # cut off: reasoning never ended, whatever it says
        ("<think>The answer is B. But", False, "length", None, "cut off"),
        ("The answer is B. But", True, "length", None, "cut off"),
        ("The answer is B. But", False, "length", None, "cut off"),
        ("", False, "length", None, "cut off"),
        ("<think>x</think>", False, "length", None, "cut off"),
        ("<think>x</think>  \n", False, "length", None, "cut off"),
        # an answer that ran into the limit after its reasoning is still an answer, to be read
        ("<think>x</think>The answer is B. Because", False, "length", "The answer is B. Because", "answer"),
        # finished without an end of reasoning
        ("<think>The answer is B.", False, "stop", None, "unreadable"),
        ("The answer is B.", True, "stop", None, "unreadable"),
        ("The answer is B. <think>Or C", False, "stop", None, "unreadable"),
        # nothing after the reasoning
        ("<think>The answer is B.</think>", False, "stop", None, "unreadable"),
        ("<think>x</think> \n<|im_end|>\n", False, "stop", None, "unreadable"),
        ("", False, "stop", None, "unreadable"),
        # a second block of reasoning that never ended
        ("<think>a</think>B<think>hm, C", False, "stop", None, "unreadable"),
        ("<think>a</think>B<think>hm, C", False, "length", None, "cut off"),
        # no thinking at all
        ("The answer is B.", False, "stop", "The answer is B.", "answer"),
        ("The answer is B.", False, None, "The answer is B.", "answer"),
        ("<think>x", False, None, None, "unreadable"),
        # the empty block of a template with thinking switched off
        ("<think>\n\n</think>\n\nB", False, "stop", "B", "answer"),
        # end-of-turn tokens that a server left in the text
        ("B<|im_end|>", False, "stop", "B", "answer"),
        ("B <|eot_id|></s>\n", False, "stop", "B", "answer"),
    ],
)
def test_split(text, opens_thinking, finish_reason, answer, state):
    assert parts(text, opens_thinking, finish_reason) == (answer, state)


def test_everything_before_the_last_marker_is_reasoning():
    found = split("one</think>two</think>three", opens_thinking=True, finish_reason="stop")
    assert (found.reasoning, found.answer) == ("one</think>two", "three")


def test_reasoning_that_never_ended_is_kept_whole():
    found = split("<think>one two", opens_thinking=False, finish_reason="length")
    assert found.reasoning == "<think>one two"


@pytest.mark.parametrize("name", families.known().markers)
def test_every_family_of_markers(name):
    markers = families.known().markers[name]
    for opens in markers.opens:
        for closes in markers.closes:
            assert parts(f"{opens}Perhaps A.{closes}B") == ("B", "answer")
        assert parts(f"{opens}Perhaps A.") == (None, "unreadable")
        assert parts(f"{opens}Perhaps A.", finish_reason="length") == (None, "cut off")


ANALYSIS = "<|channel|>analysis<|message|>A? B?"
NEXT = "<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>The answer is B."
PREAMBLE = "<|channel|>commentary<|message|>I look it up."
CALL = '<|channel|>commentary to=functions.find <|constrain|>json<|message|>{"drug": "B"}<|call|>'


@pytest.mark.parametrize(
    ("text", "finish_reason", "answer", "state"),
    [
        (f"{ANALYSIS}{NEXT}{FINAL}<|return|>", "stop", "The answer is B.", "answer"),
        (FINAL, "stop", "The answer is B.", "answer"),
        (f"{FINAL}<|end|>", "stop", "The answer is B.", "answer"),
        (f"{ANALYSIS}{NEXT}{PREAMBLE}{NEXT}{ANALYSIS}{NEXT}{FINAL}", "stop", "The answer is B.", "answer"),
        (f'{ANALYSIS}{NEXT}<|channel|>final <|constrain|>json<|message|>{{"a": 1}}', "stop", '{"a": 1}', "answer"),
        ("analysisA? B?assistantfinalThe answer is B.", "stop", "The answer is B.", "answer"),  # no special tokens
        # a final answer that the limit cut is still one, to be read
        (f"{ANALYSIS}{NEXT}{FINAL[:-3]}", "length", "The answer is", "answer"),
        # reasoning alone, a call of a tool, a word to the user before it, a header that is none: no answer
        (ANALYSIS, "length", None, "cut off"),
        (ANALYSIS, "stop", None, "unreadable"),
        (f"{ANALYSIS}{NEXT}", "length", None, "cut off"),
        (f"{ANALYSIS}{NEXT}{CALL}", "stop", None, "unreadable"),
        (f"{PREAMBLE}{NEXT}{CALL}", "stop", None, "unreadable"),
        (f" to=functions.find{CALL}", "stop", None, "unreadable"),
        ("<|channel|>commentary 2?<|message|>The answer is B.", "stop", None, "unreadable"),
        (f"{FINAL}{NEXT}{ANALYSIS}", "stop", None, "unreadable"),
    ],
)
def test_channels_of_gpt_oss(text, finish_reason, answer, state):
    assert parts(text, finish_reason=finish_reason) == (answer, state)


def test_reasoning_of_gpt_oss_is_counted_without_what_closes_it():
    found = split(f"{ANALYSIS}{NEXT}{FINAL}", opens_thinking=False, finish_reason="stop")
    assert found.reasoning == ANALYSIS
    assert split(FINAL, opens_thinking=False, finish_reason="stop").reasoning == ""
