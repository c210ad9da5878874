"""Answers and judgments as evaluation and judging leave them: the first questions of a suite are right, or met."""

from collections.abc import Callable

import pandas as pd
from medpsy.data.healthbench import THEMES
from medpsy.data.questions import Question
from medpsy.data.suites import SUITES

Group = Callable[[str, int], str]  # suite, number of a question -> its stratum


def graded(shares: dict, count: int = 40, runs: int = 1, suites=tuple(SUITES), group: Group | None = None):
    """Return `count` answers of each model per suite and run; a share of right ones may differ by suite."""
    rows = [
        {"model": model, "suite": suite, "weight_group": group(suite, n) if group else suite, "question_id": f"q{n}"}
        | {"run": run, "gold": 0, "completion_tokens": 40, "key": f"{model}{suite}{n}{run}"}
        | {"outcome": "correct" if n < count * share_of(share, suite) else "wrong"}
        for model, share in shares.items()
        for suite in suites
        for n in range(count)
        for run in range(runs)
    ]
    return pd.DataFrame(rows)


def share_of(share, suite: str) -> float:
    return share.get(suite, share.get("else")) if isinstance(share, dict) else share


def judged(shares: dict, count: int = 14, *, judges=("judge-lenient",), themes=tuple(THEMES), hard: bool = True):
    """Return one good criterion in each of `count` conversations per theme; Hard is the last half of each theme."""
    about = {"run": 0, "finish_reason": "stop", "criterion": 0, "points": 5, "axis": "accuracy", "completion_tokens": 9}
    rows = [
        about | {"model": model, "judge": judge, "suite": suite, "theme": theme, "conversation_id": f"{theme}{n}"}
        | {"key": f"{model}{theme}{n}", "outcome": "met" if n < count * share else "not met"}
        for judge in judges
        for model, share in shares.items()
        for suite, first in {"healthbench": 0, **({"healthbench_hard": count // 2} if hard else {})}.items()
        for theme in themes
        for n in range(first, count)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def questions(count: int, group: Group | None = None, options: Callable[[int], int] = lambda number: 2):
    """Return a stand-in for `evaluate.questions`: every suite has just the questions that were asked."""

    def load(study, suites=None, *, every=False):
        return {
            suite: {
                f"q{n}": Question(
                    f"q{n}", suite, "", "?", tuple("abcd"[: options(n)]), 0, None, group(suite, n) if group else suite
                )
                for n in range(count)
            }
            for suite in suites or SUITES
        }

    return load
