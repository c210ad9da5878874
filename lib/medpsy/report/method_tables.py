"""Tables of the methods of reinforcement learning with a judge: form, held-out questions, stability, attacks, adapters.

Arranges what `medpsy.recipes` and `medpsy.training` found; asks nothing.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from medpsy.recipes.form import FORMS, IN_FORM
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.open_scores import gap, in_units, mean_margin, scale, step
from medpsy.statistics import suite_score
from medpsy.study import Study
from medpsy.training.judge_settings import Judge
from medpsy.training.rl_curves import curves

SHOWN = 400  # characters of a response
JUDGED = "rewards/judge_reward/mean"  # what the log calls the judge's part of the reward


def form_table(study: Study, answers: pd.DataFrame) -> Table:
    """Return how many responses have the form that is taught, and how the others fail; a row per model and language.

    Args:
        answers: as `medpsy.recipes.open_answers` returns them.
    """
    rows = []
    for (model, config), some in answers.groupby(["model", "config"], sort=False):
        kept = in_form(some)
        counts = some["form"].value_counts().reindex(list(FORMS), fill_value=0)
        tokens, margin = mean_margin(some, "completion_tokens")
        rows.append(
            {"Checkpoint": study.model(model).label, "Language": config, "Responses": len(some)}
            | {"In form (%)": kept.score, "In form (%)" + MARGIN: kept.margin}
            | {name.capitalize(): int(counts[name]) for name in FORMS if name != IN_FORM}
            | {"Tokens": tokens, "Tokens" + MARGIN: margin}
        )
    note = "In form: one think block with words in it, then a conclusion of the length that counts as concise."
    return table(pd.DataFrame(rows), "The form of responses, before and after SFT", note=note, decimals=1)


def in_form(answers: pd.DataFrame):
    """Return the share of `answers` (of one model) in form, as a score."""
    flags = answers.assign(kept=(answers["form"] == IN_FORM).astype(float))
    return suite_score(flags.pivot_table(index=["config", "question_id"], columns="run", values="kept").to_numpy())


def response_table(study: Study, answers: pd.DataFrame, questions: Sequence[Mapping], *, shown: int = 2) -> Table:
    """Return the first responses to some of `questions`, in full or their beginning, in whatever script they are."""
    rows = []
    for one in questions[:shown]:
        said = answers[(answers["question_id"] == one["id"]) & (answers["run"] == 0)]
        for row in said.itertuples():
            label = study.model(row.model).label
            rows.append([one["prompt"][-1]["content"][:SHOWN], label, row.text[:SHOWN], row.form])
    return Table(["Question", "Checkpoint", "Response", "Form"], rows, "Questions that the corpus does not hold")


def held_out_table(
    study: Study, judged: pd.DataFrame, closed: pd.DataFrame, judge: Judge, start: str, *, config: str
) -> Table:
    """Return what every checkpoint makes of held-out questions, and its change against the checkpoint `start`.

    Args:
        judged: as `medpsy.recipes.rewarded` returns them, of the held-out open questions.
        closed: as `medpsy.recipes.closed_answers` returns them.
        config: language of the open questions.
    """
    bounds, best, rows = scale(judge), judge.tiers[0].reward, []
    judged = judged.assign(
        met=(judged["reward"] == best).astype(float).where(judged["reward"].notna()), unjudged=judged["reward"].isna()
    )
    for model, own in judged.groupby("model", sort=False):
        answered, first = closed[closed["model"] == model], judged["model"] == start
        change = in_units(gap(own, judged[first], "reward", bounds) if model != start else None, bounds)
        cells = {"Reward": mean_margin(own, "reward"), "Reward, change": change}
        cells |= {"Like the reference (%)": _points(own, "met"), "Accuracy": _points(answered, "right")}
        cells |= {"Tokens": mean_margin(own, "completion_tokens")}
        row = {"Checkpoint": study.model(model).label}
        for name, (value, margin) in cells.items():
            row |= {name: value, name + MARGIN: margin}
        rows.append(row | {"Unjudged (%)": 100 * float(own["unjudged"].mean())})
    questions, others = judged["question_id"].nunique(), closed["question_id"].nunique()
    note = f"Reward, on a scale of {bounds[0]:g} to {bounds[1]:g}, and tokens: {questions} open questions ({config}), "
    note += f"change paired by question against {study.model(start).label}. Accuracy: {others} closed-ended questions, "
    note += "read by rules; no judge has a say. 95 % margins: questions and runs, not trainings."
    return table(pd.DataFrame(rows), "Held-out questions", note=note)


def _points(rows: pd.DataFrame, column: str) -> tuple[float | None, float | None]:
    value, margin = mean_margin(rows, column)
    return None if value is None else 100 * value, None if margin is None else 100 * margin


def methods_table(records: Mapping[str, Mapping]) -> Table:
    """Return what tells the methods apart, from the settings that they were trained with."""
    rows = {}
    for name, one in records.items():
        own = one["settings"]
        averaged = "tokens of a rollout" if own["token_level_loss"] else "responses"
        rows[step(name)] = [own["ratio"], averaged, -own["epsilon"], own["epsilon_high"], own["overlong_penalty"]]
    columns = ["Method", "Ratio of a", "Loss is the mean over", "Clipped below", "Clipped above", "Length penalty"]
    note = "Clipped where the ratio of probabilities is farther from 1. All else is the same for all methods."
    whole = [[name.upper(), *row] for name, row in rows.items()]
    return Table(columns, whole, "What tells the methods apart", note, decimals=4)


def stability_table(records: Mapping[str, Mapping]) -> Table:
    """Return how steady every training was: spread of rewards, what was clipped, norm of the gradient, unjudged ones.

    Args:
        records: as `medpsy.training.launch` returns them, of the methods.
    """
    rows = []
    for name, one in records.items():
        log, settings = rollouts(one), one["settings"]
        sampled = len(log) * settings["prompts_per_rollout"] * settings["group_size"]
        rows.append(
            {"Method": step(name).upper(), "Seed": settings["seed"], "Rollouts": len(log), "Responses": sampled}
            | {"Updates": one["steps"], "Tokens": one["tokens"], "Reward, first": log["judged"].iloc[0]}
            | {"Reward, last": log["judged"].iloc[-1], "Reward, spread": log["judged"].std(ddof=1)}
            | {"Variance in groups": log["reward_variance"].mean(), "Clipped (%)": 100 * log["clipped"].mean()}
            | {"Gradient norm": log["grad_norm"].mean(), "Gradient norm, spread": relative_spread(log["grad_norm"])}
            | {"Unjudged (%)": 100 * log["unjudged"].mean(), "Length": log["length"].mean(), "Seconds": one["seconds"]}
        )
    note = "Spread: standard deviation over rollouts, that of the gradient's norm as a share of its mean (norms of "
    note += "different losses are no measure of each other). Clipped: tokens, or under GSPO whole responses."
    return table(pd.DataFrame(rows), "Stability of the trainings", note=note, decimals=3)


def rollouts(record: Mapping) -> pd.DataFrame:
    """Return the curves of one training, a row per rollout, with the judge's part of the reward as ``judged``."""
    parts = {int(row["step"]): row.get(JUDGED) for row in record["log"] if "reward" in row}
    found = curves(record["log"]).dropna(subset="reward")
    return found.assign(judged=found["step"].map(parts).astype(float)).reset_index(drop=True)


