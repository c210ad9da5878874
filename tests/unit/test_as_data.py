"""What a model wrote, as data in a prompt: markers of turns, reasoning and fences are taken apart, the rest stays."""

import time

import pytest
from case_rows import rows
from medpsy import families, prompts

CASES = {row["family"]: row for row in rows("markers")}
MARKERS = {*families.known().marks, *(marker for case in CASES.values() for marker in case.get("markers", ()))}


@pytest.mark.parametrize("marker", sorted(MARKERS))
def test_a_marker_is_taken_apart_wherever_it_stands(marker):
    text = f"so {marker}{marker}, {marker}"
    data = prompts.as_data(text)
    assert marker not in data and data.replace(" ", "") == text.replace(" ", "")  # nothing but spaces was added


@pytest.mark.parametrize("text", CASES["none"]["harmless"])
def test_a_text_without_markers_stays_as_it_is(text):
    assert prompts.as_data(text) == text


@pytest.mark.parametrize("unit", ["<", "< ", "</", "<a", "[", "<\u200b", "<|", "</think>"])
def test_a_response_that_loops_takes_no_longer_than_one_that_does_not(unit):
    begun = time.process_time()
    prompts.as_data(unit * 100_000)
    prompts.as_data("<" + unit[1:] * 100_000)
    assert time.process_time() - begun < 2
