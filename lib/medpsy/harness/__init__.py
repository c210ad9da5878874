"""Evaluation by lm-evaluation-harness itself, in processes of its own, beside the study's own evaluation.

`evaluate` gives its scores, `documents` what each document scored, `handlings` what becomes of the scores when a
thinking model is handled wrongly, `protocols` how its tasks differ from ours. No score is computed here.
"""

from medpsy.harness.card import BENCHMARKS, Benchmark, benchmarks
from medpsy.harness.evaluating import documents, evaluate, handlings
from medpsy.harness.protocols import protocols
from medpsy.harness.settings import Settings

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Settings",
    "benchmarks",
    "documents",
    "evaluate",
    "handlings",
    "protocols",
]
