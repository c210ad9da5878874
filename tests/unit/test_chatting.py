"""A talk with one model: reasoning told from answer while it comes, turns remembered, the notice first."""

import io
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from medpsy import chatting, exported, partners, study
from medpsy.chat_parts import UNANSWERED, Part, parts, show
from medpsy.chatting import Conversation
from medpsy.engines import endpoint
from medpsy.engines.base import PromptTooLong, Sampling
from medpsy.generation import REPLAY
from medpsy.partners import FICTION, NOTICE, Partner
from medpsy.study import ModelSpec

SAMPLING = Sampling(max_tokens=8)


class Loaded:
    """Answers with the pieces it is given, turn by turn; refuses more than `room` messages."""

    def __init__(self, *answers, room=99):
        self.answers, self.room, self.asked = list(answers), room, []

    def stream(self, prompt, sampling):
        if len(prompt.messages) > self.room:
            raise PromptTooLong("too long")
        self.asked.append([message["content"] for message in prompt.messages])
        return iter(self.answers.pop(0))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def partner(**more):
    return Partner(ModelSpec("tiny", "models/tiny", **more), SAMPLING, fiction=False)


ANALYSIS, FINAL = "<|channel|>analysis<|message|>A? B?", "<|channel|>final<|message|>B."


def joined(response):
    found = list(response)
    reasoning = "".join(part.text for part in found if part.thinking)
    return reasoning, "".join(part.text for part in found if not part.thinking)


@pytest.mark.parametrize(
    ("text", "opens", "want"),
    [
        ("A.", False, ("", "A.")),
        ("<think>\nhm\n</think>\n\nA.", False, ("hm\n", "A.")),
        ("hm</think>A.", True, ("hm", "A.")),
        ("<think>\nhm</think>A.", True, ("hm", "A.")),  # a server writes what the template wrote already
        ("never ends", True, ("never ends", "")),
        ("a < b <th", False, ("", "a < b <th")),
        ("A. <think> is a tag", False, ("", "A. <think> is a tag")),  # reasoning comes first or not at all
        ("", False, ("", "")),
        # gpt-oss: channels, some of whose markers begin alike
        (f"{ANALYSIS}<|end|><|start|>assistant{FINAL}", False, ("A? B?", "B.")),
        (FINAL, False, ("", "B.")),
        (ANALYSIS, False, ("A? B?", "")),
    ],
)
def test_reasoning_and_answer_are_told_apart_however_the_text_is_cut(text, opens, want):
    for size in (1, 2, 3, 7, 99):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert joined(parts(pieces, opens)) == want


def test_text_is_passed_on_before_the_response_ends():
    coming = parts(iter(["Take ", "a <", "walk"]), False)
    assert next(coming) == Part(False, "Take ")
    assert next(coming) == Part(False, "a <")  # reasoning comes first or not at all: this is no marker
    reasoning = parts(iter(["hm </thi", "s"]), True)
    assert [next(reasoning), next(reasoning)] == [Part(True, "hm "), Part(True, "</this")]


def test_reasoning_is_marked_in_a_pipe_faint_on_a_terminal_and_hidden_on_request():
    response = [Part(True, "hm"), Part(False, "A.")]
    pipe, terminal, hidden = io.StringIO(), Terminal(), io.StringIO()
    show(response, pipe)
    show(response, terminal)
    show(response, hidden, hide_thinking=True)
    assert pipe.getvalue() == "<think>\nhm\n</think>\nA.\n"
    assert terminal.getvalue() == "\033[2mhm\033[0m\nA.\n"
    assert hidden.getvalue() == "A.\n"


def test_a_models_text_cannot_steer_the_terminal():
    out = Terminal()
    show([Part(False, "a\x1b[2J\x07b\tc\nd\r")], out)
    assert out.getvalue() == "a[2Jb\tc\nd\n"


def test_a_response_without_an_answer_is_said_to_have_none():
    out = io.StringIO()
    show([Part(True, "hm")], out, hide_thinking=True)
    assert UNANSWERED in out.getvalue()


def test_answers_are_remembered_without_their_reasoning():
    loaded = Loaded(["<think>hm</think>", "\n\nA", "."], ["B."])
    conversation = Conversation(partner(), loaded, system="Be short.")
    list(conversation.say("one"))
    list(conversation.say("two"))
    assert loaded.asked == [["Be short.", "one"], ["Be short.", "one", "A.", "two"]]
    assert conversation.answer == "B."


