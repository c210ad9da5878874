"""The training stages: tables as the report prints them, paired tests, patterns that may fail, and what is too few."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from medpsy import evaluate, published, report, strict, study
from medpsy.benchmarks import SUITES
from medpsy.benchmarks.question import Question
from medpsy.published import SUITE_TITLES
from medpsy.report.progression import AVERAGE_TITLE, HEALTHBENCH
from medpsy.report.remeasured import rests_on
from medpsy.report.responsibility import PRINTED, responsible
from medpsy.report.settling import settled
from medpsy.report.stage_claims import with_differences
from medpsy.report.stages import FILES, ORDER, Ladder

TABLES = {"large": "table06_stages_4b", "small": "table05_stages_1p7b"}
TITLES = {key: spec.title for key, spec in SUITES.items()}
RISING = {"backbone": 0.3, "sft1": 0.6, "sft2": 0.65, "rl1": 0.65, "rl2": 0.75}  # share of questions a stage has right
CARE = {"backbone": 0.2, "sft1": 0.7, "sft2": 0.7, "rl1": 0.7, "rl2": 0.7}  # share of conversations it does well in
COUNT = 60


def models(size="large"):
    return {"backbone": f"qwen3-{size}"} | {stage: f"{size}-{stage}" for stage in ORDER[1:]}


def stages(sizes=tuple(TABLES)):
    return {stage: {size: models(size)[stage] for size in sizes} for stage in ORDER}


def graded(shares, size="large", count=COUNT, runs=1):
    """Return graded rows: each stage is right on the first questions of every suite; `shares` may differ by suite."""
    rows = [
        {"model": models(size)[stage], "suite": suite, "weight_group": suite, "question_id": f"q{n}", "run": run}
        | {
            "outcome": "correct" if n < count * _share(share, suite) else "wrong",
            "key": f"{size}{stage}{suite}{n}{run}",
        }
        | {"gold": 0, "completion_tokens": 40}
        for stage, share in shares.items()
        for suite in SUITES
        for n in range(count)
        for run in range(runs)
    ]
    return pd.DataFrame(rows)


def _share(share, suite):
    return share.get(suite, share.get("else")) if isinstance(share, dict) else share


def judged(care, size="large", count=COUNT, judges=("judge-lenient",)):
    """Return one good criterion per conversation, met in the first of them."""
    about = {"suite": "healthbench", "theme": "hedging", "run": 0, "finish_reason": "stop", "completion_tokens": 20}
    rows = [
        about
        | {"model": models(size)[stage], "judge": judge, "conversation_id": f"c{n}", "key": f"{size}{stage}{n}"}
        | {"criterion": 0, "points": 5, "axis": "accuracy", "outcome": "met" if n < count * share else "not met"}
        for judge in judges
        for stage, share in care.items()
        for n in range(count)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def mine():
    """The miniature's study, whose suites have just the questions that were asked."""

    def questions(study, suites=None, *, every=False):
        asked = suites or list(SUITES)
        about = ("", "?", ("a", "b"), 0, None)
        return {one: {f"q{n}": Question(f"q{n}", one, *about, one) for n in range(COUNT)} for one in asked}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate, "questions", questions)
        yield study.load("mini")


@pytest.fixture(scope="module")
def rising(mine):
    """The large class, rising as the report's does, with its graded and judged rows."""
    return climbed(mine)


def climbed(own, shares=RISING, care=CARE, size="large", count=COUNT, columns=None, **more):
    ladder = Ladder(size, TABLES[size], {stage: models(size)[stage] for stage in shares})
    rows = graded(shares, size, count, **more), judged(care, size, count)
    columns = {"judge-lenient": HEALTHBENCH} if columns is None else columns
    return report.progression(own, ladder, *rows, judge_columns=columns), *rows


def measured(own, *classes, only):
    """Return the claims `only` (ids), measured on what `climbed` returned, by id."""
    with pytest.MonkeyPatch.context() as patched:
        chosen = [claim for claim in published.claims() if claim.id in only]
        patched.setattr(published, "claims", lambda: chosen)
        found, rows, said = zip(*classes, strict=True)
        return {row["id"]: row for row in report.stage_claims(own, found, pd.concat(rows), pd.concat(said))}


def verdicts(found, **more):
    return [said["verdict"] for said in report.stage_verdicts(found, **more)]


@pytest.mark.parametrize("size", TABLES)
def test_published_scores_give_the_published_differences(size):
    """The arithmetic of rows, fed with the printed scores, returns the printed differences to the last digit."""
    printed, ladder = published.table(TABLES[size]), Ladder(size, TABLES[size], models(size))
    scores = printed.loc[list(ladder.rows.values())].set_axis(list(ladder.models))
    rows = with_differences(scores, ladder)
    assert set(rows.index) == set(printed.index)
    assert np.allclose(rows.loc[printed.index], printed, atol=1e-9)


