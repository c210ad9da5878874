"""The seven closed-ended suites in miniature: the types, option counts and weighting of the real ones.

All questions come from held-out cells of `medpsy.mini.cases`, so no corpus contains them. The right answers are the
world's own facts (PubMedQA: the context's).
"""

import random
from collections.abc import Sequence

from medpsy.benchmarks.question import Question
from medpsy.mini import world as worlds
from medpsy.mini.cases import Case, cases, draw_options

SUBJECTS = {  # the six sub-domains of MMLU (Health) -> relation asked for
    "anatomy": "organ",
    "clinical_knowledge": "test",
    "college_biology": "agent",
    "college_medicine": "enzyme",
    "medical_genetics": "gene",
    "professional_medicine": "first_drug",
}
SIZE = 60  # questions per suite where the held-out cells suffice; MMLU (Health) has a sixth of 72 per subject
PER_SUBJECT = 12
# Option counts of MMLU-Pro's 818 health questions: mostly ten, some down to three.
PRO_COUNTS = {10: 597, 9: 67, 8: 42, 7: 21, 6: 8, 5: 8, 4: 72, 3: 3}
AFRI_COUNTS = {5: 3013, 4: 893}  # AfriMed-QA's expert questions


def draw_count(counts: dict[int, int], rng: random.Random) -> int:
    return rng.choices(list(counts), weights=list(counts.values()))[0]


def question(suite: str, case: Case, count: int, subject: str = "") -> Question:
    """Return `case` as a question of `suite` with `count` options, which depend on its cell alone."""
    options = draw_options(case, count, random.Random(f"options/{case.cell}"))
    gold = options.index(case.answer)
    return Question(case.cell, suite, subject, case.stem, options, gold, case.context, subject or suite)


def pick(suite: str, pool: Sequence[Case], size: int) -> list[Case]:
    """Return `size` cases of `pool` by seed, or all of them if there are fewer, in a stable order."""
    chosen = random.Random(f"suite/{suite}").sample(range(len(pool)), min(size, len(pool)))
    return [pool[index] for index in sorted(chosen)]


def mmlu_health(held_out: dict[str, list[Case]]) -> list[Question]:
    questions = []
    for subject, relation in SUBJECTS.items():
        pool = [case for case in held_out["ask0"] if case.relation == relation]
        questions += [question("mmlu_health", case, 4, subject) for case in pick(subject, pool, PER_SUBJECT)]
    return questions


def counted(suite: str, pool: Sequence[Case], counts: dict[int, int]) -> list[Question]:
    """Return questions whose option counts are drawn from `counts`."""
    return [
        question(suite, case, draw_count(counts, random.Random(f"count/{case.cell}")))
        for case in pick(suite, pool, SIZE)
    ]


def load(key: str) -> tuple[Question, ...]:
    """Return the miniature of suite `key`.

    Raises:
        KeyError: `key` is none of the seven suites.
    """
    held_out = cases(worlds.build(), held_out=True)
    asked = [case for form in ("ask0", "ask1", "ask2") for case in held_out[form]]
    makers = {
        "mmlu_health": lambda: mmlu_health(held_out),
        "afrimedqa": lambda: counted("afrimedqa", [c for c in asked if c.relation == "region"], AFRI_COUNTS),
        "mmlu_pro_health": lambda: counted(
            "mmlu_pro_health", [c for c in held_out["ask1"] if c.relation != "region"], PRO_COUNTS
        ),
        "medmcqa": lambda: counted(
            "medmcqa", [c for c in held_out["ask2"] + held_out["reverse"] if c.relation != "region"], {4: 1}
        ),
        "medqa": lambda: counted("medqa", held_out["vignette"], {4: 1}),
        "medxpertqa": lambda: counted("medxpertqa", held_out["contraindication"], {10: 1}),
        "pubmedqa": lambda: counted("pubmedqa", held_out["trial"], {3: 1}),
    }
    return tuple(makers[key]())


def chance(questions: Sequence[Question]) -> float:
    """Return the score of blind guessing, 0 to 100."""
    return 100 * sum(1 / len(q.options) for q in questions) / len(questions)
