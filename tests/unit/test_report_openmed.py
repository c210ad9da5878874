"""The OpenMed recipe reported: costs of methods, both protocols side by side, the card's claims on invented rows."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from medpsy import evaluate, lengths, published, study
from medpsy.harness import BENCHMARKS
from medpsy.harness import mini_data as data
from medpsy.harness.evaluating import LEFT_IN, STRIPPED
from medpsy.recipes import openmed_parts
from medpsy.report import compared, openmed, openmed_claims, openmed_lengths, side_by_side
from medpsy.report.harness import TESTED
from medpsy.report.openmed_claims import CardEvidence
from medpsy.report.responsibility import responsible

MINI = study.load("mini")
MMLU, PRO, IFEVAL = BENCHMARKS["mini"]
PARTS = openmed_parts(MINI, "small-openmed-merged")
SUITE = evaluate.questions(MINI, ["mmlu_health"], every=True)["mmlu_health"]
RIGHT = {"base": 0.3, "sft": 0.4, "dpo": 0.4, "rl": 0.9, "merged": 0.9, "linear": 0.5, "slerp": 0.5}  # share of MMLU


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    return study.Study(**{**vars(MINI), "profile": "mini"})


def trained(mine, name, parent, tokens=100, seconds=2.0):
    folder = mine.models_dir / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("")
    record = {"name": name, "parent": parent, "tokens": tokens, "seconds": seconds}
    (folder / "training.json").write_text(json.dumps(record))


def merge_of(*models):
    return {"configuration": {"models": [{"model": one} for one in models]}, "seconds": 0.5}


def test_a_methods_budget_is_that_of_all_checkpoints_on_its_way_and_of_both_parents_once(mine):
    trained(mine, "small-openmed-sft", "qwen3-small")
    trained(mine, "small-openmed-dpo", "small-openmed-sft", tokens=20, seconds=1.0)
    trained(mine, "small-openmed-grpo", "small-openmed-dpo", tokens=7, seconds=4.0)
    trained(mine, "small-sft1", "qwen3-small", tokens=11, seconds=3.0)
    merged = {"small-openmed-merged": merge_of("small-openmed-dpo", "small-openmed-grpo")}
    methods = {"MedPsy": "small-sft1", "OpenMed": "small-openmed-merged"}
    costs = compared.compared_costs(mine, methods, merged).set_index("method")
    assert costs["tokens"].to_dict() == {"Qwen3 small": 0, "MedPsy": 11, "OpenMed": 127}
    assert costs.loc["OpenMed", "seconds"] == 7.5 and costs.loc["MedPsy", "steps"] == "sft1"
    assert costs.loc["OpenMed", "steps"] == "openmed sft, openmed dpo, openmed grpo, openmed merged"


def test_a_missing_checkpoint_is_told_with_the_section_that_leaves_it(mine):
    methods = {"MedPsy": "small-rl2", "GSPO": "small-o1-gspo", "OpenMed": "small-openmed-merged"}
    with pytest.raises(FileNotFoundError, match="'small-rl2'.* run section 05_rl first"):
        compared.require_methods(mine, methods, made="openmed")
    trained(mine, "small-rl2", "small-rl1")
    with pytest.raises(FileNotFoundError, match="'small-o1-gspo'.* run section 12_gspo_judge first"):
        compared.require_methods(mine, methods, made="openmed")
    trained(mine, "small-o1-gspo", "small-o1-sft")
    assert compared.require_methods(mine, methods, made="openmed") == [*methods.values(), "qwen3-small"]
    with pytest.raises(FileNotFoundError, match="'small-rl1' has no record"):
        compared.compared_costs(mine, methods, {})


def test_documents_of_the_harness_are_the_questions_of_the_suites_in_their_order():
    files = data.files()
    for one, key in ((MMLU, "mmlu_health"), (PRO, "mmlu_pro_health")):
        every = evaluate.questions(MINI, [key], every=True)[key]
        for name, document in side_by_side._documents(MINI, one, key).items():
            task, _, number = document.partition("/")
            assert files[f"{task.removeprefix('mini_')}.jsonl"][int(number)]["question"] == every[name].stem
    real = dataclasses.replace(MINI, source="hub")
    assert side_by_side._documents(real, PRO, "mmlu_pro_health") is None


def documents(share=RIGHT):
    """Return MMLU documents of all parts, right in the given share of each subject, and flat ones of the others."""
    names = side_by_side._documents(MINI, MMLU, "mmlu_health")
    rows = []
    for part, model in PARTS.items():
        for question in SUITE.values():
            leaf, _, number = names[question.id].partition("/")
            value = 100.0 * (int(number) < round(12 * share[part]))
            for task in (leaf, MMLU.task):
                rows.append((model, task, MMLU.metric, names[question.id], value))
        for one in (PRO, IFEVAL):
            rows += [(model, one.task, one.metric, f"{one.task}/{n}", 100.0 * (n % 2)) for n in range(40)]
    return pd.DataFrame(rows, columns=["model", "task", "metric", "document", "value"])


def graded(model, every):
    """Return responses to MMLU (Health) by one model, right on every so-manieth question."""
    rows = [
        (model, "mmlu_health", one.weight_group, one.id, 0, one.gold, "correct" if n % every == 0 else "wrong")
        for n, one in enumerate(SUITE.values())
    ]
    return pd.DataFrame(rows, columns=["model", "suite", "weight_group", "question_id", "run", "gold", "outcome"])


def written(longer):
    """Return lengths of 40 responses by every part; those of `longer` have so many tokens more."""
    source, rows = np.random.default_rng(0), []
    for part, model in PARTS.items():
        for number in range(40):
            tokens = 60 + longer.get(part, 0) + source.normal()
            rows.append((model, "medqa", f"q{number}", 0, "k", tokens, tokens / 2, tokens / 2, False, "wrong"))
    return pd.DataFrame(rows, columns=lengths.COLUMNS)


def evidence(**changes):
    rows = documents(changes.pop("share", RIGHT))
    means = rows.groupby(["model", "task", "metric"])["value"].mean().rename("value").reset_index()
    handled = [rows.assign(handling=name) for name in (STRIPPED, LEFT_IN)]
    worse = handled[1]["metric"] == IFEVAL.metric
    handled[1].loc[worse, "value"] = 0.0
    calls = [(PARTS["base"], f"p{n}", "no call") for n in range(40)]
    calls += [(PARTS["sft"], f"p{n}", "well-formed" if n else "malformed") for n in range(40)]
    given = {
        "calls": pd.DataFrame(calls, columns=["model", "prompt", "form"]),
        "handled": pd.concat(handled),
        "lengths": written({"dpo": -5, "rl": 10, "merged": 10}),
        "graded": graded(PARTS["merged"], 3),
    }
    return CardEvidence(MINI, PARTS, BENCHMARKS["mini"], means.assign(stderr=2.0), rows, **{**given, **changes})


def verdicts(rows):
    return {row["id"]: row["verdict"] for row in rows}


def test_every_claim_of_the_card_that_this_section_answers_for_has_one_row():
    rows = openmed_claims.recipe_claims(evidence())
    told = [row["id"] for row in rows] + [
        name for asked in TESTED.values() for names in asked.values() for name in names
    ]
    every = (*published.claims(), *published.card_claims())
    assert sorted(told) == sorted(claim.id for claim in every if responsible(claim).notebook == "13_openmed")


def test_claims_are_settled_by_what_was_measured():
    found = verdicts(openmed_claims.recipe_claims(evidence()))
    held = {"A005", "A006", "A010", "A019", "A032", "A033", "A034", "A035", "A038", "A039"}
    assert {name for name, verdict in found.items() if verdict == "pattern holds"} >= held
    assert found["A009"] == found["A017"] == "not testable"  # the miniature has no such subject
    assert found["A020"] == "not testable"  # a score of another model


def test_claims_fail_or_stay_open_where_the_measurements_say_so():
    share = RIGHT | {"merged": 0.3, "rl": 0.3}
    changed = evidence(share=share, lengths=written({"dpo": 5, "rl": 0}), graded=graded(PARTS["merged"], 3))
    found = verdicts(openmed_claims.recipe_claims(changed))
    assert found["A034"] == found["A035"] == "pattern fails"
    assert found["A019"] == "too few to tell" and found["A032"] != "pattern holds"  # no gain, nothing to keep
    few = evidence(lengths=written({"dpo": -5}).groupby("model").head(10))
    assert verdicts(openmed_claims.recipe_claims(few))["A034"] == "too few to tell"


def test_the_cards_pattern_needs_both_the_loss_and_the_return():
    def rows(lost, back):
        numbers = {"ours": 1.0, "margin": 2.0}
        return [{"id": "A026", "verdict": lost} | numbers, {"id": "A030", "verdict": back} | numbers]

    assert openmed_claims.card_pattern(rows("pattern holds", "pattern holds"))["verdict"] == "pattern holds"
    assert openmed_claims.card_pattern(rows("pattern holds", "too few to tell"))["verdict"] == "too few to tell"
    assert openmed_claims.card_pattern(rows("pattern fails", "pattern holds"))["verdict"] == "pattern fails"


def test_the_protocols_are_compared_on_the_questions_that_both_asked_alone():
    whole = side_by_side.same_questions(MINI, documents(), graded(PARTS["merged"], 2), MMLU, PARTS["merged"])
    some = graded(PARTS["merged"], 2)
    some = some[some["weight_group"] != "anatomy"]
    part = side_by_side.same_questions(MINI, documents(), some, MMLU, PARTS["merged"])
    assert whole.questions == len(SUITE) > part.questions and 25 < whole.difference < 55
    one = some.groupby("weight_group").head(1)
    assert side_by_side.same_questions(MINI, documents(), one, MMLU, PARTS["merged"]) is None


def test_lengths_are_paired_and_each_part_has_its_margin():
    rows = written({"rl": 10})
    change = openmed_lengths.longer(rows, PARTS["dpo"], PARTS["rl"])
    assert change.ours == pytest.approx(10, abs=1) and change.margin < 1
    table = openmed_lengths.step_lengths(rows, {"dpo": PARTS["dpo"], "rl": PARTS["rl"]}).frame
    assert table["Questions"].tolist() == [40, 40] and table["Reasoning"].tolist() == pytest.approx([30, 35], abs=1)


def test_calls_are_counted_apart_and_failed_requests_left_out():
    rows = [("qwen3-small", "a", "no call"), ("qwen3-small", "b", None)]
    rows += [("small-openmed-sft", "a", "well-formed"), ("small-openmed-sft", "b", "malformed")]
    calls = pd.DataFrame(rows, columns=["model", "prompt", "form"])
    frame = openmed.calls_table(MINI, calls).frame.set_index("Model")
    assert frame.loc["Qwen3 small", ["Prompts", "Well-formed", "No call"]].tolist() == [1, 0, 1]
    assert frame.loc["Qwen3 small, openmed sft", "Well-formed (%)"] == 50
    more = pd.concat([calls] + [calls.assign(prompt=f"{n}").drop_duplicates("model") for n in range(3)])
    assert openmed.calls_gain(more, "qwen3-small", "small-openmed-sft").questions == 4


def shares():
    rows = [("0", "q_proj", 100, 50, 10), ("1", "q_proj", 100, 0, 0), ("", "embed_tokens", 300, 20, 20)]
    rows.append(("", "whole", 500, 70, 30))
    frame = pd.DataFrame(rows, columns=["layer", "kind", "elements", "changed", "taken"])
    frame["share"], frame["of_changed"] = (
        100 * frame["taken"] / frame["elements"],
        100 * frame["taken"] / frame["changed"],
    )
    return frame.assign(everything=(frame["taken"] == frame["changed"]) & (frame["changed"] > 0))


def test_fused_parameters_are_told_by_layer_and_what_lies_outside_comes_last():
    table = openmed.fused_table(shares())
    frame = table.frame.set_index("Layer")
    assert list(frame.index) == ["0", "1", "none"] and frame.loc["0", "q_proj"] == 10
    assert frame.loc["none", "all"] == pytest.approx(100 * 20 / 300) and "6.0 % were taken, 42.9 %" in table.note
    figure = openmed.fused_figure(shares())
    assert "layer none, embed_tokens: 7 %" in figure.alt