def test_the_oldest_turns_go_where_the_context_is_full():
    loaded = Loaded(["A"], ["B"], ["C"], room=4)
    conversation = Conversation(partner(), loaded, system="S")
    for text in ("one", "two", "three"):
        list(conversation.say(text))
    assert loaded.asked == [["S", "one"], ["S", "one", "A", "two"], ["S", "two", "B", "three"]]


def test_a_line_that_does_not_fit_is_passed_over(capsys):
    loaded, out = Loaded(["A"], room=0), io.StringIO()
    chatting.talk(Conversation(partner(), loaded), ["far too long"], out)
    loaded.room = 1
    chatting.talk(Conversation(partner(), loaded), ["\n", "short\n"], out)
    assert "too long" in capsys.readouterr().err and out.getvalue().endswith("A\n") and loaded.asked == [["short"]]


def test_ctrl_c_stops_an_answer_and_not_the_talk():
    closed = []

    def interrupted():
        try:
            yield "Take a"
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    loaded, out = Loaded(interrupted(), ["B"]), io.StringIO()
    chatting.talk(Conversation(partner(), loaded), ["one", "two"], out)
    assert out.getvalue() == "Take a\n(stopped)\nB\n" and closed
    assert loaded.asked[1] == ["one", "Take a", "two"]


def test_a_cell_prints_the_notice_first_and_returns_the_answer(capsys, monkeypatch):
    fictional = Partner(ModelSpec("tiny", "x", opens_thinking=True), SAMPLING, fiction=True)
    monkeypatch.setattr(Partner, "load", lambda self: nullcontext(Loaded([f"{self.sampling.max_tokens}</think>", "A"])))
    monkeypatch.setattr(partners, "find", lambda *_: fictional)
    assert chatting.ask(None, "tiny", "why?", max_tokens=3) == "A"
    assert capsys.readouterr().out == f"tiny: {NOTICE} {FICTION}\n<think>\n3\n</think>\nA\n"


def test_a_replay_asks_no_model(capsys, monkeypatch):
    monkeypatch.setenv(REPLAY, "1")
    assert chatting.ask(study.load("mini"), "large-rl2", "why?") == ""
    assert "replay" in capsys.readouterr().out


def test_a_model_of_the_study_brings_its_sampling_and_its_medicine():
    found = partners.find("qwen3-large", lambda: study.load("mini"))
    assert found.fiction and found.model.opens_thinking and found.sampling == study.load("mini").open_sampling
    assert found.gguf and not partners.find("qwen3-large", lambda: study.load("smoke")).gguf
    real = partners.find("medpsy-4b", lambda: study.load("review"))
    assert FICTION not in real.notice and NOTICE in real.notice


def test_a_gguf_file_is_talked_to_whatever_engine_the_study_has(tmp_path):
    (tmp_path / "a.gguf").touch()
    smoke = study.load("smoke")
    mine = replace(smoke, models={**smoke.models, "file": study.ModelSpec("file", str(tmp_path))})
    assert partners.find("file", lambda: mine).gguf


def test_an_exported_folder_is_found_without_a_study(tmp_path):
    one = exported.Exported("large-rl2", "mini", "Q8_0", "a.gguf", True, "f" * 64, SAMPLING, opens_thinking=True)
    exported.write(tmp_path, one)
    with pytest.raises(FileNotFoundError, match="'a.gguf' is not in the folder"):
        partners.find(tmp_path, pytest.fail)
    (tmp_path / "a.gguf").touch()
    assert exported.read(tmp_path) == one
    found = partners.find(tmp_path, pytest.fail)
    assert found.model.name == "large-rl2-Q8_0" and found.gguf() == tmp_path.resolve() / "a.gguf"


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no medpsy.json"):
        partners.find(tmp_path, pytest.fail)


@pytest.mark.parametrize(
    ("deltas", "want"),
    [
        ([("A", {}), (".", {})], "A."),
        ([(None, {"reasoning_content": "h"}), ("", {"reasoning_content": "m"}), ("A", {})], "<think>\nhm\n</think>\nA"),
        ([(None, {"reasoning": "hm"})], "<think>\nhm"),  # cut off while reasoning: not closed
        ([("A", {"reasoning": "hm"}), ("B", {})], "<think>\nhm\n</think>\nAB"),
    ],
)
def test_reasoning_that_a_server_parsed_out_is_put_back(deltas, want):
    chunks = [
        SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=content, model_extra=more))])
        for content, more in deltas
    ]
    assert "".join(endpoint.pieces([*chunks, SimpleNamespace(choices=[])])) == want