def test_steps_lead_from_each_stage_to_the_next_and_from_end_to_end():
    steps = Ladder("large", TABLES["large"], models()).steps
    assert [step.name for step in steps] == ["Δ sft1", "Δ sft2", "Δ rl1", "Δ rl2", "total Δ"]
    assert [step.printed for step in steps][-2:] == ["Δ RL Stage 2", "Total Δ"]
    ends = {stage: model for stage, model in models().items() if stage in ("backbone", "rl2")}
    assert [step.name for step in Ladder("large", TABLES["large"], ends).steps] == ["total Δ"]


def test_a_table_has_scores_and_differences_in_turn_and_the_published_rows_below(mine, rising):
    found, *_ = rising
    shown = report.stage_table(mine, found)
    assert shown.shown[:5] == ["Stage", "Source", "Average", "MMLU (Health)", "HealthBench"]
    ours = shown.frame[shown.frame["Source"] == "ours"].set_index("Stage")
    names = ["backbone", "+ sft1", "Δ sft1", "+ sft2", "Δ sft2", "+ rl1", "Δ rl1", "+ rl2", "Δ rl2", "total Δ"]
    assert list(ours.index) == names
    assert ours.loc["+ sft1", "Average"] - ours.loc["backbone", "Average"] == pytest.approx(
        ours.loc["Δ sft1", "Average"]
    )
    assert ours.loc["total Δ", "Average"] == pytest.approx(45) and ours.loc["total Δ", HEALTHBENCH] == pytest.approx(50)
    assert (ours["Average ±"] > 0).all() and ours["HealthBench ±"].notna().all()
    below = shown.frame[shown.frame["Source"] != "ours"]
    assert list(below["Stage"]) == list(published.table(TABLES["large"]).index)
    assert shown.links["PubMedQA"][:3] == ["model=qwen3-large&suite=pubmedqa", "model=large-sft1&suite=pubmedqa", None]
    assert shown.links[HEALTHBENCH][1] == "conversations#model=large-sft1&suite=healthbench"


def test_steps_are_tested_and_corrected_for_all_of_a_class(mine, rising):
    found, *_ = rising
    gaps = found.gaps.set_index(["step", "measure"])
    assert len(gaps) == 5 * 9
    first = gaps.loc[("Δ sft1", "MedQA (USMLE)")]
    assert first["difference"] == pytest.approx(30) and first["margin"] < 14
    smallest = gaps["p_value"].min()
    assert gaps.loc[gaps["p_value"] == smallest, "p_holm"].iloc[0] == pytest.approx(smallest * len(gaps))
    assert (gaps["p_holm"] >= gaps["p_value"]).all()
    shown = report.step_table(mine, found).frame.set_index(["Step", "Suite"])
    assert shown.loc[("Δ sft1", "MedQA (USMLE)"), "Verdict"] == "pattern holds"
    assert shown.loc[("Δ sft1", "PubMedQA"), "Verdict"] == "pattern fails"  # the report's falls
    assert shown.loc[("Δ rl1", "MedQA (USMLE)"), "Verdict"] == "too few to tell"
    assert shown.loc[("Δ rl1", HEALTHBENCH), "Verdict"] == "pattern holds"  # printed zero, and nothing changed


def test_patterns_that_hold_are_said_to_hold(mine):
    found, *_ = climbed(mine, {**RISING, "rl2": 0.8})
    said = report.stage_verdicts(found, least_gain=15)
    assert [one["verdict"] for one in said] == ["pattern holds"] * 6
    assert said[0]["text"].startswith("The large class gains at least 15 points") and "±" in said[0]["text"]


def test_patterns_that_fail_are_said_to_fail(mine):
    falling = {"backbone": 0.6, "sft1": 0.4, "sft2": 0.4, "rl1": 0.8, "rl2": 0.3}
    later = {"backbone": 0.1, "sft1": 0.2, "sft2": 0.2, "rl1": 0.2, "rl2": 0.9}
    found, *_ = climbed(mine, falling, later)
    assert verdicts(found) == ["pattern fails"] * 6


def test_a_class_that_loses_healthbench_captures_nothing(mine):
    losing = {"backbone": 0.9, "sft1": 0.8, "sft2": 0.5, "rl1": 0.4, "rl2": 0.2}
    assert verdicts(climbed(mine, care=losing)[0])[2] == "pattern fails"


