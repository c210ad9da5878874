"""A claim from its formula to its status: what can be settled, batches, budget, resumption, and the words for it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from case_rows import cases
from fake_engine import World, fenced
from medpsy import bundle, claims, evaluate, keep, published, settle, store, study
from medpsy.cli import app
from medpsy.data.questions import Question
from medpsy.data.suites import OPEN_SUITES, SUITES, build
from medpsy.files import write_text
from medpsy.record import read
from medpsy.show import table
from medpsy.site import build as build_site
from medpsy.stats import Interval
from records import write_record
from typer.testing import CliRunner

LETTERS, QUESTIONS = "ABCD", 400
PAIR = ("small-rl2", "smollm3-large")  # which claim P183 compares
OPTIONS = ("lorin", "mazel", "pendra", "quist")
LOADED = evaluate.suite


def made(key):
    """Return a suite of invented questions; MMLU (Health) in two groups of unequal size."""
    count = QUESTIONS if key == "medqa" else 90
    stems = [f"Which invented drug treats condition {number} of {key}?" for number in range(count)]
    groups = [f"group {number % 3 == 0}" if key == "mmlu_health" else key for number in range(count)]
    items = [
        Question(str(number), key, "drugs", stem, OPTIONS, number % 4, None, group)
        for number, (stem, group) in enumerate(zip(stems, groups, strict=True))
    ]
    return build(SUITES[key], tuple(items))


def skilled(share, words=1, after=lambda: None):
    """Return a model that answers that share of questions rightly, in so many words, differently in every run."""

    def reply(prompt, sampling):
        after()
        right = LETTERS[int(prompt.id.split("/")[1].split("#")[0]) % 4] if prompt.id.split("/")[0] in SUITES else "A"
        knows = sampling.prompt_seed(f"{share} {prompt.id}") % 1000 < 1000 * share  # models apart, too
        return "so " * (words - 1) + (right if knows else LETTERS[(LETTERS.index(right) + 1) % 4])

    return reply


def parse(prompt, sampling):
    return next(word for word in fenced(prompt.messages[0]["content"]).split() if word in LETTERS)


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(evaluate, "count_tokens", lambda model, texts: [len(text.split()) for text in texts])
    monkeypatch.setattr(evaluate, "suite", lambda mine, key: LOADED(mine, key) if key in OPEN_SUITES else made(key))
    return World(monkeypatch, {"parser": parse})


@pytest.fixture
def mine(own_root, root):
    """The study of profile smoke, with outputs of its own and checkpoints that only look whole."""
    (own_root / "lib").symlink_to(root / "lib")
    for name in (f"{size}-{stage}" for size in ("large", "small") for stage in study.STAGES):
        folder = own_root / "outputs/smoke/models" / name
        folder.mkdir(parents=True)
        for file in study.WHOLE:
            (folder / file).write_text("{}")
    return study.load("smoke")


def outcome(looks):
    return [{name: value for name, value in look.items() if name != "minutes"} for look in looks]


@pytest.mark.parametrize(("final", "backbone", "status"), [(0.8, 0.5, "pattern holds"), (0.5, 0.8, "pattern fails")])
def test_a_claim_is_settled_on_part_of_the_suite_and_again_without_asking(world, mine, final, backbone, status):
    world.writes |= {"small-rl2": skilled(final), "smollm3-large": skilled(backbone)}
    done = settle.settle(mine, "P183")
    last = done.looks[-1]
    assert (done.stopped, last["status"], done.suite) == ("decided", status, QUESTIONS)
    assert done.text == "score of small-rl2 less that of smollm3-large, MedQA (USMLE)" and last["questions"] < QUESTIONS
    assert [look["status"] for look in done.looks[:-1]] == ["too few to tell"] * (len(done.looks) - 1)
    assert last["low"] < last["estimate"] < last["high"] and last["low"] * last["high"] > 0
    asked = [prompt.id for name in PAIR for prompt in world.asked(name)]
    assert len(asked) == 2 * last["questions"] and {ident.split("/")[0] for ident in asked} == {"medqa"}
    record = json.loads((mine.outputs / "settle/P183.json").read_text(encoding="utf-8"))
    assert record["said"] == f"settled after {last['questions']} of {QUESTIONS} questions: {status}"
    assert record["looks"] == done.looks
    again = settle.settle(mine, "P183")
    assert outcome(again.looks) == outcome(done.looks)
    assert [len(world.engines[name]) for name in PAIR] == [1, 1]  # none for the second batch or the second call
    assert len([prompt for name in PAIR for prompt in world.asked(name)]) == len(asked)


def test_what_is_said_is_of_the_models_on_record_and_what_is_no_record_is_named(tmp_path, caplog):
    records = {"P183": {"a": "1", "b": "2"}, "P184": {"a": "0", "b": "2"}}
    store.record_models(tmp_path / "responses", records["P183"] | {"c": "3"})
    texts = [json.dumps({"claim": name, "said": name, "fingerprints": known}) for name, known in records.items()]
    texts += ["{", "[]", '{"claim": "P185", "said": "old"}']
    for name, text in zip("vwxyz", texts, strict=True):
        write_text(tmp_path / f"settle/{name}.json", text)
    assert settle.said(tmp_path) == {"P183": "P183"}
    assert [line.split(".json")[0][-1] for line in caplog.messages] == ["x", "y", "z"]


def test_a_budget_stops_with_a_forecast_and_the_next_call_goes_on_to_the_decision(world, mine, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(settle.time, "monotonic", lambda: clock[0])

    def second():
        clock[0] += 1.0

    world.writes |= {"small-rl2": skilled(0.75, after=second), "smollm3-large": skilled(0.55, after=second)}
    stopped = settle.settle(mine, "P183", budget="2m")
    assert stopped.stopped == "budget" and stopped.said == "not settled after 50 of 400 questions: too few to tell"
    assert 50 < stopped.forecast <= 50 * settle.FURTHEST and clock[0] == 100.0  # two models, one second each
    told = settle.printed(stopped)
    assert f"about {stopped.forecast:,} questions would decide it" in told and "budget is spent" in told
    done = settle.settle(mine, "P183")
    assert done.stopped == "decided" and outcome(done.looks)[0] == outcome(stopped.looks)[0]
    assert len(world.asked("small-rl2")) == done.looks[-1]["questions"] == clock[0] / 2


def test_a_kill_in_the_second_batch_loses_nothing(world, mine):
    answers = []

    def killed():
        answers.append(1)
        if len(answers) == 70:
            raise KeyboardInterrupt

    world.writes |= {"small-rl2": skilled(0.7, after=killed), "smollm3-large": skilled(0.55)}
    with pytest.raises(KeyboardInterrupt):
        settle.settle(mine, "P183")
    left = json.loads((mine.outputs / "settle/P183.json").read_text(encoding="utf-8"))
    assert left["stopped"] == "" and left["said"] == "not settled after 50 of 400 questions: too few to tell"
    done = settle.settle(mine, "P183")
    assert done.stopped == "decided" and outcome(done.looks)[:1] == outcome(left["looks"])
    assert len(answers) == done.looks[-1]["questions"] + 1  # the one that was killed


def test_the_end_of_a_suite_leaves_an_open_claim_open(world, mine):
    world.writes |= {"small-rl2": skilled(0.6), "smollm3-large": skilled(0.601)}
    done = settle.settle(mine, "P183", batch=200)
    assert done.stopped == "suite" and done.said == "not settled after 400 of 400 questions: too few to tell"
    assert "a suite has no more questions" in settle.printed(done)


def test_a_ratio_of_lengths_needs_no_reader_and_counts_conversations(world, mine):
    world.writes |= {"qwen3-large": skilled(0.5, words=40), "large-rl2": skilled(0.5, words=16)}
    done = settle.settle(mine, "P030")
    last = done.looks[-1]
    assert (done.stopped, last["status"], done.unit) == ("decided", "pattern holds", "x")
    assert 1 < last["low"] < 2.5 < last["high"] and last["estimate"] == pytest.approx(2.5)
    suites = {prompt.id.split("/")[0] for prompt in world.asked("large-rl2")}
    assert "healthbench" in suites and "medqa" in suites and not world.asked("parser")


def test_a_gain_of_all_stages_is_settled_on_the_average_each_suite_with_its_share(world, mine):
    world.writes |= {"small-rl2": skilled(0.9), "qwen3-small": skilled(0.5)}
    done = settle.settle(mine, "F801", size="small")
    assert (done.stopped, done.looks[-1]["status"]) == ("decided", "pattern holds")
    assert (mine.outputs / "settle/F801-small.json").is_file()
    compared = settle.compare(mine, "F801", "small")
    parts = settle.strata(compared)
    assert compared.weights == pytest.approx(dict.fromkeys(SUITES, 1 / 7))
    assert [share for share, _ in parts] == pytest.approx([1 / 14, 1 / 14] + [1 / 7] * 6) and len(parts) == 8
    items = list(settle.in_turn(parts, 7))
    assert len({(item.suite, item.id) for item in items}) == len(items) < sum(len(each) for _, each in parts)
    counted = [sum(item.suite == suite for item in items[:280]) for suite in SUITES]
    assert min(counted) > 20 and max(counted) < 60  # 40 are expected


@pytest.mark.parametrize(("claim", "size", "message"), cases("unsettled_claims", "claim", "size", "message"))
def test_what_cannot_be_settled_is_refused_with_the_reason(mine, claim, size, message):
    with pytest.raises(ValueError, match=message):
        settle.compare(mine, claim, size)


def test_a_missing_checkpoint_and_a_formula_whose_margin_is_not_that_of_the_ratio_are_refused(mine, monkeypatch):
    (mine.outputs / "models/small-rl2/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="small-rl2.*run section 05_rl"):
        settle.compare(mine, "P183")
    assert settle.compare(mine, "F701", "large").first == "large-rl2"  # the other size class is enough
    claim = next(each for each in published.every_claim() if each.id == "P030")
    monkeypatch.setattr(published, "every_claim", lambda: [replace(claim, formula="1 - b / a")])
    with pytest.raises(ValueError, match="P030 cannot be settled .*: its formula is not linear in the ratio"):
        settle.compare(study.load("review"), "P030")


def test_of_published_models_the_value_is_tested_with_the_run_noise_of_both():
    compared = settle.compare(study.load("review"), "P183")  # +10.66 points, both models are the report's
    assert compared.of_value and (compared.first, compared.second) == ("medpsy-1.7b", "medgemma-1.5-4b")
    known = {(10.0, 11.5): "agrees", (2.0, 9.0): "differs", (5.0, 16.0): "too few to tell"}
    assert {ends: compared.status(Interval(*ends)) for ends in known} == known
    sign = settle.compare(study.load("review"), "P192")  # improves, by no number
    assert not sign.of_value and sign.status(Interval(0.1, 9.0)) == "pattern holds"


def test_an_interval_is_as_wide_as_what_varies_makes_it():
    review = study.load("review")
    sampling, parsing = (replace(each, temperature=0.0) for each in (review.sampling, review.parser_sampling))
    greedy = replace(review, sampling=sampling, parser_sampling=parsing)
    pairs, parts = np.random.default_rng(8).integers(0, 2, (2, 290)).astype(float), [(1.0, [None] * 300)]

    def width(about, claim, runs=1):
        compared = settle.compare(about, claim)
        places = replace(compared.places, study=replace(compared.places.study, runs=runs))
        estimate, (low, high) = settle.estimated(replace(compared, places=places), parts, pairs)
        assert estimate == pytest.approx(100 * (pairs[0] - pairs[1]).mean()) and low < estimate < high
        return high - low

    sign, value, finite = width(review, "P192"), width(review, "P183"), width(greedy, "P192")
    noise = 2 * 2.5758 * 100 * np.sqrt(np.var(pairs[0] - pairs[1]) / 900)  # of three published runs
    assert value > sign + noise and width(review, "P192", 4) == sign
    # one run varies twice as much as a mean of four
    assert width(review, "P183", 4) == pytest.approx(value + noise, rel=1e-4)
    assert finite < sign / 3  # ten of 300 questions are left


@pytest.mark.parametrize(
    ("claim", "weights"), [("P030", 8), ("P111", 7), ("P135", 7), ("P274", 1), ("R085", 1), ("P289", 8)]
)
def test_what_a_formula_compares_is_read_off_it(claim, weights):
    compared = settle.compare(study.load("review"), claim)
    assert len(compared.weights) == weights and sum(compared.weights.values()) == pytest.approx(1)
    assert compared.ratio == (claim == "P030") and compared.lengths == (claim in ("P030", "P289"))
    if compared.ratio:  # more tokens than a model may write count as many as it may
        tokens = np.array([[2e9] * 50, [1e9] * 50])
        assert settle.estimated(compared, [(1.0, [None] * 50)], tokens)[0] == 1


def test_a_budget_is_a_time_and_a_batch_has_questions(world, mine):
    assert [settle.seconds(text) for text in ("2h", "30m", "90s", "45", 45)] == [7200, 1800, 90, 45, 45]
    for text in ("soon", "0m", "-3", "2 hours"):
        with pytest.raises(ValueError, match=f"budget '{text}' is no time; write 2h, 30m, 90s or seconds"):
            settle.seconds(text)
    with pytest.raises(ValueError, match="batch 0: give at least 1 question"):
        settle.settle(mine, "P183", batch=0)
    world.writes |= dict.fromkeys(PAIR, skilled(0.5))
    assert [look["questions"] for look in settle.settle(mine, "P183", budget="0.000000001").looks] == [50]  # one batch
    assert list(settle.looks(400, 50)) == [50, 100, 150, 200, 250, 312, 390, 400] and list(settle.looks(30, 50)) == [30]


def test_kept_responses_of_mini_settle_a_gain_on_part_of_the_questions_in_a_replay(own_root, root, monkeypatch):
    bundle.restore(root / keep.BUNDLE, "mini")
    monkeypatch.setenv("MEDPSY_REPLAY", "1")
    done = settle.settle(study.load("mini"), "F701", size="large")
    assert (done.stopped, done.looks[-1]["status"]) == ("decided", "pattern holds")
    assert 2 * done.looks[-1]["questions"] < done.suite and done.looks[-1]["dollars"] is None  # no weights, no size


def test_the_ledger_says_what_was_settled_beside_the_claim(tmp_path):
    ledger = claims.ledger("mini", {}).drop(columns="Plans")
    result = read(write_record(tmp_path / "mini", "14_ledger", tables={"ledger": table(ledger, "Every claim")}))
    said = "settled after 450 of 1,273 questions: pattern holds"
    build_site.ledger_page(tmp_path, result, {"P183": said})
    (page,) = tmp_path.glob("ledger-*.html")
    rows = page.read_text(encoding="utf-8").split("<tr ")
    assert [row.split('"')[1] for row in rows if said in row] == ["P183"]


def test_the_command_prints_looks_and_costs_and_says_what_is_wrong(world, mine):
    world.writes |= {"small-rl2": skilled(0.9), "smollm3-large": skilled(0.3)}
    done = CliRunner().invoke(app, ["settle", "P183", "--profile", "smoke", "--gpu", "h100"])
    assert done.exit_code == 0 and "settled after 50 of 400 questions: pattern holds" in done.stdout
    assert "$ on one H100" in done.stdout and "minutes" in done.stdout
    shown = CliRunner().invoke(app, ["settle", "P183", "--profile", "smoke", "--json"])
    assert json.loads(shown.stdout)["looks"][-1]["questions"] == 50
    wrong = CliRunner().invoke(app, ["settle", "P183", "--profile", "smoke", "--budget", "soon"])
    assert wrong.exit_code == 1 and "budget 'soon' is no time" in wrong.stderr
