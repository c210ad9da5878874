"""Tables and verdicts of reinforcement learning, from records and attempts as a run leaves them."""

import pandas as pd
import pytest
from medpsy import report, study
from medpsy.scoring import AVERAGE
from medpsy.training import switches
from medpsy.training.rl_curves import HELD_OUT


def log(held_out):
    rows = [{"step": 0, HELD_OUT: held_out[0]}]
    for step in range(1, 9):
        row = {"step": 2 * step, "loss": 0.1, "reward": 0.5, "rewards/accuracy/mean": 0.5, "num_tokens": step}
        rows.append(
            row | {"completions/mean_length": 100.0 - step, "clip_ratio/high_mean": 0.01 * step, "entropy": 0.1}
        )
    return [*rows, {"step": 16, HELD_OUT: held_out[1]}]


def record(before, best, step=16):
    numbers = {"held_out_before": before, "held_out_best": best, "best_step": step, "held_out": 100, "questions": 30}
    return numbers | {"log": log((before / 100, best / 100)), "parent": "small-sft2"}


def annotated():
    levels = ["easy"] * 3 + ["moderate"] * 5 + ["difficult"] * 2
    return pd.DataFrame({"level": levels, "model": "small-sft2", "label": "Small, sft2"})


def test_levels_are_counted_beside_what_the_next_stage_took():
    row = report.levels_table(annotated(), {"small-rl1": record(40, 60)}).frame.iloc[0]
    assert (row["Easy"], row["Moderate"], row["Difficult"], row["Unknown"]) == (3, 5, 2, 0)
    assert row["Taken by the next stage"] == 30
    assert "easy 30 %, moderate 50 %, difficult 20 %" in report.levels_figure(annotated()).alt


def test_the_stage_table_shows_ends_and_the_clipped_share():
    row = report.rl_table({"small-rl1": record(40, 60)}).frame.iloc[0]
    assert (row["Held out, parent"], row["Held out, best"], row["Best step"]) == (40, 60, 16)
    assert row["Held out, best ±"] == pytest.approx(9.6, abs=0.5)  # Wilson, 60 of 100
    assert row["Tokens, first rollouts"] > row["Tokens, last rollouts"] and row["Most clipped above (%)"] == 8.0


def test_a_gain_within_the_margin_is_too_few_to_tell():
    clear, unclear, lost = report.rl_verdicts({"a": record(40, 80), "b": record(40, 45), "c": record(40, 40, 0)})
    assert [one["verdict"] for one in (clear, unclear, lost)] == ["pattern holds", "too few to tell", "too few to tell"]


def test_curves_of_several_stages_stand_in_one_frame():
    journal = report.rl_journal({"small-rl1": record(40, 60), "small-rl2": record(50, 55)})
    assert set(journal["name"]) == {"small-rl1", "small-rl2"}
    assert journal["held_out"].dropna().tolist() == pytest.approx([40.0, 60.0, 50.0, 55.0])
    figure = report.training_curves(journal, report.PANELS, title="DAPO")
    assert "held-out accuracy (points)" in figure.alt


def test_without_a_part_is_compared_question_by_question():
    whole = pd.DataFrame({"right": [3, 3, 0, 3] * 10, "attempts": 3, "completion_tokens": [50.0, 60.0] * 20})
    less = whole.assign(right=[0, 3, 0, 3] * 10, completion_tokens=whole["completion_tokens"] + 5)
    rows = [switches._row(switches.ALL, whole, whole), switches._row("clip-higher", less, whole)]
    shown = report.switch_table(pd.DataFrame(rows)).frame
    assert list(shown["Switched off"]) == ["nothing", "clip-higher"]
    assert shown["Accuracy, change"].iloc[1] == -25 and shown["Tokens, change"].iloc[1] == 5
    assert shown["Accuracy, change"].isna().iloc[0]
    (verdict,) = report.switch_verdicts(pd.DataFrame(rows))
    assert verdict["verdict"] == "pattern holds"
    assert verdict["text"].startswith("clip-higher switched off: a short stage ends 25.0 points lower")


@pytest.mark.parametrize(("right", "said"), [(3, "25.0 points higher"), (0, "0.0 points lower")])
def test_a_part_that_does_harm_or_nothing_is_said_so(right, said):
    whole = pd.DataFrame({"right": [3, 3, 0, 3] * 10, "attempts": 3, "completion_tokens": 50.0})
    other = whole.assign(right=[3, 3, right, 3] * 10)
    rows = [switches._row(switches.ALL, whole, whole), switches._row("no KL term", other, whole)]
    (verdict,) = report.switch_verdicts(pd.DataFrame(rows))
    assert verdict["verdict"] != "pattern holds" and said in verdict["text"]


def test_the_spread_between_trainings_needs_more_than_one():
    settings = study.load("mini")
    names = [settings.checkpoint(size, "rl2", seed).name for size in ("large", "small") for seed in (7, 8)]
    scores = pd.DataFrame({"model": names, "suite": AVERAGE, "score": [50.0, 54.0, 40.0, 40.0], "margin": 4.0})
    both = report.training_spread(settings, scores, [7, 8])["trainings"].frame
    assert list(both["Mean"]) == [52.0, 40.0] and list(both["Standard deviation"]) == [pytest.approx(8**0.5), 0.0]
    one = report.training_spread(settings, scores, [7])["trainings"].frame
    assert one["Standard deviation"].isna().all() and list(one["First training"]) == [50.0, 40.0]
    assert report.retrained(settings, [7, 8]) == ["large-rl2-seed8", "small-rl2-seed8"]
    assert report.training_spread(study.load("review"), scores, [7]) == {}