def test_a_gain_below_the_least_one_is_no_gain(mine, rising):
    found, *_ = rising
    assert verdicts(found, least_gain=60)[0] == "pattern fails"
    assert verdicts(found, least_gain=45)[0] == "too few to tell"


def test_too_few_questions_settle_nothing(mine):
    found, rows, said = climbed(mine, count=4)
    assert set(verdicts(found)) == {"too few to tell"}
    assert "too few questions for a margin" in report.stage_verdicts(found)[2]["text"]
    assert set(report.step_table(mine, found).frame["Verdict"]) == {"too few to tell"}
    claims = measured(mine, (found, rows, said), only=("P259", "P262", "P273", "P281", "R025", "R137"))
    assert {row["verdict"] for name, row in claims.items() if name != "R025"} == {"too few to tell"}


def test_claims_are_measured_on_suites_healthbench_and_differences(mine, rising):
    large, small = rising, climbed(mine, size="small")
    wanted = ("P254", "P255", "P256", "P257", "P268", "P272", "P274", "P277", "P278", "R081", "R082", "X032", "X033")
    found = measured(mine, large, small, only=wanted)
    assert found["P254"]["verdict"] == found["P255"]["verdict"] == "pattern holds"
    assert (found["P256"]["verdict"], found["P256"]["ours"]) == ("pattern holds", 1)  # the largest in both classes
    assert found["P257"]["ours"] == pytest.approx(50) and found["P257"]["effort"]["questions"] == COUNT
    assert found["P268"]["verdict"] == "pattern holds"  # rl2 above sft2 on MedXpertQA
    assert found["P272"]["verdict"] == "pattern holds"  # no change of HealthBench after sft1
    assert found["P274"]["verdict"] == "pattern fails"  # PubMedQA rises here
    assert found["P278"]["verdict"] == "not testable"  # a score of another model
    assert found["R081"]["ours"] == pytest.approx(found["R082"]["ours"])  # the total, and the sum of four steps
    assert found["R081"]["effort"]["questions"] == 7 * COUNT and found["R081"]["effort"]["tokens"] == 80
    assert not {"P277", "X032", "X033"} & set(found)  # of another table, or between printed places


def test_every_claim_that_rests_on_the_stage_tables_is_answered_here():
    """Whatever the ledger expects of this section is measured by it, but for the claim that needs a second run."""
    owned = {one.id for one in published.claims() if responsible(one).notebook == "08_stage_ablations"}
    answered = {one.id for one in published.claims() if rests_on(one, TABLES.values()) and one.kind != PRINTED}
    assert owned - answered == {"P253"} and answered <= owned and len(answered) == 156


def test_a_claim_of_no_change_is_settled_by_a_narrow_margin():
    """However near zero the measured change is, more questions can show that it is small."""
    effort = {"questions": 70, "runs": 1, "tokens": 40.0, "run_share": None, "suite": None, "share": None}
    row = {"verdict": "too few to tell", "published": 0.0, "ours": 0.0, "margin": 9.0, "effort": effort}
    assert min(plan.questions for plan in settled(row, "mini")) == pytest.approx(9 * 70, rel=0.02)  # a third of 9 is 3


def test_the_order_of_gains_is_settled_by_bootstrap(mine):
    """HealthBench and MedQA gain most in sft1: words, so the rule decides and no range of values."""
    steep = {**RISING, "sft1": {"medqa": 0.9, "else": 0.5}}
    assert (
        measured(mine, climbed(mine, steep, {**CARE, "sft1": 0.9}), only=("P262",))["P262"]["verdict"]
        == "pattern holds"
    )
    flat = {**RISING, "sft1": {"medqa": 0.2, "else": 0.9}}
    assert measured(mine, climbed(mine, flat), only=("P262",))["P262"]["verdict"] == "pattern fails"


def test_of_the_end_points_alone_only_the_total_is_measured(mine):
    ends = {stage: RISING[stage] for stage in ("backbone", "rl2")}
    found, rows, said = climbed(mine, ends, {stage: CARE[stage] for stage in ends})
    by_id = measured(mine, (found, rows, said), only=("P255", "R135"))
    assert by_id["R135"]["verdict"] == "pattern holds"
    assert by_id["P255"]["verdict"] == "not testable" and "+ SFT Stage 1" in by_id["P255"]["note"]
    assert verdicts(found)[:3] == ["pattern holds", "not testable", "not testable"]
    assert list(report.stage_table(mine, found).frame["Stage"][:3]) == ["backbone", "+ rl2", "total Δ"]


