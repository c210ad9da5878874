"""What the readers find in answers and in the parser's replies, of every odd shape met; a new one becomes one line."""

import time

import pytest
from case_rows import cases, rows
from medpsy import families
from medpsy.data.questions import Question
from medpsy.grading import readers as reading
from medpsy.grading.readers import BIASED, READERS, Reading, lenient, needs_model, read_reply, split, strict


def asked(*options, stem="Which of these is it?", gold=0):
    return Question("q", "own", "", stem, options, gold, None, "own")


ONE_TO_TEN = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DRUGS = asked("Zorvamab", "Quintolex", "Pelidrine", "Mirocaine")
TEN = asked(*(f"Finding {word}" for word in ONE_TO_TEN))


def letter(found):
    return None if found.choice is None else "ABCDEFGHIJ"[found.choice]


@pytest.mark.parametrize("row", cases("readings"))
def test_lenient_reads_or_says_why_not_and_strict_reads_the_same_or_nothing(row):
    question = asked(*row["options"])
    found = lenient(row["text"], question)
    assert (letter(found), found.how) == (row["expected"], row.get("reason", found.how))
    assert letter(strict(row["text"], question)) in (row["expected"], None)


@pytest.mark.parametrize(("text", "reason"), cases("strict_refusals", "text", "reason"))
def test_strict_refuses_what_lenient_reads(text, reason):
    assert strict(text, DRUGS) == Reading(None, reason)
    assert letter(lenient(text, DRUGS)) == "D"


# A reward must not pay for naming several options, however they are joined.
@pytest.mark.parametrize(
    "joint", ["; ", " ", "/", "|", " - ", " → ", "~", ". ", " or ", ", ", "\n", ")(", "** **", "\nAnswer: "]
)
@pytest.mark.parametrize(
    "frame", ["{}", "({})", "**{}**", "Answer: {}", r"\boxed{{{}}}", '{{"answer": "{}"}}', "The answer is {}."]
)
def test_strict_reads_no_choice_among_several(frame, joint):
    for letters in (("A", "C"), ("B", "D", "A")):
        assert strict(frame.format(joint.join(letters)), DRUGS).choice is None


@pytest.mark.parametrize("row", cases("answers"))
def test_cases_of_public_reports(row):
    question = asked(*row["options"], stem=row["question"])
    parts = split(row["text"], opens_thinking=row["opens_thinking"], finish_reason=row["finish_reason"])
    found = {name: letter(READERS[name](parts.answer, question)) if parts.answer else None for name in READERS}
    for name in row["readers"]:
        assert found[name] == row["expected"]
    assert found["strict"] in (row["expected"], None)  # where the row does not ask for it either


@pytest.mark.parametrize("row", cases("answers_from_outputs"))
def test_cases_of_real_outputs(row):
    question = asked(*row["options"])
    assert letter(READERS[row["reader"]](row["text"], question)) == row["expected"]
    assert letter(strict(row["text"], question)) in (row["expected"], None)


@pytest.mark.parametrize("row", cases("loops"))
def test_cases_of_responses_that_loop(row):
    text = row["unit"] * row["times"]
    words = ("Some other drug may help. " * len(text))[: len(text)]

    def seconds(answer):
        started = time.process_time()
        assert [reader(answer, DRUGS).choice for reader in readers] == [None] * len(readers)
        return time.process_time() - started

    readers = [READERS[name] for name in row["readers"]]
    allowed = row["expected"]["at_most_times_as_long_as_words"] * max(seconds(words), 0.01)
    assert min(seconds(text) for _ in range(2)) <= allowed


@pytest.mark.parametrize("row", cases("letters_in_answers"))
def test_first_and_last_letter(row):
    question = asked(*row["options"])
    assert letter(READERS["first_letter"](row["text"], question)) == row["first"]
    assert letter(READERS["last_letter"](row["text"], question)) == row["last"]


def test_only_the_biased_reader_sees_the_gold_and_takes_whichever_is_right():
    keys = [asked(*DRUGS.options, gold=gold) for gold in (0, 1, 2, 3, None)]
    for name, reader in READERS.items():
        found = [letter(reader("It is (A), or perhaps (D).", question)) for question in keys]
        assert found == ["A", "A", "A", "D", "A"] if name in BIASED else len(set(found)) == 1


@pytest.mark.parametrize(
    "text",
    [
        *((unit * (100_000 // len(unit)))[:100_000] for unit in (row["unit"] for row in rows("hostile_units"))),
        *(f'"answer"{start}{unit * 100_000}' for start, unit in ((': "', "\\"), (': "', "a"), ("", " "))),
    ],
)
def test_hostile_texts_cost_linear_time(text):
    started = time.process_time()
    lenient(text, TEN)  # finds all that `strict` looks at
    assert time.process_time() - started < 10  # under 1 s on an idle machine; a quadratic pattern takes minutes


@pytest.mark.parametrize("row", cases("parser_replies"))
def test_a_reply_is_an_option_several_none_or_unreadable_as_the_options_are(row):
    assert read_reply(row["reply"], asked(*row.get("options", DRUGS.options))) == Reading(row["choice"], row["how"])


def test_the_model_sees_only_what_the_rule_could_not_read():
    hows = {reading.SEVERAL: True, reading.NO_OPTION: True, reading.EMPTY: False, reading.FILTERED: False}
    assert {how: needs_model(Reading(None, how)) for how in hows} == hows and not needs_model(Reading(1, "stated"))


# --- where reasoning ends: the last end marker, and never at a token limit


def parts(text, opens_thinking=False, finish_reason="stop"):
    found = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
    return found.answer, found.state


@pytest.mark.parametrize("row", [*cases("splits"), *cases("reasoning_before_answers")])
def test_split(row):
    found = split(row["text"], opens_thinking=row.get("opens_thinking", False), finish_reason=row["finish_reason"])
    assert vars(found) == vars(found) | {name: row[name] for name in ("reasoning", "answer", "state") if name in row}


@pytest.mark.parametrize("name", families.known().markers)
def test_every_family_of_markers(name):
    markers = families.known().markers[name]
    for opens in markers.opens:
        for closes in markers.closes:
            assert parts(f"{opens}Perhaps A.{closes}B") == ("B", "answer")
        assert parts(f"{opens}Perhaps A.") == (None, "unreadable")
        assert parts(f"{opens}Perhaps A.", finish_reason="length") == (None, "cut off")


@pytest.mark.parametrize("end", (*families.known().ends, *families.known().trailing))
def test_a_response_ends_with_its_turn(end):
    text = f"<think>A?</think>B{end}\nuser\nAnd now?{end}\nassistant\n<think>No.</think>C{end}"
    assert parts(text) == ("B", "answer")
