"""Plans of profiles: what is asked once, what follows in time, money and memory, and how errors are told."""

import json
import shutil
from collections import namedtuple
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import case_rows
import pandas as pd
import pytest
from medpsy import run, study
from medpsy.attacks import FLIPPING
from medpsy.planning import costs, plan
from medpsy.planning.costs import Size, unit_costs
from medpsy.planning.plan import DOCUMENTS, FORWARD, FULL, RULES, TRAINING, Tally
from medpsy.training.flops import RUNTIME, Shape

PROFILES = ("smoke", "mini", "laptop", "review", "paper")
GSPO, OPENMED = "12_gspo_judge", "13_openmed"
MINI, HUB = unit_costs().mini, unit_costs().hub
# seconds of one run of profile mini on the reference machine, whose sections and tests shared two cores
MEASURED = {each["section"]: each["seconds"] for each in case_rows.rows("measured_sections")}


@pytest.fixture(scope="module", autouse=True)
def work():
    """What profiles do on two cores, each counted once for all tests."""
    counted = plan.work
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "cores", lambda: 2)
        patch.setattr(plan, "work", cache(counted))
        yield counted


@pytest.fixture(scope="module")
def plans(work):
    return {name: plan.forecast(name, slower=1.0) for name in PROFILES}


@pytest.fixture(scope="module")
def works(work):
    cards = {"mini": None, "review": unit_costs().gpus["RTX4090"], "paper": unit_costs().gpus["H100"]}
    return {name: dict(iter(plan.work(name, card).groupby("section"))) for name, card in cards.items()}


def row(plan, section):
    return plan.sections.loc[section]


def done(section, profile="mini", every=None, **changes):
    """Return what `section` does alone, with some of its parameters changed."""
    params = run.profile_parameters(run.notebooks()[section], profile, study.find_root())
    tally = Tally(study.load(profile), section=section)
    RULES[section](tally, params | changes, every or {})
    return pd.DataFrame(tally.rows)


def tally(profile="mini"):
    return Tally(study.load(profile))


def requests(rows, what=None):
    rows = pd.DataFrame(rows, columns=None if len(rows) else ["what", "requests"]).reindex(columns=["what", "requests"])
    return rows["requests"][rows["what"].eq(what) | (what is None)].sum()


def test_every_section_of_a_profile_has_a_forecast_and_the_readme_says_its_hours(plans, root):
    for profile, planned in plans.items():
        named = {path.stem for path in (root / "params" / profile).glob("[0-9]*.yaml")}
        assert set(planned.sections.index) == named and planned.sections.notna().all(axis=None)
    hours = f"some {plans['review'].total.hours:.0f} hours"
    assert all(hours in (root / name).read_text(encoding="utf-8") for name in ("README.md", "params/review/study.yaml"))


def test_answers_and_verdicts_are_counted_as_the_miniature_asks_them_and_never_twice():
    one = tally()
    one.ask(["qwen3-large", "qwen3-small"])
    questions = 70 + 51 + 60 + 60 + 60 + 45 + 60
    answers = requests(one.rows, "answers")
    assert answers == 2 * 2 * questions  # models, runs
    assert requests(one.rows, "readings") == pytest.approx(answers * MINI.unread)
    one.rows = []
    one.ask(["qwen3-large"])
    assert requests(one.rows) == 0 and sum(each["hours"] for each in one.rows) > 0  # they are tabulated again
    one.ask(["qwen3-large"], runs=3)  # a further run
    assert requests(one.rows, "answers") == questions
    one.rows = []
    one.talk(["qwen3-large"], ["healthbench"], one.study.judges)
    assert requests(one.rows, "replies") == 2 * 70
    assert requests(one.rows, "verdicts") == pytest.approx(3 * 2 * 70 * MINI.criteria * MINI.unjudged)
    one.rows = []
    one.talk(["qwen3-large"], ["healthbench"], ["judge-lenient"])
    assert requests(one.rows) == 0


