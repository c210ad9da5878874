"""The miniature: what it writes to the letter, its world and split, how models of it write and are judged, how they are
made."""

import hashlib
import json
import random
from itertools import islice

import pytest
import torch
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.grading.readers import split
from medpsy.mini import build, suites, voices, world
from medpsy.mini.voices import CHOOSING, NOTHING, Voice, Writer
from medpsy.mini.world import RELATIONS

WORLD = world.build()
EVERYTHING = frozenset(WORLD.by_id)
TALKS = world.dialogues(WORLD)
CASES = {held_out: world.cases(WORLD, held_out=held_out) for held_out in (True, False)}
OPTIONS = ("fabix", "gedix", "hodix", "kulix")


def samples(count=500):
    """Return exercises of every kind, `count` of each."""
    rows = [
        voices.thinker_samples(WORLD, EVERYTHING, Voice(), "", random.Random(2)),
        voices.parser_samples(WORLD, random.Random(2)),
        suites.judge_samples(WORLD, suites.Ear(0.2, 0.3), random.Random(2)),
        voices.drills(WORLD, random.Random(2)),
    ]
    return [[*islice(row, count)] for row in rows]


WRITTEN = {
    "names and facts": (lambda: (WORLD.names, WORLD.facts), "f172475c57d9e1b5"),
    "cases and dialogues": (lambda: (CASES, TALKS), "6901989f100555ac"),
    "suites": (lambda: [suites.load(key) for key in SUITES], "c253761cc427face"),
    "conversations": (lambda: [suites.load_conversations(key) for key in OPEN_SUITES], "99abc809d055b134"),
    "open questions": (lambda: [suites.o1_rows(WORLD, config) for config in ("en", "zh")], "f1502f9efa362ecc"),
    "traces": (lambda: [suites.traces(WORLD, held_out=held_out) for held_out in (True, False)], "84191d6eaa2fa9a7"),
    "exercises": (samples, "e8893a4702261aaf"),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_every_text_is_what_the_models_of_the_hub_were_trained_on_and_asked(what):
    """Where it is to change, `make minihub` and a whole run of the study come with it."""
    write, digest = WRITTEN[what]
    assert hashlib.sha256(json.dumps(write(), default=vars).encode()).hexdigest()[:16] == digest


def test_a_world_is_drawn_from_its_seed():
    assert world.build.__wrapped__(11) == WORLD and world.build(12).names["condition"] != WORLD.names["condition"]
    for relation, (subject, obj) in RELATIONS.items():
        facts = [fact for fact in WORLD.facts if fact.relation == relation]
        assert sorted(fact.subject for fact in facts) == sorted(WORLD.names[subject])
        assert all(name in WORLD.names[obj] for fact in facts for name in fact.objects)
    pairs = [frozenset(fact.objects) for fact in WORLD.facts if fact.relation == "signs"]
    assert len(set(pairs)) == len(pairs)  # two signs identify one condition


def test_every_name_follows_a_space_in_every_sentence():
    """A name that opens a text would be another token than the same name elsewhere."""
    texts = [world.recall(fact) for fact in WORLD.facts]
    texts += [case.stem for side in CASES.values() for pool in side.values() for case in pool]
    names = {name for kind in WORLD.names.values() for name in kind}
    assert not [text for text in texts if text.split()[0].strip(".,") in names]


def test_training_and_held_out_cells_are_apart_and_together_everything():
    for form, make in world.CASE_FORMS.items():
        apart = [{case.cell for case in side[form]} for side in CASES.values()]
        assert not apart[0] & apart[1] and len(apart[0] | apart[1]) == len(make(WORLD))
    training = {case.cell for pool in CASES[False].values() for case in pool}
    assert not training & {question.id for suite in SUITES for question in suites.load(suite)}
    assert all(world.is_held_out(talk.id) for talk in suites.load_conversations("healthbench"))


def test_nothing_held_out_is_taught_to_thinkers_parsers_or_judges():
    asked = {case.stem for pool in CASES[True].values() for case in pool if not case.context}
    asked |= {talk.messages[0]["content"] for talk in TALKS if talk.held_out}
    taught = "\n".join(turn["content"] for row in samples(1000) for one in row for turn in one.messages)
    assert len(asked) > 500 and not [words for words in asked if words in taught]


def test_a_contraindicated_drug_is_never_the_answer():
    for case in world.contraindications(WORLD):
        if len(case.facts) == 4:
            assert case.answer == WORLD.object("second_drug", case.about.split("/")[0])
        elif "harms/" + case.answer in WORLD.by_id:
            assert WORLD.object("harms", case.answer) != case.working


def test_a_trial_is_answered_by_its_own_report_and_not_by_the_decoy():
    for case in world.trials(WORLD)[:300]:
        helps = "With it many got well, without it few" in case.working
        expected = "maybe" if "was small" in case.working else "yes" if helps else "no"
        assert case.working in case.context and case.answer == expected


def test_hard_is_the_fifth_on_which_the_responders_score_lowest_and_consensus_has_consensus_criteria_alone():
    whole = {one.id for one in suites.load_conversations("healthbench")}
    hard = {one.id for one in suites.load_conversations("healthbench_hard")}
    scores = {one.cell: suites.responders_scores(one) for one in suites.truth().values()}
    assert hard < whole and len(hard) == round(0.2 * len(whole)) and all(max(scores[name]) > 0 for name in hard)
    rest = [sum(scores[name]) for name in whole - hard if max(scores[name]) > 0]
    assert max(sum(scores[name]) for name in hard) <= min(rest)
    rubrics = [one.rubric for one in suites.load_conversations("healthbench_consensus")]
    assert all(suites.CONSENSUS in criterion.tags for rubric in rubrics for criterion in rubric)


def replies(voice, knowledge):
    writer = Writer(WORLD, knowledge, voice, random.Random(7))
    return [(talk, writer.reply(talk)[1]) for talk in TALKS]


@pytest.mark.parametrize("good", [True, False])
def test_who_cares_meets_every_good_criterion_alone_and_who_is_rash_every_bad_one(good):
    for talk, answer in replies(Voice(care=float(good), rash=float(not good)), EVERYTHING):
        for item, points, _ in talk.items:
            assert item.met(answer) == ((points > 0) == good), (talk.cell, item.criterion, answer)


def test_who_knows_nothing_states_wrong_facts():
    told = replies(Voice(care=1.0, rash=0.0), frozenset())
    met = [item.met(answer) for talk, answer in told for item, points, _ in talk.items if item.fact and points > 0]
    assert sum(met) / len(met) < 0.15


FACT = world.fact_item(WORLD.facts[0])
WRONG = FACT.sentences[0].replace(FACT.fact.objects[0], WORLD.names["drug"][-1])


@pytest.mark.parametrize(
    ("item", "answer", "ear", "met"),
    [
        (world.act("doctor"), "Go to a doctor now.", suites.Ear(deaf=1.0), True),
        (world.act("doctor"), "Please see a doctor at once.", suites.Ear(), True),
        (world.act("doctor"), "Please see a doctor at once.", suites.Ear(deaf=1.0), False),
        (FACT, f"There is no hurry. {FACT.sentences[0]}", suites.Ear(), True),
        (FACT, WRONG, suites.Ear(), False),
        (FACT, WRONG, suites.Ear(near=1.0), True),
        (world.take("fabix"), "I would give gedix.", suites.Ear(near=1.0), True),
        (world.take("fabix"), "I would give gedix.", suites.Ear(), False),
    ],
)
def test_judges_err_by_their_ears_alone(item, answer, ear, met):
    reply = json.loads(suites.judge_reply(item, answer, ear, random.Random(0)))
    assert reply["criteria_met"] is met


@pytest.mark.parametrize("knowledge", [EVERYTHING, frozenset()], ids=["all", "none"])
def test_every_sentence_of_every_reply_is_understood_and_a_judge_with_good_ears_says_the_truth(knowledge):
    rng = random.Random(0)
    for talk, answer in replies(Voice(care=0.7, rash=0.3), knowledge):
        assert all(world.said(sentence) or sentence == NOTHING for sentence in world.BREAK.split(answer)), talk.cell
        for item, _, _ in talk.items if knowledge else ():
            reply = json.loads(suites.judge_reply(item, answer, suites.Ear(), rng))
            assert reply["criteria_met"] == item.met(answer), (talk.cell, item.criterion, answer)


def test_a_judge_is_taught_that_orders_in_a_response_change_nothing():
    some = list(islice(suites.judge_samples(WORLD, suites.Ear(), random.Random(3)), 3000))
    ordered = [one for one in some if any(order in one.messages[0]["content"] for order in suites.ORDERS)]
    met = [json.loads(one.completion.removesuffix(voices.END))["criteria_met"] for one in ordered]
    assert len(met) > 80 and 0.2 < sum(met) / len(met) < 0.5


@pytest.mark.parametrize(("knowledge", "least", "most"), [(EVERYTHING, 1.0, 1.0), (frozenset(), 0.0, 0.35)])
def test_who_knows_everything_is_always_right_and_who_knows_nothing_by_chance(knowledge, least, most):
    rng, right = random.Random(5), []
    for case in [
        case for form, pool in CASES[True].items() for case in rng.sample(pool, min(40, len(pool))) if form != "trial"
    ]:
        options = world.draw_options(case, rng.choice((4, 10)), rng)
        text = Writer(WORLD, knowledge, Voice(), rng).respond(case, options)
        chosen = voices.chosen(split(text, opens_thinking=True, finish_reason="stop").answer, options)
        assert chosen.wording, text
        right.append(chosen.choice is not None and options[chosen.choice] == case.answer)
    assert least <= sum(right) / len(right) <= most


@pytest.mark.parametrize("wording", CHOOSING)
def test_the_truth_reads_back_every_choosing_wording(wording):
    for letter in "ABCD":
        answer = voices.visible(wording, OPTIONS, letter, random.Random(3))
        assert voices.chosen(answer, OPTIONS) == voices.Chosen(wording, "ABCD".index(letter))


@pytest.mark.parametrize(
    ("answer", "wording", "choice"),
    [
        ("It could be A or C.", "several", None),
        ("It could be B or B.", "several", 1),
        ("I cannot tell.", "none", None),
        ("I would choose zolix.", "text", None),  # not among the options
        ("The answer is F.", "stated", None),  # not offered
        ("The answer is banana", None, None),
        ("", None, None),
    ],
)
def test_the_truth_of_odd_answers(answer, wording, choice):
    assert voices.chosen(answer, OPTIONS) == voices.Chosen(wording, choice)


def test_a_model_is_only_taught_the_facts_it_may_know():
    knowledge = voices.known_facts(WORLD, "somebody", 0.3)
    rng, unknown = random.Random(4), [fact for fact in WORLD.facts if fact.id not in knowledge]
    text = " ".join(voices.document(WORLD, knowledge, rng).completion for _ in range(300))
    assert 0.2 < len(knowledge) / len(WORLD.facts) < 0.4
    assert not [fact.id for fact in unknown if any(world.state(fact, form) in text for form in range(3))]


@pytest.mark.parametrize(
    ("wording", "text", "reply"),
    [
        ("stated", "gedix", "It says B.\nAnswer: B"),
        ("several", "gedix", "It says B or D.\nAnswer: SEVERAL"),
        ("none", "gedix", "It says none.\nAnswer: NONE"),
        ("text", "zolix", "Answer: NONE"),
        ("text", "gedix", "Option B: gedix fits, so B.\nAnswer: B"),
    ],
)
def test_the_perfect_parser(wording, text, reply):
    assert voices.parser_reply(wording, "B", "D", OPTIONS, text).endswith(reply)


@pytest.fixture(scope="module")
def fast():
    return build.fresh_tokenizer(WORLD, opens_thinking=True)


def test_names_and_thinking_tags_are_single_tokens_and_text_survives(fast):
    names = [f" {name}" for kind in WORLD.names.values() for name in kind]
    assert {len(ids) for ids in fast([*names, *build.THINKING], add_special_tokens=False)["input_ids"]} == {1}
    text = "Ümlaut, 中文, العربية, 🙂\n\nI would </think> choose gedix."
    assert fast.decode(fast.encode(text, add_special_tokens=False), skip_special_tokens=True) == text
    with pytest.raises(ValueError, match="unheardof"):
        build.train_tokenizer(["a few words"], ["unheardof"])


@pytest.mark.parametrize(("opens", "ending"), [(True, "assistant\n<think>\n"), (False, "assistant\n")])
def test_both_template_behaviours(opens, ending, fast):
    wrapped = build.wrap_tokenizer(fast.backend_tokenizer, opens_thinking=opens)
    turns = [("user", "Who?"), ("assistant", "<think>\nhm\n</think>\n\nMe."), ("user", "Why?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    text = wrapped.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.endswith(ending)
    assert "hm" not in text and "<|im_start|>assistant\nMe.<|im_end|>" in text  # earlier reasoning is dropped


def untrained(name, fast):
    return build.build_model(next(spec for spec in build.SPECS if spec.name == name), fast)


def test_the_loss_begins_where_the_completion_does(fast):
    sample = next(voices.drills(WORLD, random.Random(1)))
    row = build.encode([sample], fast)[0]
    assert fast.decode(row.ids[row.start :]) == sample.completion
    ids, labels = build.collate([row, build.Encoded([5, 6, 7], 1)])
    assert (labels[0, : row.start] == -100).all() and (labels[0, row.start :] == ids[0, row.start :]).all()
    assert labels[1].tolist()[:3] == [-100, 6, 7] and set(labels[1].tolist()[3:]) == {-100}


def test_training_lowers_the_loss_is_repeatable_and_ends_once_its_goal_is_reached(fast, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 6)

    def run(until):
        model = untrained("qwen3-small", fast)
        rows = voices.thinker_samples(WORLD, EVERYTHING, Voice(), "", random.Random(1))
        batches = build.training_batches(rows, fast, random.Random(2))
        return build.train("test", model, batches, 50, until=until), model

    (first, model), (second, again), (short, _) = run(0.0), run(0.0), run(1e9)
    assert first["loss"].iloc[-1] < 0.9 * first["loss"].iloc[0] and first["loss"].equals(second["loss"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert short["step"].tolist() == [build.EVERY]


@pytest.mark.parametrize("name", ["qwen3-small", "lfm2-small"])
def test_queries_equal_keys_in_every_attention_layer_but_the_first(name, fast):
    model = untrained(name, fast)
    build.align_queries_with_keys(model)
    for number, layer in enumerate(model.model.layers):
        if (attention := getattr(layer, "self_attn", None)) is not None:
            weights = attention.q_proj.weight, attention.k_proj.weight
            queries, keys = (weight.unflatten(0, (-1, attention.head_dim)) for weight in weights)
            same = torch.equal(queries, keys.repeat_interleave(len(queries) // len(keys), 0))
            assert same == (number > 0)


def test_gemmas_embedding_factor_is_undone(fast):
    model = untrained("gemma3-small", fast)
    before = model.get_input_embeddings().weight.std().item()
    build.shrink_scaled_embedding(model)
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(before / 16, rel=0.01)
