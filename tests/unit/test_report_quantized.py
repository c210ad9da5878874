"""Quantized files in tables and claims: paired changes, printed arithmetic, patterns that may fail, and too few."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medpsy import published, report, study
from medpsy.benchmarks import SUITES
from medpsy.quantization import Family, Variant
from medpsy.quantization.calibration import Texts
from medpsy.report.quantized import BOTH, CLOSED, HARD, OPEN
from medpsy.report.quantized_layout import layout
from medpsy.report.responsibility import responsible

TABLES = {"large": "table07_quant_4b", "small": "table08_quant_1p7b"}
BACKBONES = {"large": "qwen3-large", "small": "qwen3-small"}
BYTES = {"BF16": 4000, "Q8_0": 2100, "Q4_K_M": 1300, "IQ3_M": 1000, "IQ3_XXS": 900}  # thousands; half for the small
KEPT = {"Q8_0": (0.8, 0.8), "Q4_K_M": (0.8, 0.7), "IQ3_M": (0.75, 0.6), "IQ3_XXS": (0.6, 0.2)}  # right: large, small
PLAIN, WHOLE, RAW = 0.5, 0.8, 0.3  # shares right: without imatrix, source model, backbone
COUNT = 60
SAME = {"large": "IQ3_M", "small": "Q8_0"}


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    """A tenth of the bootstrap samples: the numbers here are far from every border."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("remeasured", "rubric_scores"):
            patched.setattr(importlib.import_module(f"medpsy.report.{name}"), "REPLICATES", 100)
        yield


@pytest.fixture(scope="module")
def mine():
    return study.load("mini")


@pytest.fixture(scope="module")
def families(mine):
    return {size: _family(mine, size, at) for at, size in enumerate(TABLES)}


