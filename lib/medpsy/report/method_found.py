"""What was found of several methods of reinforcement learning with a judge, and how far one is ahead of another."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from medpsy.report import compare
from medpsy.report.open_scores import gap, in_units, of_step, scale
from medpsy.training.judge_settings import Judge

GSPO, GRPO, SFT, BACKBONE = "gspo", "grpo", "sft", "backbone"


@dataclass(frozen=True, eq=False)
class Methods:
    """What was found of a backbone, its SFT checkpoint and the methods that start from there.

    Args:
        judge: who gave the rewards.
        records: of the methods' trainings, as `medpsy.training.launch` returns them.
        answers: to all open questions, as `medpsy.recipes.open_answers` returns them.
        judged: to the held-out ones, as `medpsy.recipes.rewarded` returns them.
        closed, attacks, adapters: as the functions of `medpsy.recipes` return them.
    """

    judge: Judge
    records: Mapping[str, Mapping]
    answers: pd.DataFrame
    judged: pd.DataFrame
    closed: pd.DataFrame
    attacks: pd.DataFrame
    adapters: pd.DataFrame

    def reward_gain(self, after: str, before: str) -> tuple[float | None, float | None]:
        """Return the held-out reward after step `after` minus that after `before`, and its margin."""
        bounds = scale(self.judge)
        return in_units(gap(of_step(self.judged, after), of_step(self.judged, before), "reward", bounds), bounds)

    def by_training(self, after: str, before: str) -> dict[str, float | None]:
        """Return the same for every training of `after`, against that of `before` with the same seed if it has many."""
        bounds, rows, start = scale(self.judge), of_step(self.judged, after), of_step(self.judged, before)
        found, many = {}, start["model"].nunique() > 1
        for name, own in rows.groupby("model", sort=False):
            other = start[start["model"] == name.replace(f"-{after}", f"-{before}")] if many else start
            found[name] = in_units(gap(own, other, "reward", bounds), bounds)[0]
        return found

    def reward_verdict(self, after: str, before: str) -> tuple[str, str]:
        """Return the verdict on whether the reward rises, open where trainings disagree in sign, and their numbers."""
        gains = self.by_training(after, before)
        said = [f"{name} {'not measured' if gain is None else format(gain, '+.2f')}" for name, gain in gains.items()]
        verdict = compare.pattern_verdict(*self.reward_gain(after, before))
        apart = len({gain > 0 for gain in gains.values() if gain}) > 1
        return ("too few to tell" if apart and verdict != "not testable" else verdict), ", ".join(said)
