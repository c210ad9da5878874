"""How the minihub is trained: batches, phases and initialisation, on models small enough for a test."""

import itertools
import random

import pytest
import torch
from medpsy.mini import corpus, pretrain, specs, tokenizer, world
from medpsy.mini.thinking import Voice
from medpsy.mini.vocabulary import vocabulary_texts

WORLD = world.build()


@pytest.fixture(scope="module")
def fast():
    return tokenizer.wrap(tokenizer.train(vocabulary_texts(WORLD), []), opens_thinking=True)


def untrained(name, fast):
    spec = next(spec for spec in specs.SPECS if spec.name == name)
    torch.manual_seed(0)
    return specs.build_model(spec, len(fast), {"eos_token_id": fast.eos_token_id, "pad_token_id": 0})


def test_the_loss_begins_where_the_completion_does(fast):
    sample = next(corpus.drills(WORLD, random.Random(1)))
    row = pretrain.encode([sample], fast)[0]
    assert fast.decode(row.ids[row.start :]) == sample.completion
    ids, labels = pretrain.collate([row, pretrain.Encoded([5, 6, 7], 1)])
    assert (labels[0, : row.start] == -100).all() and (labels[0, row.start :] == ids[0, row.start :]).all()
    assert labels[1].tolist()[:3] == [-100, 6, 7] and set(labels[1].tolist()[3:]) == {-100}


def test_batches_are_full_of_similar_lengths_and_repeatable(fast):
    def first(count):
        rows = pretrain.batches(corpus.parser_samples(WORLD, random.Random(2)), fast, random.Random(3))
        return list(itertools.islice(rows, count))

    some = first(4)
    assert all(len(batch) == pretrain.BATCH for batch in some)
    assert [row.ids for batch in some for row in batch] == [row.ids for batch in first(4) for row in batch]


def test_training_lowers_the_loss_and_is_repeatable(fast, monkeypatch):
    monkeypatch.setattr(pretrain, "BATCH", 6)

    def run():
        model = untrained("qwen3-small", fast)
        knowledge = frozenset(fact.id for fact in WORLD.facts)
        rows = corpus.thinker_samples(WORLD, knowledge, Voice(), "", random.Random(1))
        phase = pretrain.Phase(50, pretrain.batches(rows, fast, random.Random(2)))
        return list(pretrain.train(model, [phase])), model

    (first, model), (second, again) = run(), run()
    assert first[-1].loss < 0.9 * first[0].loss
    assert [row.loss for row in first] == [row.loss for row in second]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_phase_ends_once_its_goal_is_reached(fast, monkeypatch):
    monkeypatch.setattr(pretrain, "BATCH", 4)
    rows = pretrain.batches(corpus.drills(WORLD, random.Random(1)), fast, random.Random(2))
    log = list(pretrain.train(untrained("qwen3-small", fast), [pretrain.Phase(75, rows, until=1e9)]))
    assert [row.step for row in log] == [pretrain.EVERY]


def test_the_learning_rate_warms_up_and_falls():
    phase = pretrain.Phase(100, iter(()), falls=True)
    assert phase.rate(0, 0) == pytest.approx(pretrain.PEAK_LEARNING_RATE / pretrain.WARMUP)
    assert phase.rate(40, 400) == pretrain.PEAK_LEARNING_RATE
    assert phase.rate(99, 400) == pytest.approx(0.02 * pretrain.PEAK_LEARNING_RATE)


@pytest.mark.parametrize("name", ["qwen3-small", "lfm2-small"])
def test_queries_equal_keys_in_every_attention_layer_but_the_first(name, fast):
    model = untrained(name, fast)
    pretrain.align_queries_with_keys(model)
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
    pretrain.shrink_scaled_embedding(model)
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(before / 16, rel=0.01)
