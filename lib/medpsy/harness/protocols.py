"""How the harness's tasks differ from the study's own evaluation of the same suites, point by point.

Sources: the tasks of lm-evaluation-harness 0.4.13 (its YAML files), `medpsy.prompts`, report 4.1.
"""

import pandas as pd

SUITES = {"MMLU": "MMLU (Health)", "MMLU-Pro": "MMLU-Pro Health"}  # benchmark of the card -> suite of the report
POINTS = ("questions", "prompt", "examples", "answer", "reasoning", "cannot be read", "sampling", "average", "margin")

SHARED = {  # point -> harness, ours; what both benchmarks have in common
    "answer": (
        "no text is written: of the letters A, B, C ... the one that the model gives the highest log-likelihood",
        "the model writes; a parser model reads the option that its response chose",
    ),
    "reasoning": (
        "none: the letter follows the prompt at once; where a template opens a think block, it is scored within that",
        "before the answer, up to the token limit",
    ),
    "cannot be read": (
        "cannot happen: some letter is always the likeliest",
        "unreadable, cut off and failed responses are counted apart, and as not correct",
    ),
    "sampling": ("none: one pass, the same in every run", "temperature 0.6, top_p 0.95, top_k 20; the mean of runs"),
    "margin": (
        "standard error over questions",
        "95 % margin over questions and runs; between models, paired by question",
    ),
}
OWN = {
    "MMLU": {
        "questions": ("all subjects of MMLU in four groups", "the six subjects of MMLU (Health)"),
        "prompt": (
            "a line that names the subject, the question, four lettered options, 'Answer:'",
            "the question, lettered options, and the request to think step by step and end with a letter",
        ),
        "examples": ("none: the card's command names no number", "none"),
        "average": (
            "over questions: a subject weighs as many questions as it has",
            "over subjects: six means weigh alike",
        ),
    },
    "MMLU-Pro": {
        "questions": ("all fields of MMLU-Pro", "its health questions"),
        "prompt": (
            "the question, up to ten lettered options, 'Answer:'",
            "the question, lettered options, and the request to think step by step and end with a letter",
        ),
        "examples": ("five, as turns of the conversation (fewshot_as_multiturn)", "none"),
        "average": ("over questions", "over questions"),
    },
}
MINIATURE = {  # (benchmark, point) -> what the miniature's task has instead, where it differs
    ("MMLU", "questions"): ("the very questions of the suite, in two groups", "the six subjects of the miniature"),
    ("MMLU-Pro", "questions"): ("the very questions of the suite", "the questions of the miniature"),
}


def protocols(source: str = "mini") -> pd.DataFrame:
    """Return one row per benchmark and point of difference: benchmark, suite, point, harness, ours.

    IFEval has no counterpart among the study's suites.

    Args:
        source: ``"mini"`` or ``"hub"``, as in a study.
    """
    rows = []
    for benchmark, suite in SUITES.items():
        found = SHARED | OWN[benchmark]
        for point in POINTS:
            theirs, ours = found[point]
            if source == "mini":
                theirs, ours = MINIATURE.get((benchmark, point), (theirs, ours))
            place = {"benchmark": benchmark, "suite": suite, "point": point}
            rows.append(place | {"harness": theirs, "ours": ours})
    return pd.DataFrame(rows)
