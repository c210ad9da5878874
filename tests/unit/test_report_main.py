"""The main results: Tables 1 to 4 as the report has them, claims drawn from all of them together, gains and judges."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from medpsy import evaluate, published, report, strict, study
from medpsy.benchmarks import SUITES
from medpsy.benchmarks.healthbench import THEMES
from medpsy.benchmarks.question import Question
from medpsy.published import SUITE_TITLES
from medpsy.report.main_claims import SECTION, TABLE_1, filled, layout
from medpsy.report.main_draws import Measure
from medpsy.report.main_models import stands_for
from medpsy.report.remeasured import rests_on
from medpsy.report.responsibility import responsible
from medpsy.report.stages import FILES

JUDGES = {"judge-lenient": "CompassJudger-2-32B", "judge-middle": "Llama-3.3-70B", "judge-strict": "GPT-OSS-120B"}
CLASSES = {
    "large": ["large-rl2", "teacher-broad", "qwen3-large", "smollm3-large"],
    "small": ["small-rl2", "smollm3-large", "qwen3-small", "lfm2-small"],
}
TITLES = {key: spec.title for key, spec in SUITES.items()}
COUNT, PER_THEME, HARD_PER_THEME = 40, 12, 6
SHARES = {"large-rl2": 0.8, "teacher-broad": 0.7, "qwen3-large": 0.6, "small-rl2": 0.65, "smollm3-large": 0.4}
SHARES |= {"qwen3-small": 0.35, "lfm2-small": 0.3}  # share of questions a model has right
CARE = {"large-rl2": 0.9, "small-rl2": 0.75, "teacher-broad": 0.5, "qwen3-large": 0.4, "smollm3-large": 0.3}
CARE |= {"qwen3-small": 0.25, "lfm2-small": 0.1}  # share of conversations of a theme it does well in


def graded(shares=SHARES, count=COUNT, runs=1):
    """Each model is right on the first questions of every suite; a share may differ by suite."""
    rows = [
        {"model": model, "suite": suite, "weight_group": suite, "question_id": f"q{n}", "run": run, "gold": 0}
        | {"outcome": "correct" if n < count * _share(share, suite) else "wrong", "completion_tokens": 40}
        for model, share in shares.items()
        for suite in SUITES
        for n in range(count)
        for run in range(runs)
    ]
    return pd.DataFrame(rows)


def _share(share, suite):
    return share.get(suite, share.get("else")) if isinstance(share, dict) else share


def judged(care=CARE, harsh=0.0, judges=tuple(JUDGES), per_theme=PER_THEME, themes=tuple(THEMES)):
    """Return one good criterion per conversation; Hard is the last of each theme, which few models do well in.

    `harsh` lowers the share of conversations done well under every further judge.
    """
    about = {"run": 0, "finish_reason": "stop", "criterion": 0, "points": 5, "axis": "accuracy", "completion_tokens": 9}
    rows = []
    for place, judge in enumerate(judges):
        for model, share in care.items():
            for theme in themes:
                for n in range(per_theme):
                    met = n < per_theme * (share - place * harsh)
                    own = {"model": model, "judge": judge, "theme": theme, "conversation_id": f"{theme}{n}"}
                    own |= {"key": f"{model}{theme}{n}", "outcome": "met" if met else "not met"}
                    suites = ["healthbench", *["healthbench_hard"] * (n >= per_theme - HARD_PER_THEME)]
                    rows += [about | own | {"suite": suite} for suite in suites]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def mine():
    """The miniature's study, whose suites have just the questions that were asked."""

    def questions(study, suites=None, *, every=False):
        about = ("", "?", ("a", "b"), 0, None)
        return {
            one: {f"q{n}": Question(f"q{n}", one, *about, one) for n in range(COUNT)} for one in suites or list(SUITES)
        }

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate, "questions", questions)
        yield study.load("mini")