def test_the_hard_conversations_are_part_of_the_others():
    paper, review = tally("paper"), tally("review")
    for one in (paper, review):
        one.talk(["qwen3-4b"], one.study.open_suites, [])
    assert requests(paper.rows) == 3 * 5000
    some = review.study.conversations_per_suite  # so many hard ones are among them
    assert requests(review.rows) == pytest.approx(review.study.runs * (some + some * (1 - some / 5000)))


def test_later_sections_ask_little_of_what_earlier_ones_asked(plans, works):
    assert row(plans["mini"], "09_token_efficiency").written == 0
    assert requests(works["mini"]["06_answer_extraction"]) == FLIPPING + 200
    versions = 2 * 56 * (1 + 2 + 2)  # of both ends: a further run, wordings and orders of eight questions of each suite
    assert requests(works["mini"]["08_stage_ablations"], "answers") == 6 * 406 + versions
    assert row(plans["review"], "08_stage_ablations").written == 0  # both ends were asked in 01 and 07


@pytest.mark.parametrize(
    ("named", "plays", "writes"),
    [
        ("", {"gpt-oss-120b": "GPT-OSS-120B", "baichuan-m3-235b": "Baichuan-M3-235B"}, "baichuan-m3-235b"),
        ("", {"gpt-oss-120b": "GPT-OSS-120B", "qwen3-4b": "Fleming-R1-32B"}, "gpt-oss-120b"),  # the first of none
        ("qwen3-4b", {}, "qwen3-4b"),
    ],
)
def test_the_teacher_is_the_one_that_is_named_or_else_the_candidate_that_is_the_reports(named, plays, writes):
    every = {"02_teacher_selection": {"teachers": list(plays), "stands_for": plays}}
    assert list(done("03_training_data", "paper", every, teacher=named)["model"]) == [writes]


def test_sft_of_the_paper_takes_what_its_tokens_and_utilization_say(plans):
    taken = row(plans["paper"], "04_sft")
    assert taken.trained == pytest.approx(2 * 3 * 789_500 * (HUB.seed + HUB.row)) and 80 < taken.hours < 130


def test_the_judge_decides_rewards_of_training_of_held_out_answers_and_of_altered_ones(works):
    verdicts = requests(works["mini"][GSPO], "verdicts")
    responses = 6 * 6 * 8 * 4 + 8 * 72 * 2 + 72 * 9  # trainings; eight models, two runs; nine altered answers
    flips = FLIPPING * MINI.unjudged  # of the first tier alone
    assert verdicts - flips == pytest.approx(2 * responses * MINI.unjudged)
    assert verdicts - flips == pytest.approx(4060, rel=0.1)  # of a run of profile mini, without flips


def test_stages_of_the_second_recipe_are_near_those_of_a_run(works):
    rows = works["mini"][OPENMED]
    sft, dpo, rl = rows[rows["what"] == TRAINING].itertuples()
    measured = (145_690, 41_000, 52_400)
    assert [each.trained for each in (sft, dpo, rl)] == [pytest.approx(tokens, rel=0.15) for tokens in measured]
    assert dpo.operations == FULL + FORWARD  # forward alone through its parent
    assert rl.operations == FULL + 2 * FORWARD  # a KL term, and probabilities as they were when it sampled


UNIT = {"notebook": 1.0, "drawn": 0.5, "serve": 2.0, "read": 0.1, "token": 1.0, "sampled": 10.0, "update": 3.0}
UNIT |= {"start": 7.0, "task": 4.0, "build": 1.0, "measure": 2.0, "merge": 5.0, "memory": 1.0}
UNIT |= {"train": {"float32": 6e-6, "bfloat16": 60e-6}}
VALUES = {"bf16": False, "gradient_checkpointing": False}
STAGE = {"values": VALUES, "beside": 1, "tokens": 10.0, "document": 1, "held": 1, "mfu": 0.5}


@pytest.fixture
def counting(monkeypatch):
    """A tally of a made-up model at made-up costs per unit."""
    for name, value in UNIT.items():
        monkeypatch.setattr(unit_costs().cpu, name, value)
    monkeypatch.setattr(costs, "model_size", lambda study, name: Size(Shape(1000, 0, 0, 0), 1000.0, 2e9, 1.0))
    return tally()