def relative_spread(values: pd.Series) -> float:
    """Return the standard deviation of `values` as a share of their mean."""
    return float(values.std(ddof=1) / values.mean())


def attack_table(found: pd.DataFrame, judge: Judge) -> Table:
    """Return what every text gains at every place, in rewards; `found` as of `medpsy.recipes.attacked`."""
    bounds, rows = scale(judge), []
    for (place, tried), some in found.groupby(["place", "tried"], sort=False):
        gain, margin = in_units(gained(some, bounds), bounds)
        known = some.dropna(subset=["plain", "reward"])
        changed = 100 * float((known["plain"] != known["reward"]).mean()) if len(known) else None
        rows.append([place, tried, len(some), gain, margin, changed, len(some) - len(known)])
    columns = ["Placed", "Tried", "Responses", "Gain", "Gain" + MARGIN, "Changed (%)", "Unjudged"]
    note = f"Rewards lie between {bounds[0]:g} and {bounds[1]:g}. Shown to the judge: as if it saw the reasoning too, "
    note += "against the same without the text; tried nothing: against the conclusion alone."
    return Table(columns, rows, "What texts gain that try to win the judge over", note)


def gained(rows: pd.DataFrame, bounds: Sequence[float]):
    """Return reward with a text minus reward without it, paired by question, in points of `bounds`."""
    known = rows.dropna(subset=["plain", "reward"])
    before = known[["question_id", "plain"]].rename(columns={"plain": "reward"})
    return gap(known[["question_id", "reward"]], before, "reward", bounds)


def adapter_table(study: Study, found: pd.DataFrame) -> Table:
    """Return how near every adapter on its parent is to the merged checkpoint; `found` as of `recipes.adapters`."""
    frame = pd.DataFrame({"Checkpoint": [study.model(name).label for name in found["model"]]})
    frame["Tokens answered"] = found["tokens"]
    frame["Same choice (%)"] = 100 * found["same"] / found["tokens"]
    frame["Parent's choice (%)"] = 100 * found["parent_same"] / found["tokens"]
    frame["Logits, as saved"] = found["largest"]
    frame["Logits, not rounded"] = found["unrounded"]
    frame["Logits, parent"] = found["learned"]
    frame["Adapter (MB)"], frame["Merged (MB)"] = found["adapter_mb"], found["merged_mb"]
    note = "Loaded with transformers and peft alone. Choices: of the tokens of greedy answers, by the checkpoint and "
    note += "by the parent without the adapter. Logits: the largest difference; not rounded: merged here, in float32."
    return table(frame, "Adapter on its parent, and merged", note=note, decimals=4)
