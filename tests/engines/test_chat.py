"""From conversations to token ids and back."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from medpsy import families
from medpsy.engines import Prompt, PromptTooLong, Sampling
from medpsy.engines.chat import CHUNK, Chat, Encoded
from medpsy.training.examples import Form
from tiny_models import SPECIALS, Spec

SAMPLING = Sampling(max_tokens=8)


@pytest.fixture(scope="module")
def chat(tiny: Spec) -> Chat:
    return Chat(tiny, tiny.folder)


def ask(text: str, name: str = "q") -> Prompt:
    return Prompt(name, ({"role": "user", "content": text},))


def ids(chat: Chat, *tokens: str) -> list[int]:
    return chat._tokenizer.convert_tokens_to_ids(list(tokens))


def test_prompts_are_the_chat_templates_tokens(chat: Chat) -> None:
    (found,) = chat.encode([ask("which drug")], SAMPLING)
    expected = chat._tokenizer.apply_chat_template(
        [{"role": "user", "content": "which drug"}], add_generation_prompt=True
    )
    assert list(found.tokens) == expected["input_ids"]


def test_switches_reach_the_chat_template(tiny: Spec) -> None:
    off = replace(tiny, chat_template_kwargs={"enable_thinking": False})
    plain, switched = (Chat(spec, tiny.folder).encode([ask("drug")], SAMPLING)[0].tokens for spec in (tiny, off))
    assert list(switched)[: len(plain)] == list(plain)
    assert len(switched) > len(plain)


def test_many_prompts_of_a_generator_keep_their_order(chat: Chat) -> None:
    count = 2 * CHUNK + 3
    found = chat.encode((ask("the " * (at % 5), str(at)) for at in range(count)), SAMPLING)
    assert [item.id for item in found] == [str(at) for at in range(count)]
    assert found[7].tokens == chat.encode([ask("the " * 2)], SAMPLING)[0].tokens
    assert found[0].tokens.itemsize == 4


def test_the_longest_prompt_is_named_and_those_that_do_not_fit_are_counted(tiny: Spec) -> None:
    chat = Chat(tiny, tiny.folder, context=60)
    fits = ask("drug", "fits")
    with pytest.raises(
        PromptTooLong, match=r"'longest' has \d+ tokens.*context holds 60 \(2 of 3 prompts do not fit\)"
    ):
        chat.encode([fits, ask("drug " * 60, "long"), ask("drug " * 90, "longest")], SAMPLING)
    assert len(chat.encode([fits], SAMPLING)) == 1


def test_the_smaller_of_two_limits_counts(tiny: Spec) -> None:
    assert Chat(tiny, tiny.folder).context == 512
    assert Chat(tiny, tiny.folder, context=9999).context == 512
    assert Chat(tiny, tiny.folder, context=99).context == 99


def test_messages_that_the_template_refuses_are_named(tiny: Spec, tmp_path: Path) -> None:
    folder = tmp_path / "strict"
    shutil.copytree(tiny.folder, folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(ValueError, match="'tiny': its chat template refuses prompt 'q': no system role"):
        Chat(tiny, folder).encode([ask("drug")], SAMPLING)


ASKS = "{{ strftime_now('%s') }} {{ messages[0].content }}"
DATED = {  # family -> a template that asks for the day as that of the family does, and what it then says
    "llama-3": ("{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
                "{{ date_string }} {{ messages[0].content }}", "26 Jul 2024"),
    "smollm3": (ASKS % "%d %B %Y", "26 July 2024"),
    "gpt-oss": (ASKS % "%Y-%m-%d", "2024-07-26"),
}  # fmt: skip


def with_template(tiny: Spec, folder: Path, template: str, **switches: str) -> Chat:
    shutil.copytree(tiny.folder, folder)
    (folder / "chat_template.jinja").write_text(template)
    return Chat(replace(tiny, chat_template_kwargs=switches), folder)


@pytest.mark.parametrize("family", DATED)
def test_a_prompt_does_not_change_with_the_calendar(tiny: Spec, tmp_path: Path, family: str) -> None:
    template, day = DATED[family]
    switches = families.of(None, family).switches
    chat = with_template(tiny, tmp_path / "dated", template, **switches)
    (found,) = chat.encode([ask("drug")], SAMPLING)
    assert chat._tokenizer.decode(found.tokens) == f"{day} drug"
    trained = Form(opens_thinking=False, end="<|im_end|>", switches=switches).prompt(
        chat._tokenizer, [{"role": "user", "content": "drug"}]
    )
    assert trained == f"{day} drug"  # a model is trained on the prompt that it is asked


@pytest.mark.parametrize(
    ("switches", "why"), [({}, "nobody names one"), ({"date_string": "today"}, "date_string is 'today'")]
)
def test_a_template_that_asks_for_a_day_that_nobody_names_is_refused(
    tiny: Spec, tmp_path: Path, switches: dict[str, str], why: str
) -> None:
    chat = with_template(tiny, tmp_path / "undated", ASKS % "%d %B %Y", **switches)
    with pytest.raises(ValueError, match=f"asks for today's date, and {why}; give the model chat_template_kwargs"):
        chat.encode([ask("drug")], SAMPLING)


@pytest.mark.parametrize(
    ("tokens", "text", "reason", "count"),
    [
        (["drug", "<|im_end|>"], "drug", "stop", 2),
        (["drug", "the"], "drugthe", "length", 2),
        (["<|im_end|>"], "", "stop", 1),
        (["drug", "<|endoftext|>", "the", "the"], "drug", "stop", 2),  # what comes after the end is no text
        (["<think>", "drug", "</think>", "Ġthe", "<|im_end|>"], "<think>drug</think> the", "stop", 5),
        (["drug", "<|im_start|>"], "drug<|im_start|>", "length", 2),  # a control token that ends nothing stays visible
        ([], "", "length", 0),
    ],
)
def test_tokens_become_a_response(chat: Chat, tokens: list[str], text: str, reason: str, count: int) -> None:
    found = chat.response(Encoded("q", [1, 2, 3]), ids(chat, *tokens), 0.5)
    assert (found.prompt_id, found.text, found.finish_reason, found.seconds) == ("q", text, reason, 0.5)
    assert (found.prompt_tokens, found.completion_tokens) == (3, count)


def test_an_engine_may_know_an_end_that_we_do_not(chat: Chat) -> None:
    found = chat.response(Encoded("q", []), ids(chat, "drug", "the"), 0.5, stopped=True)
    assert (found.text, found.finish_reason, found.completion_tokens) == ("drug", "stop", 2)


def test_every_end_that_the_files_name_is_an_end(tiny: Spec, tmp_path: Path) -> None:
    folder = tmp_path / "ends"
    shutil.copytree(tiny.folder, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 9}))
    chat = Chat(tiny, folder)
    assert chat.stop_ids == {7, 8, 9, *ids(chat, SPECIALS[0], SPECIALS[2])}
