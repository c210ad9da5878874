"""Margins, tests and plans: arrays of numbers in, small frozen records out.

Accuracies and margins that leave this package are points, 0 to 100; variances stay in shares squared. Knows nothing of
suites, models or verdicts, and never reports lack of power as agreement: it only says how large the margin is.
"""

from medpsy.statistics.agreement import cohen_kappa, fleiss_kappa, macro_f1, rank_correlations
from medpsy.statistics.bootstrap import Interval, bootstrap_average, bootstrap_scores, interval
from medpsy.statistics.corrections import benjamini_hochberg, holm
from medpsy.statistics.paired import PairedDifference, mcnemar, paired_difference, paired_variances, permutation_test
from medpsy.statistics.power import Plan, Target, plans, questions_to_settle, runs_to_settle
from medpsy.statistics.suite import (
    RunSpread,
    Score,
    Z,
    average,
    expected_margin,
    proportion_margin,
    run_spread,
    suite_score,
)
from medpsy.statistics.variance import Variances, question_variances

__all__ = [
    "Interval",
    "PairedDifference",
    "Plan",
    "RunSpread",
    "Score",
    "Target",
    "Variances",
    "Z",
    "average",
    "benjamini_hochberg",
    "bootstrap_average",
    "bootstrap_scores",
    "cohen_kappa",
    "expected_margin",
    "fleiss_kappa",
    "holm",
    "interval",
    "macro_f1",
    "mcnemar",
    "paired_difference",
    "paired_variances",
    "permutation_test",
    "plans",
    "proportion_margin",
    "question_variances",
    "questions_to_settle",
    "rank_correlations",
    "run_spread",
    "runs_to_settle",
    "suite_score",
]