def seconds(tally):
    """Return the seconds of what was counted since the last call."""
    rows, tally.rows = tally.rows, []
    return 3600 * sum(each["hours"] for each in rows)


def test_requests_take_reading_writing_and_a_server_and_those_of_the_harness_processes(counting):
    counting.add("qwen3-small", 10, 5.0, 2.0, "answers")
    assert seconds(counting) == pytest.approx(2 + 10 * (0.5 + 2))
    counting.add("qwen3-small", 10, 5.0, 0.0, DOCUMENTS)
    counting.start(2, 6)
    assert seconds(counting) == pytest.approx(5 + 2 * 7 + 6 * 4 / 2)
    for what in ("gguf", "merge"):
        counting.make(what, "qwen3-small", 0.5)
    assert seconds(counting) == pytest.approx(3 + 5)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, 10),  # tokens, operations per parameter, parameters, operations per second: 10 seconds alone
        ({"beside": 2}, 5), ({"adapter": True}, 10 * 4 / 6), ({"reference": True}, 10 * 8 / 6),
        ({"values": VALUES | {"bf16": True}}, 1), ({"sampled": 50.0, "updates": 2}, 10 + 5 + 6),
    ],
)  # fmt: skip
def test_stages_take_their_operations_and_those_of_a_launch_run_side_by_side(counting, how, expected):
    counting.train(model="qwen3-small", **STAGE | how)
    assert seconds(counting) == pytest.approx(expected)


def test_a_gpu_loads_every_model_once_per_section_and_writes_merges(counting):
    counting.gpu, serving = unit_costs().gpus["H100"], unit_costs().serving
    for _ in range(2):
        counting.add("qwen3-small", 1e-9, 5.0, 2.0, "answers")
    assert seconds(counting) == pytest.approx(serving.start)
    counting.make("merge", "qwen3-small")
    assert seconds(counting) == pytest.approx(2 * serving.merge)  # gigabytes


def test_sections_are_forecast_within_a_factor_of_one_and_a_half_and_together_closer(plans):
    mini = plans["mini"]
    ratios = {name: took / (3600 * row(mini, name).hours) for name, took in MEASURED.items()}
    assert {name: ratio for name, ratio in ratios.items() if not 1 / 1.5 < ratio < 1.5} == {}
    assert 0.85 < sum(MEASURED.values()) / (3600 * mini.sections.hours[list(MEASURED)].sum()) < 1.15
    assert not mini.gpu and 10 < 60 * mini.wall < 25  # measured: 14 to 20
    assert mini.wall <= mini.total.hours and mini.total.memory > RUNTIME
    assert plan.forecast("mini", slower=2.0).total.hours == pytest.approx(2 * mini.total.hours)


def test_a_model_that_is_downloaded_once_is_counted_once_and_one_behind_an_endpoint_not_at_all(plans, works):
    far = {name for name, model in study.load("review").models.items() if model.base_url}
    assert far and not far & set(works["review"]["02_teacher_selection"]["model"])
    weights = row(plans["review"], "01_backbone_selection").disk
    assert 90 < weights < 110  # nine backbones and three judges in bfloat16, one of them in four bits
    assert row(plans["review"], "02_teacher_selection").disk < 1  # they are there, and the teachers are elsewhere


def test_a_machine_without_a_gpu_is_measured_for_the_files_that_it_runs(plans, monkeypatch):
    slow = replace(costs.USUAL, peak=costs.USUAL.peak / 2, bandwidth=costs.USUAL.bandwidth / 2)
    monkeypatch.setattr(costs, "measured", lambda: slow)
    here, usual = plan.forecast("laptop"), plans["laptop"]
    assert here.gpu == costs.HERE and usual.total.hours * 1.5 < here.total.hours < usual.total.hours * 2.5
    assert 9 < usual.total.download < 12 and usual.total.download < usual.total.disk < 12
    assert "Hours of this machine" in plan.printed(here) and "$" not in plan.printed(here)
    assert plan.forecast("laptop", gpu="L4").total.hours < usual.total.hours


