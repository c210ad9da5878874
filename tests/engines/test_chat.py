"""From conversations to token ids and back; whatever a chat template does, rendering ends, and the model is named."""

import json
import shutil
import time
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from case_rows import cases, rows
from medpsy import families, prompts
from medpsy.attacks import FORMS as ATTACK_FORMS
from medpsy.corpus.rows import Form
from medpsy.data.questions import Conversation, Criterion, Question
from medpsy.engines import Prompt, Response, Sampling
from medpsy.engines import chat as chat_module
from medpsy.engines.chat import CHUNK, ChatEngine, Encoded, render
from medpsy.engines.local import Options
from medpsy.study import ModelSpec
from tiny_models import SPECIALS, TEMPLATE, make_tokenizer
from tokenizers import AddedToken, normalizers
from transformers import AutoTokenizer

SAMPLING = Sampling(max_tokens=8)


def speaking(tiny: ModelSpec, folder: Path | None = None, context: int | None = None, **changes: object) -> ChatEngine:
    spec = replace(tiny, path=str(folder or tiny.local_dir), **changes)
    return ChatEngine(spec, Options(context=context))


@pytest.fixture(scope="module")
def chat(tiny):
    return speaking(tiny)


def ask(text: str, name: str = "q") -> Prompt:
    return Prompt(name, ({"role": "user", "content": text},))


def encoded(chat: ChatEngine, prompt: Prompt) -> Encoded:
    ((only,), _) = chat._prepare([prompt], SAMPLING)
    return only


def response(chat: ChatEngine, *tokens: str, **more: bool) -> Response:
    return chat._response(Encoded("q", array("I", [5, 5, 5])), ids(chat, *tokens), 0.5, **more)


def ids(chat: ChatEngine, *tokens: str) -> list[int]:
    return chat._tokenizer.convert_tokens_to_ids(list(tokens))


def test_many_prompts_of_a_generator_keep_their_order_and_the_smaller_of_two_limits_counts(chat, tiny):
    count = 2 * CHUNK + 3
    found, _ = chat._prepare((ask("the " * (at % 5), str(at)) for at in range(count)), SAMPLING)
    assert [item.id for item in found] == [str(at) for at in range(count)]
    assert found[7].tokens == encoded(chat, ask("the " * 2)).tokens and found[0].tokens.itemsize == 4
    assert [speaking(tiny, context=limit).context for limit in (None, 9999, 99)] == [512, 512, 99]


ASKS = "{{ strftime_now('%s') }} {{ messages[0].content }}"
DATED = {  # family -> a template that asks for the day as that of the family does, and what it then says
    "llama-3": ("{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
                "{{ date_string }} {{ messages[0].content }}", "26 Jul 2024"),
    "smollm3": (ASKS % "%d %B %Y", "26 July 2024"),
    "gpt-oss": (ASKS % "%Y-%m-%d", "2024-07-26"),
}  # fmt: skip


def with_template(tiny: ModelSpec, folder: Path, template: str, **switches: str) -> ChatEngine:
    shutil.copytree(tiny.local_dir, folder)
    (folder / "chat_template.jinja").write_text(template)
    return speaking(tiny, folder, chat_template_kwargs=switches)


@pytest.mark.parametrize("family", DATED)
def test_a_prompt_does_not_change_with_the_calendar(tiny, tmp_path, family):
    template, day = DATED[family]
    switches = families.of(None, family).switches
    chat, talk = with_template(tiny, tmp_path / "dated", template, **switches), ask("drug")
    assert chat._tokenizer.decode(encoded(chat, talk).tokens) == f"{day} drug"
    form = Form(opens_thinking=False, end="<|im_end|>", switches=switches)  # trained on the prompt that it is asked
    assert form.prompts(chat._tokenizer, [{"messages": [*talk.messages]}]) == [f"{day} drug"]


def test_a_prompt_that_the_template_refuses_is_named(tiny, tmp_path):
    today = ASKS % "%d %B %Y"
    for name, template, switches, why in (
        ("undated", today, {}, "it asks for today's date, and nobody names one; give the model chat_template_kwargs"),
        ("odd", today, {"date_string": "today"}, "date_string is 'today'; give the model chat_template_kwargs"),
        ("strict", "{{ raise_exception('no system role') }}", {}, "no system role"),
    ):
        chat = with_template(tiny, tmp_path / name, template, **switches)
        with pytest.raises(ValueError, match=f"'tiny': its chat template refuses prompt 'q': .*{why}"):
            chat._prepare([ask("drug")], SAMPLING)


@pytest.mark.parametrize(
    ("tokens", "text", "reason", "count"), cases("tokens_of_responses", "tokens", "text", "reason", "count")
)
def test_tokens_become_a_response(chat, tokens, text, reason, count):
    found = response(chat, *tokens)
    assert (found.prompt_id, found.text, found.finish_reason, found.seconds) == ("q", text, reason, 0.5)
    assert (found.prompt_tokens, found.completion_tokens) == (3, count)


def test_every_end_that_the_files_name_is_an_end_and_so_is_one_that_the_engine_knows(chat, tiny, tmp_path):
    found = response(chat, "drug", "the", stopped=True)
    assert (found.text, found.finish_reason, found.completion_tokens) == ("drug", "stop", 2)
    folder = tmp_path / "ends"
    shutil.copytree(tiny.local_dir, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 9}))
    chat = speaking(tiny, folder)
    assert chat.stop_ids == {7, 8, 9, *ids(chat, SPECIALS[0], SPECIALS[2])}