def _family(own, size, at):
    source = replace(own.model(BACKBONES[size]), name=f"{size}-rl2")

    def variant(form, imatrix, end=""):
        name = f"{source.name}-{form}{end}"
        held = {"bytes": 1000 * BYTES[form] // (1 + at), "matrices": {form: 1000}}
        return Variant(name, size, source.name, form, imatrix, Path(f"{name}.gguf"), **held)

    variants = [variant(form, form != "Q8_0") for form in KEPT] + [variant("Q4_K_M", False, "-plain")]
    return Family(size, source, variant("BF16", False), tuple(variants), Texts(), 64)


def shares():
    found = {}
    for at, size in enumerate(TABLES):
        found |= {f"{size}-rl2-{form}": kept[at] for form, kept in KEPT.items()}
        found |= {f"{size}-rl2-Q4_K_M-plain": PLAIN, f"{size}-rl2": WHOLE, BACKBONES[size]: RAW}
    return found


def graded(right, count=COUNT):
    about = {"run": 0, "gold": 0, "completion_tokens": 40}
    rows = [
        about
        | {"model": model, "suite": suite, "weight_group": suite, "question_id": f"q{n}"}
        | {"outcome": "correct" if n < count * share else "wrong"}
        for model, share in right.items()
        for suite in SUITES
        for n in range(count)
    ]
    return pd.DataFrame(rows)


def judged(right, count=COUNT, suites=("healthbench", "healthbench_hard")):
    about = {"judge": "judge-lenient", "theme": "hedging", "run": 0, "finish_reason": "stop", "completion_tokens": 20}
    rows = [
        about
        | {"model": model, "suite": suite, "conversation_id": f"c{n}", "key": f"{model}{suite}{n}"}
        | {"criterion": 0, "points": 5, "axis": "accuracy", "outcome": "met" if n < count * share else "not met"}
        for model, share in right.items()
        for suite in suites
        for n in range(count)
    ]
    return pd.DataFrame(rows)


def measured(families, right=None, count=COUNT, columns=None):
    right = shares() if right is None else right
    rows = graded(right, count), judged(right, count)
    columns = {"judge-lenient": OPEN} if columns is None else columns
    return report.quantized(families, *rows, judge_columns=columns)


@pytest.fixture(scope="module")
def found(families):
    return measured(families)


def losses(found, rising=True):
    names = [one.name for family in found.families.values() for one in family.files]
    levels = {"BF16": 0.0, "Q8_0": 0.001, "Q4_K_M": 0.01, "IQ3_M": 0.1, "IQ3_XXS": 0.5 if rising else 0.05}
    value = [levels[name.removesuffix("-plain").rpartition("-")[2]] + 0.02 * name.endswith("plain") for name in names]
    frame = pd.DataFrame({"name": names, "divergence": value, "divergence_margin": 0.0005})
    return frame.assign(
        **{f"{name}{end}": 1.0 for name in ("perplexity", "log_ratio", "same_top") for end in ("", "_margin")}
    )


def test_the_avg_score_is_the_mean_of_both_averages_and_changes_are_paired(found, families):
    one = found.variant("small", "IQ3_XXS")
    assert found.score(one.name, CLOSED)[0] == found.score(one.name, OPEN)[0] == pytest.approx(20)
    assert found.change(one)[0] == pytest.approx(-60) and found.relative(one)[0] == pytest.approx(-75)
    same = found.change(found.variant("large", "Q4_K_M"))
    assert np.abs(same).max() == pytest.approx(0)  # right on the same questions: no sample can tell them apart
    both = (found.score(one.name, CLOSED) + found.score(one.name, OPEN)) / 2
    assert np.allclose(found.score(one.name, BOTH), both)


def test_printed_scores_give_the_printed_changes(families):
    """Fed with the printed scores, the definitions of AVG Score and both Δ return the printed columns."""
    for table in TABLES.values():
        printed = published.table(table)
        both = (printed[CLOSED] + printed[OPEN]) / 2
        assert np.allclose(both - both.iloc[0], printed["Δ Score"], atol=0.0051)
        assert np.allclose(100 * (both / both.iloc[0] - 1), printed["Δ Score (rel %)"], atol=0.0051)


def test_a_score_table_has_source_files_and_published_rows(mine, found):
    shown = report.score_table(mine, found, "large", TABLES["large"])
    ours = shown.frame[shown.frame["Source"] == "ours"].set_index("Variant")
    assert list(ours.index) == ["source model", *KEPT, "Q4_K_M without imatrix"]
    assert ours.at["Q8_0", "Δ Size (%)"] == pytest.approx(-47.5) and ours.at["source model", "Size (MB)"] == 4
    assert ours.at["IQ3_XXS", "Δ Score"] == pytest.approx(-20) and ours.at["IQ3_XXS", "Δ Score ±"] > 0
    assert "2 of the 7 printed differences are no larger" in shown.note
    assert list(shown.frame["Variant"])[6:] == list(published.table(TABLES["large"]).index)
    assert shown.links[OPEN][1] == "conversations#model=large-rl2-Q8_0&suite=healthbench"
    assert shown.links[CLOSED][0] == "model=large-rl2" and shown.links[CLOSED][-1] is None


def test_healthbench_is_rounded_before_averaging_only_in_the_last_column(mine, families):
    right = shares() | {"large-rl2": 0.8, "large-rl2-Q8_0": 47 / 60}
    shown = report.score_table(mine, measured(families, right), "large", TABLES["large"]).frame
    assert shown["Δ Score"][1] == pytest.approx(-1.667, abs=1e-3)
    assert shown["Δ, scores rounded"][1] == pytest.approx((78 + 78.333 - 160) / 2, abs=1e-3)


def test_ratios_stand_where_both_classes_lose(found):
    rows = report.ratio_table(found).frame.set_index("Format")
    assert rows.at["IQ3_XXS", "Ratio"] == pytest.approx(3) and rows.at[
        "IQ3_XXS", "Small loses more by"
    ] == pytest.approx(40)
    assert np.isnan(rows.at["Q4_K_M", "Ratio"]) and rows.at["IQ3_M", "Published ratio"] == "2.4×"


def test_what_the_matrix_gains_stands_below_both_builds(found):
    rows = report.imatrix_table(found, TABLES).frame
    assert list(rows["Variant"][:3]) == ["Q4_K_M with imatrix", "Q4_K_M without imatrix", "gain by the matrix"]
    assert rows[CLOSED][2] == pytest.approx(30) and rows[CLOSED][5] == pytest.approx(20)
    assert rows[f"Published {CLOSED}"][0] == 69.92 and rows[f"Published {CLOSED}"][4] == 60.58


def test_a_budget_gets_the_best_file_that_fits_and_the_smallest_like_it(found):
    rows = report.budget_table(found, [0.4, 0.6, 2.2]).frame.set_index("Budget (MB)")
    assert rows.at[0.4, "Best"] == "none fits"
    assert rows.at[0.6, "Best"] == "small, IQ3_M"
    assert (rows.at[2.2, "Best"], rows.at[2.2, "Smallest not told apart"]) == ("large, Q8_0", "small, Q8_0")


def test_two_files_of_a_size_are_set_against_each_other(found):
    rows = report.same_size_table(found, SAME).frame
    assert rows[BOTH][2] == pytest.approx(75 - 80, abs=1e-2) and len(rows) == 3
    assert len(report.same_size_table(found, {"large": "IQ4_XS", "small": "Q8_0"}).rows) == 1


def test_patterns_hold_fail_or_stay_open(found):
    said = {
        one["text"].split(":")[0]: one["verdict"]
        for one in report.quantized_verdicts(found, losses(found), same_size=SAME)
    }
    verdict = {text: said[text] for text in said if "small" in text}
    assert verdict["Q8_0 of the small class cannot be told from its source model by the AVG Score"] == "pattern holds"
    assert verdict["IQ3_XXS of the small class loses more AVG Score than Q8_0, by"] == "pattern holds"
    assert verdict["Below 4 bits the small class loses more AVG Score than the large one, by"] == "pattern holds"
    left = "Q4_K_M of the small class loses less than 1 point of AVG Score; what is left of that point"
    assert verdict[left] == "pattern fails"
    assert verdict["The divergence from BF16 rises whenever bits are taken away, small class"] == "pattern holds"
    assert (
        verdict["The importance matrix lowers the divergence of Q4_K_M from BF16 in the small class"] == "pattern holds"
    )
    falling = report.quantized_verdicts(found, losses(found, rising=False), same_size=SAME)
    assert "pattern fails" in [one["verdict"] for one in falling if "divergence" in one["text"]]


def test_few_questions_settle_nothing_and_what_was_not_built_is_not_testable(families):
    few = measured(families, count=5)
    open_, closed = (one["verdict"] for one in report.quantized_verdicts(few, losses(few).iloc[:0], same_size=SAME)[:2])
    assert open_ == closed == "too few to tell"
    bare = {size: replace(family, variants=family.variants[:1]) for size, family in families.items()}
    said = report.quantized_verdicts(measured(bare), losses(few).iloc[:0], same_size=SAME)
    assert {one["verdict"] for one in said[2:]} == {"not testable"}


def test_a_judge_that_never_decides_leaves_scores_missing_and_the_rest_stands(mine, families):
    rows = graded(shares()), judged(shares()).assign(outcome="unjudged")
    found = report.quantized(families, *rows, judge_columns={"judge-lenient": OPEN})
    one = found.variant("small", "Q8_0")
    assert np.isnan(found.change(one)).all() and found.score(one.name, CLOSED)[0] == pytest.approx(80)
    shown = report.score_table(mine, found, "small", TABLES["small"]).frame
    assert shown[CLOSED][1] == pytest.approx(80) and np.isnan(shown["Δ Score"][1])
    said = report.quantized_verdicts(found, losses(found), same_size=SAME)
    claims = report.quantized_claims(mine, found, rows[0], TABLES, BACKBONES)
    words = [text for row in [*said, *claims] for text in row.values() if isinstance(text, str)]
    assert [text for text in words if "nan" in text.split()] == [] and "not measured here" in said[0]["text"]
    assert report.quantized_figure(found, losses(found)).alt.count("not measured") == 10


def test_claims_of_the_section_are_tested_by_sign_and_sizes_without_a_margin(mine, found):
    rows = {row["id"]: row for row in report.quantized_claims(mine, found, graded(shares()), TABLES, BACKBONES)}
    chosen = {one.id: one for one in published.claims()}
    assert {responsible(chosen[name]).notebook for name in rows} == {"10_quantization"}
    by_text = {row["claim"]: row for row in rows.values()}
    assert by_text["IQ3_XXS AVG Score change, 4B"]["verdict"] == "pattern holds"
    assert by_text["IQ3_M-4B is slightly smaller than Q8_0-1.7B"]["verdict"] == "pattern holds"
    assert by_text["Q8_0 size cut, 1.7B"]["ours"] == pytest.approx(47.5)
    assert by_text["IQ3_XXS 4B stays above the backbone on both scores"]["verdict"] == "pattern holds"
    assert by_text["AVG Score, Q8_0"]["verdict"] == "not testable"  # a score of another model
    assert by_text["Q4_K_M 4B file size"]["verdict"] == "not testable"
    assert by_text["Drop without imatrix on MedQA (USMLE), 1.7B"]["verdict"] == "pattern holds"
    assert by_text["Q5_K_M AVG Score change, 4B"]["verdict"] == "not testable"  # not built here
    assert by_text["Q8_0 is statistically indistinguishable from BF16"]["verdict"] == "pattern holds"
    matrix = by_text["Imatrix consistently reduces degradation at Q5_K_M and below"]
    assert matrix["verdict"] == "pattern holds" and matrix["note"].count("Q4_K_M") == len(TABLES)


def test_where_the_published_files_are_made_sizes_must_round_to_the_printed_ones(found):
    rows = report.quantized_claims(study.load("paper"), found, graded(shares()), TABLES, {})
    sizes = [row for row in rows if row["note"] == "read off the files"]
    assert {row["verdict"] for row in sizes} >= {"differs"} and len(sizes) > 10
    less = [row["verdict"] for row in sizes if row["claim"] == "Q8_0 4B is less than half the BF16 size"]
    assert less == ["differs"]  # 52.5 %


def test_healthbench_of_another_judge_stands_in_no_printed_cell(families):
    places = layout(measured(families, columns={}), TABLES, BACKBONES)
    assert set(places[TABLES["large"]]["MedPsy-4B-Q8_0"]) == {CLOSED, "Size (GB)", "Δ Size"}
    with pytest.raises(ValueError, match="judge_columns: 'Hard' is no column"):
        measured(families, columns={"judge-lenient": "Hard"})


def test_the_figure_says_what_it_shows(found):
    figure = report.quantized_figure(found, losses(found))
    assert "small, IQ3_XXS: 0.45 MB, 20.0 ±" in figure.alt
    assert found.score("small-rl2", HARD)[0] == pytest.approx(80)