def test_a_measurement_is_turned_into_a_data_sheet_and_ends_in_time(monkeypatch):
    rates = [{"n_prompt": 32, "samples_ts": [900.0, 1000.0]}, {"n_prompt": 0, "samples_ts": [100.0, 50.0]}]
    with monkeypatch.context() as patch:
        patch.setattr(costs.programs, "find", lambda name: name)
        patch.setattr(costs.subprocess, "run", lambda *_, **how: SimpleNamespace(stdout=json.dumps(rates)))
        found = costs.measured()
    weights = 4 * 2048 * (2 * 2048 + 2 * 1024 + 3 * 6144) + 16_384 * 2048
    assert found.peak * 0.4 == pytest.approx(2 * weights * 1000 / 1e12)  # operations, at the share that reading reaches
    assert found.bandwidth == pytest.approx(weights * 4.5 / 8 / (1 / 100 - 1 / 1000) / 1e12, rel=0.01)  # bits of Q4_K
    with monkeypatch.context() as patch:
        patch.setattr(costs, "SECONDS", 0.01)
        assert costs.measured() is None and plan.forecast("laptop").gpu == costs.OTHER
    monkeypatch.setattr(costs, "SHAPES", costs.SHAPES | {"blk.0.ffn_up.weight": (256, 256)})
    with pytest.raises(ValueError, match="llama-bench failed .*--gpu NAME"):
        costs.measured()


def test_a_file_weighs_what_is_printed_for_its_format_and_size():
    laptop = study.load("laptop")
    printed = {"medpsy-4b": 2.72, "medpsy-1.7b": 1.28, "medpsy-1.7b-q8_0": 2.16, "medpsy-1.7b-iq3_m": 1.03}
    printed |= {"qwen3-1.7b": 1.28, "lfm2.5-1.2b": 2 * 1.2 * 1.28 / 4.07}  # of the same size, and of another
    assert {name: costs.model_size(laptop, name).weights / 1e9 for name in printed} == pytest.approx(printed)
    judge = costs.model_size(study.load("review"), "medgemma-27b")
    assert judge.weights / 1e9 == pytest.approx(2 * 27 * 2.72 / 8.83) and judge.written == 900
    with pytest.raises(ValueError, match="how large a file in Q2_K is"):
        costs.file_bytes(8e9, "Q2_K")


def test_a_plan_is_printed_with_what_is_too_little_here(plans, monkeypatch):
    usage = namedtuple("Usage", "total used free")(2e9, 1e9, 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "1 GB are free here: too little; free some" in plan.printed(plans["review"])
    assert "too little" not in plan.printed(plans["mini"])


@pytest.mark.parametrize(
    ("profile", "options", "message"),
    [
        ("papr", {}, "no such profile; did you mean 'paper'"),
        ("paper", {"price": float("nan")}, "price nan must be 0 or above"),
        ("mini", {"gpu": "H100"}, "profile mini runs on the CPU of this machine"),
    ],
)
def test_a_slip_is_one_message_that_names_value_and_fix(profile, options, message):
    with pytest.raises(ValueError, match=message):
        plan.forecast(profile, **options)


def test_what_a_forecast_lacks_is_named_with_the_fix(monkeypatch, work):
    monkeypatch.setattr(plan, "work", work)  # counted anew
    one = study.load("review")
    stranger = replace(one.models["qwen3-4b"], path="someone/new-7b")
    changed = replace(one, models={**one.models, "qwen3-4b": stranger})
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"someone/new-7b is not known; add a line"):
        patch.setattr(study, "load", lambda profile: changed)
        plan.forecast("review")
    monkeypatch.setitem(RULES, "04_sft", lambda tally, params, every: params["sft3"])
    with pytest.raises(ValueError, match=r"params/mini/04_sft.yaml: no forecast without 'sft3'; add it"):
        plan.forecast("mini", slower=1.0)
