"""Plans of profiles: what is asked once, what money and memory follow, and how errors are told."""

import json
import re
from dataclasses import replace

import pytest
from medpsy import planning, study
from medpsy.planning import machine
from medpsy.planning.asking import Tally
from medpsy.planning.costs import costs
from medpsy.planning.work import sizes, work
from medpsy.training.effort import RUNTIME

PROFILES = ("smoke", "mini", "review", "paper")


@pytest.fixture(scope="module")
def plans():
    return {name: planning.plan(name, slower=1.0) for name in PROFILES}


def row(plan, section):
    return next(one for one in plan.rows if one.section == section)


def tally(profile="mini"):
    one = study.load(profile)
    return Tally(one, costs().mini if one.source == "mini" else costs().hub, sizes(one))


def asked(found, what):
    return sum(one.requests for one in found if one.what == what)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_section_of_a_profile_has_a_forecast(plans, profile, root):
    named = {path.stem for path in (root / "params" / profile).glob("[0-9]*.yaml")}
    assert {one.section for one in plans[profile].rows} == named
    assert all(one.known for one in plans[profile].rows)


def test_answers_are_counted_as_the_miniature_asks_them():
    found = tally().ask(["qwen3-large", "qwen3-small"])
    assert asked(found, "answers") == 2 * 2 * (
        70 + 51 + 60 + 60 + 60 + 45 + 60
    )  # models, runs, questions of the suites
    assert asked(found, "readings") == pytest.approx(asked(found, "answers") * costs().mini.unread)


def test_what_is_stored_is_not_asked_again_and_further_runs_are():
    one = tally()
    first = asked(one.ask(["qwen3-large"], runs=1), "answers")
    assert one.ask(["qwen3-large"], runs=1) == []
    assert asked(one.ask(["qwen3-large"], runs=3), "answers") == 2 * first


def test_every_judge_decides_every_criterion_once():
    one = tally()
    found = one.talk(["qwen3-large"], ["healthbench"])
    assert asked(found, "replies") == 2 * 70
    each = 2 * 70 * costs().mini.criteria * costs().mini.unjudged
    assert asked(found, "verdicts") == pytest.approx(3 * each)
    again = one.talk(["qwen3-large"], ["healthbench"], ["judge-lenient"])
    assert again == []


def test_the_hard_conversations_are_part_of_the_others():
    assert asked(tally("paper").talk(["qwen3-4b"]), "replies") == 3 * 5000
    review = study.load("review")
    some, sampled = review.conversations_per_suite, asked(tally("review").talk(["qwen3-4b"]), "replies")
    assert sampled == pytest.approx(review.runs * (some + some * (1 - some / 5000)))  # so many hard ones are among them


def test_later_sections_ask_little_of_what_earlier_ones_asked(plans):
    assert row(plans["mini"], "06_answer_extraction").written == row(plans["mini"], "09_token_efficiency").written == 0
    assert row(plans["review"], "08_stage_ablations").written == 0  # both ends were asked in 01 and 07


def test_the_miniature_is_forecast_in_minutes_of_this_machine(plans):
    plan = plans["mini"]
    assert not plan.gpu and plan.total.money is None
    assert 10 < 60 * plan.wall < 25  # measured: 14 to 18 on the reference machine
    assert plan.wall <= plan.total.hours
    assert plan.total.memory > RUNTIME
    assert planning.plan("mini", slower=2.0).total.hours == pytest.approx(2 * plan.total.hours)


def test_smoke_takes_less_than_mini_and_review_less_than_paper(plans):
    assert plans["smoke"].total.hours < plans["mini"].total.hours / 2
    assert plans["review"].total.written < plans["paper"].total.written


def test_sft_of_the_paper_takes_what_its_tokens_and_utilization_say(plans):
    found = next(one for one in work("paper") if one.name == "04_sft")
    hub = costs().hub
    assert sum(one.tokens for one in found.trained) == pytest.approx(2 * 3 * 790_000 * (hub.seed + hub.row))
    assert 80 < row(plans["paper"], "04_sft").hours < 130


