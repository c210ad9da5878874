"""How the minihub is trained: batches, phases and initialisation, on models small enough for a test."""

import itertools
import random

import pytest
import torch
from medpsy.mini import build, voices, world
from medpsy.mini.build import vocabulary_texts
from medpsy.mini.voices import Voice

WORLD = world.build()


@pytest.fixture(scope="module")
def fast():
    return build.wrap_tokenizer(build.train_tokenizer(vocabulary_texts(WORLD), []), opens_thinking=True)


def untrained(name, fast):
    return build.build_model(next(spec for spec in build.SPECS if spec.name == name), fast)


def test_the_loss_begins_where_the_completion_does(fast):
    sample = next(voices.drills(WORLD, random.Random(1)))
    row = build.encode([sample], fast)[0]
    assert fast.decode(row.ids[row.start :]) == sample.completion
    ids, labels = build.collate([row, build.Encoded([5, 6, 7], 1)])
    assert (labels[0, : row.start] == -100).all() and (labels[0, row.start :] == ids[0, row.start :]).all()
    assert labels[1].tolist()[:3] == [-100, 6, 7] and set(labels[1].tolist()[3:]) == {-100}


def test_batches_are_full_of_similar_lengths_and_repeatable(fast):
    def first(count):
        rows = build.training_batches(voices.parser_samples(WORLD, random.Random(2)), fast, random.Random(3))
        return list(itertools.islice(rows, count))

    some = first(4)
    assert all(len(batch) == build.BATCH for batch in some)
    assert [row.ids for batch in some for row in batch] == [row.ids for batch in first(4) for row in batch]


def test_training_lowers_the_loss_and_is_repeatable(fast, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 6)

    def run():
        model = untrained("qwen3-small", fast)
        rows = voices.thinker_samples(WORLD, frozenset(WORLD.by_id), Voice(), "", random.Random(1))
        return list(
            build.train_steps(model, build.training_batches(rows, fast, random.Random(2)), 50, until=0.0)
        ), model

    (first, model), (second, again) = run(), run()
    assert first[-1].loss < 0.9 * first[0].loss
    assert [row.loss for row in first] == [row.loss for row in second]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_phase_ends_once_its_goal_is_reached(fast, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 4)
    rows = build.training_batches(voices.drills(WORLD, random.Random(1)), fast, random.Random(2))
    log = list(build.train_steps(untrained("qwen3-small", fast), rows, 75, until=1e9))
    assert [row.step for row in log] == [build.EVERY]


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