@pytest.fixture(scope="module")
def sizes(mine):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MEDPSY_REPLAY", "1")  # needs no weights
        return report.size_classes(mine, CLASSES)


@pytest.fixture(scope="module")
def rows():
    return graded(), judged()


@pytest.fixture(scope="module")
def drawn(rows):
    return report.main_draws(*rows)


def claims(own, sizes, drawn, graded_rows, only, **more):
    """Return the claims `only` (ids), by id."""
    with pytest.MonkeyPatch.context() as patched:
        chosen = [claim for claim in published.claims() if claim.id in only]
        patched.setattr(published, "claims", lambda: chosen)
        settings = {"judge_columns": JUDGES, "teacher": {}} | more
        return {row["id"]: row for row in report.main_claims(own, drawn, graded_rows, sizes, **settings)}


def shown(own, sizes, rows, columns=JUDGES):
    scores, rubric = report.scored(own, rows[0]), report.rubric_scored(own, rows[1])
    return report.main_boards(own, sizes, scores, rubric, columns), scores, rubric


@pytest.fixture(scope="module")
def boards(mine, sizes, rows):
    return shown(mine, sizes, rows)


def test_table_1_is_sorted_by_average_and_marks_the_best_of_each_class(mine, sizes, boards):
    table = report.main_tables(mine, sizes, boards[0])["closed_ended"]
    ours = table.frame[table.frame["Source"] == "ours"]
    assert list(ours["Model"][:2]) == ["Qwen3 large, rl2", "Teacher, broad"] and len(ours) == 6
    assert ours["Average"].is_monotonic_decreasing and (ours["Average ±"] > 0).all()
    marked = [name for name, mark in zip(table.frame["Model"], table.marks["Average"], strict=True) if mark]
    assert marked == ["Qwen3 large, rl2", "Qwen3 small, rl2"]
    below = table.frame[table.frame["Source"] != "ours"]
    assert list(below["Model"]) == list(published.table(TABLE_1).index)
    assert list(below["Class"]) == ["large", "large", "large", "small", "small", "small"]
    assert "<strong>" in table.html() and table.html().count("<strong>") == 2 * 8


def test_table_2_has_a_column_for_each_judge_and_set_and_tables_3_and_4_one_for_each_theme(mine, sizes, boards):
    tables = report.main_tables(mine, sizes, boards[0])
    assert list(tables) == ["closed_ended", "healthbench", "themes", "themes_hard"]
    panel = tables["healthbench"]
    assert panel.shown[3:5] == ["Judge, lenient | HealthBench", "Judge, lenient | HealthBench Hard"]
    assert len(panel.shown) == 3 + 6
    printed = panel.frame[panel.frame["Model"] == "MedPsy-4B"].iloc[0]
    assert printed["Judge, strict | HealthBench Hard"] == 28.67
    assert tables["themes_hard"].shown[3:] == ["Overall", *THEMES.values()]
    first = tables["themes"].frame.iloc[0]
    assert first["Model"] == "Qwen3 large, rl2" and first["Global Health"] == pytest.approx(100 * 11 / PER_THEME)
    assert panel.links[panel.shown[3]][0] == "conversations#model=large-rl2&suite=healthbench"


def test_themes_under_another_judge_than_the_report_s_stand_alone(mine, sizes, rows):
    found = report.main_tables(mine, sizes, shown(mine, sizes, rows, columns={})[0])
    assert set(found["themes"].frame["Source"]) == {"ours"} == set(found["healthbench"].frame["Source"])


def test_values_stand_beside_the_published_ones_only_where_the_published_models_are_run(mine, sizes, rows, boards):
    assert report.main_beside(mine, sizes, rows[0], boards[0]) == {}
    found = report.main_beside(replace(mine, profile="paper"), sizes, rows[0], boards[0])
    assert list(found) == ["closed_ended_beside", "healthbench_beside", "themes_beside", "themes_hard_beside"]
    closed = found["closed_ended_beside"].frame.set_index(["Model", "Measure"])
    assert len(closed) == 6 * 8
    assert closed.loc[("Qwen3 large, rl2", "Average"), ["Published", "Verdict"]].tolist() == [70.54, "differs"]
    panel = found["healthbench_beside"].frame
    assert len(panel) == 5 * 6  # Table 2 has no row for the small backbone