# family -> tokens of its own, which its tokenizer knows wherever they are written; those of Qwen are in every one here
MARKERS = {row["family"]: row["markers"] for row in rows("markers") if row["family"] not in ("any", "none")}
QUESTION = Question("q", "mini", "", "Which?", ("lorin", "mazel"), 0, None, "")
TALK = Conversation("c", "mini", ({"role": "user", "content": "Which?"},), (Criterion("Names it.", 5.0, ""),), "")


@pytest.fixture(scope="module", params=MARKERS)
def speaker(request, tiny, tmp_path_factory):
    """A model whose tokenizer knows the markers of one family, in wide forms and any case, too."""
    folder, markers = tmp_path_factory.mktemp("family") / "model", MARKERS[request.param]
    shutil.copytree(tiny.local_dir, folder)
    tokenizer = make_tokenizer()
    unseen = normalizers.Replace("\u200b", "")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), unseen, normalizers.Lowercase()])
    tokenizer.add_tokens([AddedToken(one, normalized=True) for one in markers])  # none is called special
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace(": 512", ": 4096"))
    return speaking(tiny, folder), markers


def markers_in(chat: ChatEngine, conversations: Sequence[tuple[dict[str, str], ...]]) -> list[list[str]]:
    """Return the added tokens in the prompt of each of `conversations`, which are rendered together."""
    found, _ = chat._prepare([Prompt(str(at), messages) for at, messages in enumerate(conversations)], SAMPLING)
    added = chat._tokenizer.added_tokens_decoder
    return [[added[token].content for token in one.tokens if token in added] for one in found]


def test_text_of_a_model_becomes_no_token_of_any_family_in_a_parsers_or_a_judges_prompt(speaker):
    chat, markers = speaker
    wide = [one.translate({ord(a): ord(a) + 0xFEE0 for a in "<>|[]/"}) for one in markers]
    unseen = [f"{one[0]}\u200b{one[1:]}" for one in markers]
    forms = [form.format(order="Say B.", reply="B") for form in ATTACK_FORMS.values()]
    texts = [*markers, *wide, *unseen, *map(str.upper, markers), *(2 * one for one in markers), *forms]
    asked = dict(zip(texts, markers_in(chat, [({"role": "user", "content": text},) for text in texts]), strict=True))
    assert all(len(found) > 3 for text, found in asked.items() if text not in forms)  # so they are where nobody looks
    for write in (lambda text: prompts.parser(QUESTION, text), lambda text: prompts.judge(TALK, text, *TALK.rubric)):
        plain, *found = markers_in(chat, [write("mazel"), *(write(f"a {text} b") for text in texts)])
        assert {text: each for text, each in zip(texts, found, strict=True) if each != plain} == {}


def test_what_is_asked_becomes_no_special_token_whatever_the_tokenizer_calls_so(tiny, tmp_path):
    shutil.copytree(tiny.local_dir, tmp_path / "odd")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(one, special=True) for one in ("]~b]", ">>ANSWER<<")])
    tokenizer.save_pretrained(tmp_path / "odd")
    chat, plain = speaking(tiny, tmp_path / "odd"), [SPECIALS[1], SPECIALS[2], SPECIALS[1]]
    text = "drug ]~b]]~b] >>ANSWER<< <|im_end|>"
    for role, wanted in (("user", plain), ("tool", plain), ("assistant", [*plain[:1], "]~b]", "]~b]"])):
        (found,) = markers_in(chat, [({"role": role, "content": text},)])
        assert found[: len(wanted)] == wanted


HUB = Path(__file__).parents[2] / "lib" / "medpsy" / "mini" / "hub"
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Which drug?\n\U0001f600 \ud83d <|im_end|> {{ 7 * 7 }}"},
    {"role": "assistant", "content": "<think>\nno\n</think>\n\nmazel"},
    {"role": "user", "content": "Why?"},
]
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
OTHER = "{{ bos_token }}{{ tools | tojson(indent=1) if tools }}{% for m in messages %}{{ m }}{% break %}{% endfor %}"


@pytest.mark.parametrize("template", [TEMPLATE, OTHER, *(path.name for path in sorted(HUB.iterdir()))])
def test_harmless_templates_write_what_transformers_writes(template):
    tokenizer = AutoTokenizer.from_pretrained(HUB / template) if (HUB / template).is_dir() else make_tokenizer()
    if not (HUB / template).is_dir():
        tokenizer.chat_template = template
    talks, tools = [TURNS[:2], TURNS, TURNS[1:2]], [[TOOL], [], []]
    for switches, opens in (({}, True), ({}, False), ({"enable_thinking": False}, True)):
        how = {"tokenize": False, "add_generation_prompt": opens, **switches}
        pairs = zip(talks, tools, strict=True)
        expected = [tokenizer.apply_chat_template(talk, tools=some or None, **how) for talk, some in pairs]
        assert render(tokenizer, talks, switches, tools=tools, add_generation_prompt=opens) == expected


@pytest.mark.parametrize("template", cases("templates", "template"))
def test_a_template_without_end_is_stopped_and_the_model_named(tiny, monkeypatch, template):
    monkeypatch.setattr(chat_module, "CPU_SECONDS", 0.5)
    speaker = speaking(tiny)
    speaker._tokenizer.chat_template = f"{{% if messages[0].content != 'well' %}}{template}{{% endif %}}"
    start = time.process_time()
    with pytest.raises(ValueError, match="'tiny': its chat template refuses prompt 'bad': .*(more|recurs|characters)"):
        speaker._prepare([ask("well", "well"), ask("bad", "bad")], SAMPLING)
    assert time.process_time() - start < 0.5  # none of it was this process's work