def test_healthbench_of_another_judge_is_never_set_beside_the_published_one(mine):
    found, rows, said = climbed(mine, columns={})
    by_id = measured(mine, (found, rows, said), only=("P258",))
    assert by_id["P258"]["verdict"] == "not testable" and HEALTHBENCH in by_id["P258"]["note"]
    steps = report.step_table(mine, found).frame.set_index(["Step", "Suite"])
    assert np.isnan(steps.loc[("total Δ", HEALTHBENCH), "Published"])
    assert steps.loc[("total Δ", HEALTHBENCH), "Verdict"] == "not testable"
    with pytest.raises(ValueError, match="'Overall' is no column of table06_stages_4b"):
        climbed(mine, columns={"judge-lenient": "Overall"})


def test_values_are_compared_where_the_published_models_are_run(mine):
    real = replace(mine, profile="paper")
    printed = published.table(TABLES["large"]).loc[Ladder("large", TABLES["large"], models()).rows.values()]
    shares = {
        stage: {key: printed.iloc[place][TITLES[key]] / 100 for key in SUITES} for place, stage in enumerate(ORDER)
    }
    care = {stage: value / 100 for stage, value in zip(ORDER, printed[HEALTHBENCH], strict=True)}
    found, rows, said = climbed(real, shares, care, runs=3)
    beside = report.stage_beside(real, found, rows, said).frame.set_index(["Stage", "Suite"])
    assert len(beside) == 5 * 9
    assert beside.loc[("rl2", AVERAGE_TITLE), "Published"] == 70.54
    assert beside.loc[("rl2", AVERAGE_TITLE), "Gap"] == pytest.approx(0, abs=1.7)  # sixty questions round each suite
    assert report.stage_beside(mine, found, rows, said).frame.empty
    total = report.step_table(real, found).frame.set_index(["Step", "Suite"]).loc[("total Δ", AVERAGE_TITLE)]
    assert total["Verdict"] in ("agrees", "too few to tell") and total["Published"] == 7.5


def test_the_figure_says_what_it_shows(mine, rising):
    found, *_ = rising
    shown = report.stage_figure(mine, found, chance={AVERAGE_TITLE: 25.0} | dict.fromkeys(SUITE_TITLES, 25.0))
    assert "Average: backbone 30.0 ± " in shown.alt and "HealthBench: backbone 20.0 ± " in shown.alt
    titles = [panel.get_title("left") for panel in shown.canvas.axes]
    assert titles[:2] == [AVERAGE_TITLE, HEALTHBENCH] and len(titles) == 9
    assert [text.get_text() for text in shown.canvas.legends[0].get_texts()] == ["ours", "guessing"]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The miniature's study with a folder for every checkpoint, whole."""
    own = study.load("mini")
    monkeypatch.setattr(study, "ROOT", tmp_path)
    for name in [name for size in TABLES for name in models(size).values() if not name.startswith("qwen3")]:
        folder = tmp_path / "outputs" / "mini" / "models" / name
        folder.mkdir(parents=True)
        [(folder / file).touch() for file in FILES]
    return own


def test_ladders_name_the_models_of_each_class_in_the_order_of_training(trained):
    found = report.ladders(trained, dict(reversed(stages().items())), TABLES)
    assert list(found) == ["large", "small"] or list(found) == ["small", "large"]
    assert dict(found["small"].models) == models("small") and list(found["small"].models) == list(ORDER)


@pytest.mark.parametrize(("name", "section"), [("large-sft2", "04_sft"), ("small-rl1", "05_rl")])
def test_a_checkpoint_that_is_not_whole_names_the_section_to_run_first(trained, name, section, monkeypatch):
    (trained.models_dir / name / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=f"'{name}'.*no model.safetensors; run section {section} first"):
        report.ladders(trained, stages(), TABLES)
    monkeypatch.setenv("MEDPSY_REPLAY", "1")
    assert report.ladders(trained, stages(), TABLES)  # a replay reads stored responses and needs no weights


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sft9": {"large": "large-sft1"}}, "stages: stage 'sft9' is unknown; did you mean"),
        ({"rl2": {"small": "small-rl2"}}, "stages.rl2: 'large' is missing; both ends are needed"),
        ({"sft1": {"large": "qwen3-large"}}, "'large' names a model twice"),
    ],
)
def test_a_ladder_that_cannot_be_meant_is_refused(trained, changes, words):
    with pytest.raises(strict.SettingsError, match=words) as caught:
        report.ladders(trained, stages() | changes, TABLES)
    assert "params/mini/08_stage_ablations.yaml" in str(caught.value)


def test_a_table_that_is_none_of_the_stages_is_refused(trained):
    with pytest.raises(
        strict.SettingsError, match="stands_for.small: 'table05' is no published stage table; known are table05"
    ):
        report.ladders(trained, stages(), TABLES | {"small": "table05"})