def test_the_figures_have_nine_panels_and_say_what_they_show(mine, sizes, boards):
    _, scores, rubric = boards
    found = report.main_figures(mine, sizes, scores, rubric, chance=dict.fromkeys(SUITE_TITLES, 25.0))
    assert list(found) == ["overview_large", "overview_small"]
    titles = [panel.get_title("left") for panel in found["overview_large"].canvas.axes]
    assert titles == ["Average", "HealthBench", *SUITE_TITLES]
    assert "HealthBench: Qwen3 large, rl2 on HealthBench 91.7 ± " in found["overview_large"].alt
    assert "LFM2 small 30.0 ± " in found["overview_small"].alt
    colours = [
        {
            text.get_text(): patch.get_facecolor()
            for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=False)
        }
        for legend in (one.canvas.legends[0] for one in found.values())
    ]
    assert colours[0]["SmolLM3 large"] == colours[1]["SmolLM3 large"]


def test_published_scores_in_the_layout_give_the_published_claims(drawn, sizes):
    """Every printed cell of Tables 1 to 4 and of the card has its place, and no other has."""
    places = layout(drawn, stands_for(sizes), JUDGES, {"teacher-broad": "Baichuan-M3-235B"})
    for table in set(places) - {"teacher_closed_ended"}:
        printed = published.table(table)
        assert set(places[table]) == set(printed.index)
        assert all(set(cells) == set(printed.columns) for cells in places[table].values())
    measured = filled(places, drawn, drawn.values[0])
    assert measured[TABLE_1]["MedPsy-4B"]["Average"] == pytest.approx(80)
    card = measured["card_medpsy4b_benchmarks"]
    assert (
        card["HealthBench Hard | Overall"]["MedPsy-4B"]
        == measured["table04_healthbench_hard_dimensions"]["MedPsy-4B"]["Overall"]
    )


def test_every_claim_the_ledger_expects_here_is_answered_but_those_that_need_a_figure_or_words(drawn, sizes):
    owned = {one.id for one in published.claims() if responsible(one).notebook == SECTION}
    places = layout(drawn, stands_for(sizes), JUDGES, {"teacher-broad": "Baichuan-M3-235B"})
    answered = {one.id for one in published.claims() if one.id in owned and rests_on(one, places)}
    assert owned - answered == {"P065"}  # a bar of a figure that no table prints


def test_statements_in_words_are_tested_on_all_tables_together(mine, sizes, rows, drawn):
    wanted = ("P005", "P027", "P063", "P195", "P196", "P198", "P204", "P235", "P240", "P244", "P293", "P193", "P188")
    found = claims(mine, sizes, drawn, rows[0], wanted, teacher={"teacher-broad": "Baichuan-M3-235B"})
    assert set(found) == set(wanted)
    assert found["P005"]["ours"] == pytest.approx(25) and found["P005"]["verdict"] == "pattern holds"
    assert found["P195"]["verdict"] == found["P196"]["verdict"] == "pattern holds"  # first and second in six columns
    assert (found["P198"]["verdict"], found["P198"]["ours"]) == ("pattern holds", 7)
    assert found["P204"]["verdict"] == found["P063"]["verdict"] == found["P293"]["verdict"] == "pattern holds"
    assert found["P240"]["verdict"] == "pattern holds"  # HealthBench gains most over the backbone
    assert found["P244"]["ours"] == pytest.approx(100 * 30 / 35) and found["P244"]["verdict"] == "pattern holds"
    assert found["P193"]["verdict"] == "pattern fails"  # the small final model is above the large backbone here
    assert found["P188"]["verdict"] == "pattern fails"  # PubMedQA of the small backbone is far from the teacher's


