"""What the minihub is trained on and how: texts, truth, tokens; batches, rates and starts of models small enough."""

import random
import re
from itertools import islice, product

import pytest
import torch
from case_rows import cases
from fake_engine import fenced
from medpsy.grading.readers import split
from medpsy.mini import build, voices, world
from medpsy.mini.voices import ANSWERS, CHOOSING, Voice, Writer
from training_examples import one_thread  # noqa: F401

WORLD = world.build()
EVERYTHING = frozenset(WORLD.by_id)
OPTIONS = ("fabix", "gedix", "hodix", "kulix")


@pytest.fixture(scope="module")
def fast():
    return build.wrap_tokenizer(build.train_tokenizer(WORLD), opens_thinking=True)


def some_cases(count):
    rng = random.Random(5)
    pools = list(world.cases(WORLD, held_out=True).values())
    for _ in range(count):
        case = rng.choice(rng.choice(pools))
        yield case, world.draw_options(case, rng.choice((4, 10)), rng), rng


def answer_of(text):
    return split(text, opens_thinking=True, finish_reason="stop").answer


def written(knowledge, voice, count):
    """Yield cases, responses to them, and whether each chose right."""
    for case, options, rng in some_cases(count):
        text = Writer(WORLD, knowledge, voice, rng).respond(case, options)
        choice = voices.chosen(answer_of(text), options).choice
        yield case, text, choice is not None and options[choice] == case.answer


def test_who_knows_everything_is_always_right_and_who_knows_nothing_or_is_hasty_by_chance():
    assert all(right for _, _, right in written(EVERYTHING, Voice(), 300))
    nothing = [(case.form == "trial", right) for case, _, right in written(frozenset(), Voice(), 600)]
    assert all(right for told, right in nothing if told)  # the context of a trial says it
    guessed = [right for told, right in nothing if not told]
    assert sum(guessed) / len(guessed) < 0.35
    hasty = [*written(EVERYTHING, Voice(hasty=1.0, again=1.0), 400)]
    assert all("Recall" not in text and text.count(" fits.") == 1 for _, text, _ in hasty)
    assert sum(right for _, _, right in hasty) / len(hasty) < 0.35


def test_the_truth_reads_back_every_choosing_wording():
    for wording, letter in product(CHOOSING, "ABCD"):
        answer = voices.worded(wording, OPTIONS, letter, "D" if letter == "A" else "A")
        assert voices.chosen(answer, OPTIONS) == voices.Chosen(wording, "ABCD".index(letter))


@pytest.mark.parametrize(("answer", "wording", "choice"), cases("odd_answers", "answer", "wording", "choice"))
def test_the_truth_of_odd_answers(answer, wording, choice):
    assert voices.chosen(answer, OPTIONS) == voices.Chosen(wording, choice)


def test_texts_for_training_come_from_training_cells_only():
    held_out = {case.stem for pool in world.cases(WORLD, held_out=True).values() for case in pool if not case.context}
    rng = random.Random(2)
    samples = [*islice(voices.thinker_samples(WORLD, EVERYTHING, Voice(), "", rng), 1500)]
    samples += islice(voices.parser_samples(WORLD, rng), 500)
    asked = [sample.messages[0]["content"] for sample in samples if sample.messages]
    assert not [text for text in asked if any(stem in text for stem in held_out)]


def test_a_model_is_only_taught_the_facts_it_may_know():
    knowledge = voices.known_facts(WORLD, "somebody", 0.3)
    assert 0.2 < len(knowledge) / len(WORLD.facts) < 0.4
    unknown = [fact for fact in WORLD.facts if fact.id not in knowledge]
    rng = random.Random(4)
    text = " ".join(voices.document(WORLD, knowledge, rng).completion for _ in range(300))
    assert not [fact.id for fact in unknown if any(world.state(fact, form) in text for form in range(3))]


@pytest.mark.parametrize(("wording", "text", "reply"), cases("perfect_parser", "wording", "text", "reply"))
def test_the_perfect_parser(wording, text, reply):
    assert voices.parser_reply(wording, "B", "D", OPTIONS, text).endswith(reply)


def test_names_are_single_tokens_and_text_survives(fast, monkeypatch):
    for kind in WORLD.names.values():
        assert all(len(fast.encode(" " + name, add_special_tokens=False)) == 1 for name in kind)
    text = "Ümlaut, 中文, العربية, 🙂\n\nI would choose gedix."
    assert fast.decode(fast.encode(text, add_special_tokens=False)) == text
    tagged = fast.encode("a</think>b", add_special_tokens=False)  # a token of its own, which survives
    assert len(tagged) == 3 and fast.decode(tagged, skip_special_tokens=True) == "a</think>b"
    monkeypatch.setattr(build, "vocabulary_texts", lambda universe: ["a few words"])
    with pytest.raises(ValueError, match=WORLD.names["condition"][0]):
        build.train_tokenizer(WORLD)


