"""The three benchmarks of the OpenMed card as tasks of lm-evaluation-harness: the card's own, and the miniature's."""

from dataclasses import dataclass

from medpsy.study import Study


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Args:
        title: as the card prints it.
        task: name of the task, or of the group of tasks.
        metric: the harness's name of what the card prints.
        thinks: whether a model writes before it is scored, so that reasoning and its budget matter.
        hub_id: data set that the task reads, in the version that the hub has by then; empty in the miniature.
    """

    title: str
    task: str
    metric: str
    thinks: bool = False
    hub_id: str = ""


# The card names tasks, not metrics. Of IFEval's four, strict accuracy by prompt is ours: not stated.
BENCHMARKS = {
    "hub": (
        Benchmark("MMLU", "mmlu", "acc", hub_id="cais/mmlu"),
        Benchmark("MMLU-Pro", "leaderboard_mmlu_pro", "acc", hub_id="TIGER-Lab/MMLU-Pro"),
        Benchmark("IFEVAL", "leaderboard_ifeval", "prompt_level_strict_acc", True, "wis-k/instruction-following-eval"),
    ),
    "mini": (
        Benchmark("MMLU", "mini_mmlu", "acc"),
        Benchmark("MMLU-Pro", "mini_mmlu_pro", "acc"),
        Benchmark("IFEVAL", "mini_ifeval", "prompt_level_strict_acc", thinks=True),
    ),
}


def benchmarks(study: Study) -> tuple[Benchmark, ...]:
    """Return the card's benchmarks as the study's source of suites has them."""
    return BENCHMARKS[study.source]