def test_the_comparison_of_parts_is_no_stage():
    whole = planning.plan("paper", gpu="H100")
    assert 0 < planning.stage_hours("paper", "05_rl", "H100") < row(whole, "05_rl").hours


def test_models_behind_endpoints_cost_no_hours_and_are_told_apart(plans):
    teachers = row(plans["review"], "02_teacher_selection")
    assert teachers.elsewhere > 0
    assert "endpoints of yours" in planning.printed(plans["review"])
    judged = plans["paper"].total.elsewhere
    assert judged == row(plans["paper"], "12_gspo_judge").elsewhere > 0  # its judge is DeepSeek's


def test_money_is_hours_times_price():
    plan = planning.plan("review", gpu="l4", price=2.0)
    assert plan.gpu == "L4" and plan.total.money == pytest.approx(2 * plan.total.hours)
    assert planning.plan("review", gpu="L4", price=0.0).total.money == 0


def test_a_faster_gpu_takes_fewer_hours():
    hours = [planning.plan("review", gpu=name).total.hours for name in ("L4", "RTX4090", "H100")]
    assert hours == sorted(hours, reverse=True)


def test_a_model_that_is_downloaded_once_is_counted_once(plans):
    weights = row(plans["review"], "01_backbone_selection").disk
    assert 90 < weights < 110  # nine backbones and three judges in bfloat16, one of them in four bits
    assert row(plans["review"], "09_token_efficiency").disk == 0
    assert 0 < plans["review"].total.download < plans["review"].total.disk


def test_what_has_to_be_downloaded_and_kept_is_set_against_what_is_free_here(plans, monkeypatch):
    usage = type("Usage", (), {"free": 1e9})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    text = planning.printed(plans["review"])
    assert "GB to download" in text and "1 GB are free here: too little; free some" in text
    assert "too little" not in planning.printed(plans["mini"])


def test_it_is_said_at_a_glance_whether_one_gpu_is_enough(plans):
    assert re.search(r"One RTX4090 is enough: \d+ nights? of 12 hours", planning.printed(plans["review"]))
    assert "The largest model takes 8 H100 at a time" in planning.printed(plans["paper"])


@pytest.mark.parametrize(
    ("profile", "options", "message"),
    [
        ("papr", {}, "no such profile; did you mean 'paper'"),
        ("paper", {"gpu": "H10"}, "gpu 'H10' is unknown; did you mean"),
        ("paper", {"price": -1.0}, "price -1.0 must be 0 or above"),
        ("paper", {"price": float("nan")}, "price nan must be 0 or above"),
        ("mini", {"gpu": "H100"}, "profile mini runs on the CPU of this machine"),
    ],
)
def test_a_slip_is_one_message_that_names_value_and_fix(profile, options, message):
    with pytest.raises(ValueError, match=message):
        planning.plan(profile, **options)


def test_a_hub_model_of_unknown_size_is_named_with_the_fix(monkeypatch):
    one = study.load("review")
    stranger = replace(one.models["qwen3-4b"], path="someone/new-7b")
    changed = replace(one, models={**one.models, "qwen3-4b": stranger})
    monkeypatch.setattr(study, "load", lambda profile: changed)
    with pytest.raises(ValueError, match=r"someone/new-7b is not known; add a line to planning/models\.csv"):
        planning.plan("review")


def test_a_plan_is_printed_for_people_and_for_programs(plans):
    text = planning.printed(plans["paper"])
    assert "GPU hours" in text and "$2.5" in text and len(text.splitlines()) > 15
    assert "minutes" in planning.printed(plans["mini"])
    found = json.loads(json.dumps(planning.as_json(plans["mini"])))
    assert found["rows"][-1]["section"] == "total" and found["gpu"] is None


def test_a_section_without_a_rule_says_so_and_counts_nothing(plans):
    plan = plans["mini"]
    strange = replace(plan.rows[0], section="15_new", known=False, hours=0.0)
    assert "15_new" in (text := planning.printed(replace(plan, rows=(*plan.rows, strange))))
    assert "no forecast" in text


def test_the_speed_of_this_machine_is_measured_in_the_time_that_is_given():
    assert 1 < machine.speed(0.2) < 10_000  # GFLOP/s of one core