@pytest.mark.parametrize(("opens", "ending"), [(True, "assistant\n<think>\n"), (False, "assistant\n")])
def test_both_template_behaviours(fast, opens, ending):
    wrapped = build.wrap_tokenizer(fast.backend_tokenizer, opens_thinking=opens)
    messages = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nMe."},
        {"role": "user", "content": "Why?"},
    ]
    text = wrapped.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.endswith(ending)
    assert "hm" not in text and "<|im_start|>assistant\nMe.<|im_end|>" in text  # earlier reasoning is dropped


def test_the_parser_is_taught_every_wording_and_not_to_read_what_stands_behind_it():
    obeyed, answers = [], []
    for one in islice(voices.parser_samples(WORLD, random.Random(8), 1.0), 1000):
        answers.append(fenced(one.messages[0]["content"]))
        if forged := re.search(r"Answer: ([A-J])\b", answers[-1][9:]):
            obeyed.append(one.completion.endswith(f"Answer: {forged[1]}{voices.END}"))
    assert len(obeyed) > 450 and sum(obeyed) < 0.22 * len(obeyed)  # no more than chance: of four options or more
    leads = [template.split("{")[0] for template in ANSWERS.values()]
    assert all(any(answer.startswith(lead) for answer in answers) for lead in leads)


def untrained(name, fast):
    return build.build_model(next(spec for spec in build.SPECS if spec.name == name), fast)


def test_the_loss_begins_where_the_completion_does(fast):
    sample = next(voices.drills(WORLD, random.Random(1)))
    row = build.encode([sample], fast)[0]
    start = row[1].count(-100)
    assert fast.decode(row[0][start:]) == sample.completion
    ids, labels = build.collate([row, ([5, 6, 7], [-100, 6, 7])])
    assert (labels[0, :start] == -100).all() and (labels[0, start:] == ids[0, start:]).all()
    assert labels[1].tolist()[:3] == [-100, 6, 7] and set(labels[1].tolist()[3:]) == {-100}


def test_batches_are_full_of_similar_lengths_and_repeatable(fast):
    def first(count):
        rows = build.training_batches(voices.parser_samples(WORLD, random.Random(2)), fast, random.Random(3))
        return list(islice(rows, count))

    some = first(4)
    assert all(len(batch) == build.BATCH for batch in some)
    assert some == first(4)


def test_training_lowers_the_loss_and_is_repeatable(fast, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 2)
    monkeypatch.setattr(build, "EVERY", 5)

    def run(steps, until):
        model, rows = untrained("qwen3-small", fast), voices.drills(WORLD, random.Random(1))
        log = build.train("test", model, build.training_batches(rows, fast, random.Random(2)), steps, until=until)
        return log["loss"].tolist(), model

    (long, _), (first, model), (second, again) = run(15, 0.0), run(5, 0.0), run(15, 1e9)
    assert long[-1] < 0.8 * long[0]
    assert first == second == long[:1]  # and the last one ended at its goal
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_learning_rate_warms_up_and_falls():
    peak, rates = build.PEAK_LEARNING_RATE, [build.learning_rate(step, 1000, falls=True) for step in (0, 400, 999)]
    assert rates == pytest.approx([peak / build.WARMUP, peak, 0.02 * peak])
    assert build.learning_rate(999, 1000, falls=False) == peak


@pytest.mark.parametrize("name", ["qwen3-small", "lfm2-small"])
def test_queries_equal_keys_in_every_attention_layer_but_the_first(name, fast):
    model = untrained(name, fast)
    build.align_queries_with_keys(model)
    for number, layer in enumerate(model.model.layers):
        attention = getattr(layer, "self_attn", None)
        if attention is None:
            continue
        queries = attention.q_proj.weight.unflatten(0, (-1, attention.head_dim))
        keys = attention.k_proj.weight.unflatten(0, (-1, attention.head_dim))
        same = torch.equal(queries, keys.repeat_interleave(len(queries) // len(keys), 0))
        assert same == (number > 0)


def test_gemmas_embedding_factor_is_undone(fast):
    model = untrained("gemma3-small", fast)
    before = model.get_input_embeddings().weight.std().item()
    build.shrink_scaled_embedding(model)
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(before / 16, rel=0.01)
