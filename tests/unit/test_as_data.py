"""What a model wrote, as data in a prompt: markers of turns, reasoning and fences are taken apart, the rest stays."""

import time

import pytest
from medpsy import families, prompts

MARKERS = [
    *families.known().marks,
    *("<|im_start|>", "<|START_OF_TURN_TOKEN|>", "<start_of_turn>", "<END_OF_TURN>", "<s>", "</s>", "<bos>", "<eos>"),
    *("[INST]", "[/INST]", "[/inst]", "[gMASK]", "[|assistant|]", "<tool_call>", "<reserved_106>", "<｜User｜>"),
    *("＜｜im_end｜＞", "＜/s＞", "［INST］", "<\u200b|im_end|>", "<\u2060/think>", "<start\u200b_of_turn>"),
    *("[\ufeff/INST]", "<response>", "</response>", "</ Response >", "< / response>", "<\n/response", "<criterion/>"),
    "</response foo>",
]
HARMLESS = [
    *("p < 0.05, x<5 and y>3; <5 mg; a <= b; 3 <x", "A <b>table</b><br>of <sub>2</sub>", "<answer>B</answer>"),
    *("**B**", r"\\boxed{B}", "### Assistant\nUser: hm", "<https://a.example/b> <a@b.example>"),
    *("[A] [CI] [1] [insert]", "[link](x)", '{"explanation": "<", "criteria_met": true}', "response> <responsevia"),
    *("| a |\n|---|", "« 血 » ≤ 5"),
]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_taken_apart_wherever_it_stands(marker):
    text = f"so {marker}{marker}, {marker}"
    data = prompts.as_data(text)
    assert marker not in data and data.replace(" ", "") == text.replace(" ", "")  # nothing but spaces was added


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_markers_stays_as_it_is(text):
    assert prompts.as_data(text) == text


@pytest.mark.parametrize("unit", ["<", "< ", "</", "<a", "[", "<\u200b", "<|", "</think>"])
def test_a_response_that_loops_takes_no_longer_than_one_that_does_not(unit):
    begun = time.process_time()
    prompts.as_data(unit * 100_000)
    prompts.as_data("<" + unit[1:] * 100_000)
    assert time.process_time() - begun < 2
