"""Section 3.5 beside first principles: tables, sentences, claims, and forecasts beside what came."""

import json

import pytest
from medpsy import published, report, study
from medpsy.planning import costs as units
from medpsy.report import budget_forecast, budget_hours
from medpsy.report.budget import Assumed
from medpsy.report.responsibility import responsible

TEACHERS = {"Baichuan-M3-235B": "baichuan-inc/Baichuan-M3-235B", "GPT-OSS-120B": "openai/gpt-oss-120b"}
ABOUT = Assumed("H100", 30e6, 1110.0, 150.0, [0.25, 0.3, 0.4, 0.5], [0.01, 0.4], TEACHERS)


@pytest.fixture
def outputs(tmp_path, root, monkeypatch):
    """The real parameters and notebooks, and outputs of its own."""
    for name in ("params", "notebooks", "lib"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(budget_forecast, "slowness", lambda: 1.0)
    return study.load("mini")


def test_the_cluster_holds_half_of_the_gpus_that_are_printed():
    frame = report.cluster_table().frame.set_index("Quantity")
    assert tuple(frame.loc["GPUs in all", ["Published", "Recomputed"]]) == (480, 240)
    assert not frame.loc["GPUs in all", "Same"]
    assert frame.loc["Nodes that the printed total needs", "Recomputed"] == 60


def test_a_step_of_sft_is_two_million_tokens_over_sixteen_packs_per_gpu():
    frame = report.parallelism_table().frame
    assert (frame["GPUs, published"] == frame["Nodes × GPUs per node"]).all()
    assert (frame["Packs per GPU and step"] == 16).all()
    assert frame["Tokens per step (millions)"].iloc[0] == pytest.approx(2.097152)


def test_memory_and_throughput_stand_in_tables():
    memory, speed = report.memory_table(ABOUT).frame, report.throughput_table(ABOUT).frame
    assert len(memory) == 8 and (memory["GB left for activations"] > 0).all()
    at = speed.set_index(["Model", "Share of the peak (%)"])
    assert at.loc[("4B", 30.0), "Seconds per step"] == pytest.approx(6.9, abs=0.1)


def test_the_printed_hours_of_sft_pay_for_a_billion_tokens_an_epoch_and_not_for_all_rows():
    share = budget_hours.used_share(ABOUT)
    tokens = share * ABOUT.rows * (ABOUT.row + ABOUT.prompt)
    assert 0.9e9 < 2 * tokens / 2 < 1.5e9
    assert budget_hours.tuning_hours(ABOUT, 1.0).least > 20 * 100


def test_the_range_of_hours_holds_the_printed_ones_of_data_generation():
    found = budget_hours.data_hours(ABOUT)
    assert found.least < found.published < found.most
    at = budget_hours.implied_share(ABOUT)
    assert budget_hours.formulas.writing_hours(
        ABOUT.rows * ABOUT.row, ABOUT.teacher.active, ABOUT.sheet, at
    ) == pytest.approx(8000)


def test_the_figure_has_a_line_and_a_point_per_teacher_and_says_them():
    points = report.sensitivity(ABOUT)
    assert points.groupby("teacher")["place"].value_counts()["GPT-OSS-120B", "memory"] == 1
    line = points[(points["teacher"] == "GPT-OSS-120B") & (points["place"] == "line")]
    assert (line["share"] * line["hours"]).round(6).nunique() == 1  # hours fall as utilization grows
    alt = report.sensitivity_figure(points, 8000.0).alt
    assert "published: 8,000 hours" in alt and "GPT-OSS-120B, 5 billion active" in alt


def test_every_claim_of_the_section_has_a_row_and_one_follows_from_first_principles():
    rows = {row["id"]: row for row in report.budget_claims(ABOUT)}
    assert len(rows) == 15 and all(row["note"] for row in rows.values())
    assert {row["verdict"] for name, row in rows.items() if name != "P165"} == {"not testable"}
    assert rows["P165"]["verdict"] == "pattern holds"
    assert (rows["P158"]["published"], rows["P158"]["ours"]) == (480, 240)


def test_the_section_answers_for_the_claim_that_it_tests():
    claims = {claim.id: responsible(claim) for claim in published.claims("3.5")}
    assert claims["P165"].notebook == "11_compute_budget"
    assert claims["P158"].fact


def test_a_teacher_that_writes_for_next_to_nothing_turns_the_claim_around():
    cheap = Assumed("H100", 1e4, 100.0, 150.0, [0.3], [0.1, 0.2], TEACHERS)
    rows = {row["id"]: row for row in report.budget_claims(cheap)}
    assert rows["P165"]["verdict"] == "pattern fails"


def test_the_sentences_name_the_contradiction():
    said = report.budget_verdicts(ABOUT)
    assert said[0]["verdict"] == "differs" and "240" in said[0]["text"] and "480" in said[0]["text"]
    assert all(one["verdict"] in report.VERDICTS and "note" in one for one in said)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gpu": "H10"}, "gpu 'H10' is unknown"),
        ({"training": [0.5, 0.3]}, "must be shares above 0 and up to 1, lowest first"),
        ({"writing": [0.0, 0.3]}, "must be shares above 0"),
        ({"teachers": {"Mine": "me/mine"}}, "'me/mine' is not known; add it"),
    ],
)
def test_an_assumption_that_cannot_be_meant_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        Assumed(**{**vars(ABOUT), **changed})


def test_sections_that_have_not_run_are_said_so(outputs):
    found = report.forecasts(outputs)
    table = report.forecast_beside(found).frame
    assert (table["Note"].iloc[:-1] == "has not run").all() and table["Note"].iloc[-1] == "none yet"
    assert report.forecast_verdicts(found)[0]["verdict"] == "not testable"
    assert report.utilization_table(found).frame["Checkpoint"].tolist() == ["none yet"]


def test_forecast_and_actual_stand_beside_each_other(outputs):
    report.write_result("04_sft", profile="mini", title="t", settings={}, seconds=600.0)
    folder = outputs.models_dir / "large-sft1"
    folder.mkdir(parents=True)
    record = {"name": "large-sft1", "tokens": 10, "seconds": 2.0, "tokens_per_second": 5.0, "mfu": 0.1}
    (folder / "training.json").write_text(json.dumps(record))
    found = report.forecasts(outputs)
    rows = report.forecast_beside(found).frame.set_index("Section")
    assert rows.loc["04_sft", "Actual (minutes)"] == pytest.approx(10)
    assert rows.loc["those that ran", "Actual / forecast"] == pytest.approx(rows.loc["04_sft", "Actual / forecast"])
    assert report.forecast_verdicts(found)[0]["verdict"] == "pattern fails"  # ten minutes where two were expected
    measured = report.utilization_table(found).frame
    assert measured["Share of the ceiling (%)"].tolist() == [pytest.approx(10)]


def test_a_replay_tells_what_was_noted_instead_of_measuring(outputs, monkeypatch):
    first = report.forecasts(outputs)
    monkeypatch.setattr("medpsy.noted.replaying", lambda: True)
    monkeypatch.setattr(budget_forecast, "slowness", lambda: 1 / 0)
    assert report.forecasts(outputs) == first


def test_costs_and_models_are_among_the_inputs():
    assert {"planning/costs.yaml", "planning/models.csv", "planning/anchors.csv"} == set(units.digests())