def test_a_claim_on_hard_counts_the_conversations_of_hard(mine, sizes, rows, drawn):
    found = claims(mine, sizes, drawn, rows[0], ("P020", "P023", "P027"))
    assert found["P020"]["effort"]["questions"] == HARD_PER_THEME * len(THEMES)
    assert found["P023"]["effort"]["questions"] == PER_THEME * len(THEMES)
    assert found["P027"]["effort"]["questions"] == HARD_PER_THEME * len(THEMES)  # the smallest of its parts
    few = report.main_draws(rows[0], judged(per_theme=8, themes=tuple(THEMES)[:3]))
    assert claims(mine, sizes, few, rows[0], ("P020",))["P020"]["verdict"] == "too few to tell"


def test_hard_is_drawn_with_the_healthbench_it_is_part_of(drawn):
    """A model that does well in the last conversations alone: both scores rise and fall together."""
    main, hard = (
        drawn.of("large-rl2", Measure("Overall", part, "judge-lenient")) for part in ("healthbench", "healthbench_hard")
    )
    assert np.corrcoef(main[1:], hard[1:])[0, 1] > 0.9


def test_without_the_report_s_judges_no_healthbench_claim_is_tested(mine, sizes, rows, drawn):
    found = claims(mine, sizes, drawn, rows[0], ("P023", "P198", "P005"), judge_columns={})
    assert found["P023"]["verdict"] == found["P198"]["verdict"] == "not testable"
    assert found["P005"]["verdict"] == "pattern holds"


def test_a_mean_of_one_model_s_scores_is_a_score_and_no_lead(mine, sizes, rows, drawn):
    found = claims(mine, sizes, drawn, rows[0], ("R029", "P324"))
    assert found["R029"]["ours"] == pytest.approx(80)
    assert {one["verdict"] for one in found.values()} == {"not testable"}


def test_a_share_of_no_gap_at_all_leaves_its_claim_open(mine, sizes, rows):
    level = graded({model: 0.5 for model in SHARES})
    found = claims(mine, sizes, report.main_draws(level, rows[1]), level, ("P244",))
    assert found["P244"]["verdict"] == "too few to tell" and "no value" in found["P244"]["note"]


def test_gains_are_ranked_with_their_margins(mine, sizes, rows, drawn):
    found = report.main_gains(mine, sizes[0], drawn, *rows, judge_columns=JUDGES)
    assert list(found["label"].unique()) == ["Qwen3 large", "Teacher, broad"] and len(found) == 2 * 10
    table = report.gain_table(mine, sizes[0], found)
    first = table.frame.iloc[0]
    assert (first["Measure"], first["Rank"], first["Rank, 95 %"]) == ("HealthBench Hard", 1, "1 to 1")
    assert first["Gain"] == pytest.approx(100 * 5 / HARD_PER_THEME) and first["Published"] == pytest.approx(15.33)
    average = table.frame.set_index(["Over", "Measure"]).loc[("Qwen3 large", "Average")]
    assert average["Gain"] == pytest.approx(20) and average["Published"] == pytest.approx(7.44)
    assert np.isnan(average["Rank"]) and average["Verdict"] == "pattern holds"
    assert (found["p_holm"].dropna() >= found["p_value"].dropna()).all()


def test_patterns_that_hold_are_said_to_hold_and_those_that_fail_to_fail(mine, sizes, drawn, rows):
    said = report.main_verdicts(mine, sizes[0], drawn)
    assert [one["verdict"] for one in said[:3]] == ["pattern holds"] * 3
    assert said[2]["text"].endswith("points)") and "7 of 7" in said[2]["text"]
    assert said[-1]["verdict"] == "pattern holds"
    reverse = {model: 1 - share for model, share in SHARES.items()}
    worse = report.main_draws(graded(reverse), judged({model: 1 - share for model, share in CARE.items()}))
    assert {one["verdict"] for one in report.main_verdicts(mine, sizes[0], worse)[:3]} == {"pattern fails"}
    unasked = report.main_draws(rows[0], judged(themes=tuple(THEMES)[:2]))
    assert report.main_verdicts(mine, sizes[0], unasked)[2]["verdict"] == "not testable"


def test_judges_that_order_the_models_alike_are_said_to_and_a_reversal_is_named(mine, sizes, drawn, rows):
    few = ["large-rl2", "teacher-broad", "smollm3-large"]
    assert report.judge_verdict(mine, drawn, few)["verdict"] == "pattern holds"
    turned = pd.concat([judged(), judged({**CARE, "large-rl2": 0.1}, judges=("judge-strict",))])
    turned = turned.drop_duplicates(["suite", "judge", "model", "conversation_id"], keep="last")
    said = report.judge_verdict(mine, report.main_draws(rows[0], turned), few)
    assert said["verdict"] == "pattern fails" and "Qwen3 large, rl2 and Teacher, broad" in said["note"]
    ranks = report.judge_rank_table(mine, drawn, few).frame
    assert ranks["Judge, lenient"].tolist() == [1, 2, 3, 1, 2, 2]  # on Hard the last two do nothing well
    assert ranks["Judge, lenient, 95 %"].iloc[0] == "1 to 1"


def test_unjudged_criteria_leave_the_order_open_where_ranges_overlap(mine, rows):
    few = ["large-rl2", "teacher-broad"]
    assert report.unjudged_verdict(report.rubric_scored(mine, rows[1]), few)["verdict"] == "pattern holds"
    unsure = rows[1].copy()
    unsure.loc[unsure["conversation_id"].str.endswith(("1", "3", "5", "7", "9")), "outcome"] = "unjudged"
    said = report.unjudged_verdict(report.rubric_scored(mine, unsure), few)
    assert said["verdict"] == "too few to tell" and "Qwen3 large, rl2 and Teacher, broad" in said["note"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"big": CLASSES["large"]}, "classes.big: no such size class; known are large, small"),
        ({"large": CLASSES["large"][:3]}, "classes.large: .* must name 4 models"),
        ({"large": ["", *CLASSES["large"][1:]]}, "MedPsy-4B is missing; the final model and its backbone are needed"),
        ({"large": ["large-rl2", "large-rl2", *CLASSES["large"][2:]]}, "names a model twice"),
        ({"large": [*CLASSES["large"][:3], "gemma3-small"]}, "a row of the report has two models"),
        ({"large": ["large-rl9", *CLASSES["large"][1:]]}, "model 'large-rl9' is not in params/mini/study.yaml"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused(mine, changes, words):
    with pytest.raises(ValueError, match=words):
        report.size_classes(mine, CLASSES | changes)


def test_a_model_that_is_not_run_is_left_out(mine, monkeypatch):
    monkeypatch.setenv("MEDPSY_REPLAY", "1")
    large, small = report.size_classes(mine, CLASSES | {"large": ["large-rl2", "", "qwen3-large", "smollm3-large"]})
    assert large.rival is None and large.members == ["large-rl2", "qwen3-large"] and large.references == ["qwen3-large"]
    assert small.references == ["qwen3-small", "smollm3-large"]


def test_a_checkpoint_that_is_not_whole_names_the_section_to_run_first(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    for name in ("large-rl2", "small-rl2"):
        folder = tmp_path / "outputs" / "mini" / "models" / name
        folder.mkdir(parents=True)
        [(folder / file).touch() for file in FILES]
    assert len(report.size_classes(mine, CLASSES)) == 2
    (tmp_path / "outputs/mini/models/small-rl2/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="'small-rl2'.*run section 05_rl first"):
        report.size_classes(mine, CLASSES)


def test_no_class_at_all_is_refused_with_the_file_that_names_them(mine):
    with pytest.raises(strict.SettingsError, match="params/mini/07_main_results.yaml"):
        report.size_classes(mine, {})
