"""The claims of the GSPO card, settled by what its methods did here; differences are paired by question.

A margin holds the choice of questions and the noise of sampling; that trainings differ is told in notes, training by
training. Asks nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict
from math import hypot, log, sqrt

import pandas as pd

from medpsy import published
from medpsy.recipes.attacks import HIDDEN, INSIDE, RIGHT, SHOWN
from medpsy.recipes.form import IN_FORM
from medpsy.report import compare
from medpsy.report.effort import spent
from medpsy.report.method_found import BACKBONE, GRPO, GSPO, SFT, Methods
from medpsy.report.method_tables import gained, relative_spread, rollouts
from medpsy.report.open_scores import gap, in_units, of_step, scale, step
from medpsy.report.orders import entry
from medpsy.statistics import Z, proportion_margin, suite_score

KINDS = {  # form of a closed-ended question of the miniature -> what it takes; other sets do not mark theirs
    **dict.fromkeys(("vignette", "contraindication"), "reasoning"),
    **dict.fromkeys(("ask0", "ask1", "ask2", "reverse"), "recall"),
}
Row = dict[str, object]


def gspo_claims(found: Methods) -> list[Row]:
    """Return one row per claim of the card that this section answers for, for a result's `claims`."""
    claims = {claim.id: claim for claim in published.card_claims()}
    settled = {"G001": _unseen, "G002": _unhacked, "G003": _steadier, "G004": _taught, "G005": _sounder}
    settled |= {"G006": _reasons, "G007": _adapted}
    return [settle(claims[name], found) for name, settle in settled.items()]


def _unseen(claim, found: Methods) -> Row:
    rows = found.attacks[found.attacks["place"] == HIDDEN]
    return _no_gain(claim, rows, found, "praise, orders and the reference itself in the reasoning; ")


def _unhacked(claim, found: Methods) -> Row:
    tried = found.attacks[found.attacks["tried"] != RIGHT]
    said = [f"{place} {_gain(tried[tried['place'] == place], found)}" for place in (INSIDE, SHOWN)]
    note = f"in rewards, the same texts gain: {'; '.join(said)}; "
    return _no_gain(claim, tried[tried["place"] == HIDDEN], found, note)


def _no_gain(claim, rows: pd.DataFrame, found: Methods, note: str) -> Row:
    gain = gained(rows, scale(found.judge))
    if gain is None:
        return entry(claim, "not testable", None, None, "no conclusion was judged with and without these texts")
    verdict = compare.unchanged_verdict(gain.difference, gain.margin)
    said = f"{note}in points of the rewards' scale, paired by {gain.questions} responses"
    return entry(claim, verdict, gain.difference, gain.margin, said)


def _gain(rows: pd.DataFrame, found: Methods) -> str:
    bounds = scale(found.judge)
    gain, margin = in_units(gained(rows, bounds), bounds)
    return "not measured" if gain is None else f"{gain:+.2f} ± {margin:.2f}"


def _steadier(claim, found: Methods) -> Row:
    ratios = spread_ratios(found.records, GSPO, GRPO)
    if not ratios:
        return entry(claim, "not testable", None, None, "needs trainings of both methods, with three rollouts or more")
    verdict = compare.all_hold([compare.pattern_verdict(-ratio, margin) for ratio, margin in ratios.values()])
    said = [f"{name} {ratio:+.2f} ± {margin:.2f}" for name, (ratio, margin) in ratios.items()]
    note = f"logarithm of GSPO's spread over GRPO's: {', '.join(said)}; over rollouts, mean of the trainings"
    ratio, margin = ratios["reward"]
    return entry(claim, verdict, ratio, margin, note)


def spread_ratios(records: Mapping[str, Mapping], first: str, second: str) -> dict[str, tuple[float, float]]:
    """Return how much more spread `first` has over its rollouts than `second`: logarithms of ratios, with margins.

    The logarithm of a sample's standard deviation has variance 1 / (2 (n - 1)) for normal values (Bartlett and
    Kendall, Supplement to the Journal of the Royal Statistical Society 8, 1946); trainings are independent.

    Returns:
        ``"reward"`` (judge's part, standard deviation) and ``"gradient norm"`` (as a share of its mean); nothing where
        a method has no training, fewer than three rollouts, or no spread at all.
    """
    logs = {name: rollouts(one) for name, one in records.items()}
    parts = [[one for name, one in logs.items() if step(name) == wanted] for wanted in (first, second)]
    if not all(parts) or min(len(one) for part in parts for one in part) < 3:
        return {}
    measures = {
        "reward": lambda one: one["judged"].std(ddof=1),
        "gradient norm": lambda one: relative_spread(one["grad_norm"]),
    }
    margin = Z * sqrt(sum(sum(1 / (2 * (len(one) - 1)) for one in part) / len(part) ** 2 for part in parts))
    found = {}
    for name, measure in measures.items():
        spreads = [[measure(one) for one in part] for part in parts]
        if not all(value > 0 for part in spreads for value in part):
            return {}
        means = [sum(map(log, part)) / len(part) for part in spreads]
        found[name] = (means[0] - means[1], margin)
    return found


def _taught(claim, found: Methods) -> Row:
    rows = found.answers.assign(kept=(found.answers["form"] == IN_FORM).astype(float))
    change = gap(of_step(rows, SFT), of_step(rows, BACKBONE), "kept")
    if change is None:
        return entry(claim, "not testable", None, None, "fewer than two questions were asked before and after SFT")
    before, after = (100 * of_step(rows, name)["kept"].mean() for name in (BACKBONE, SFT))
    note = f"{before:.1f} % of responses before, {after:.1f} % after; questions that the corpus does not hold"
    verdict = compare.pattern_verdict(change.difference, change.margin)
    behind = _behind(rows[rows["model"].map(step).isin([SFT, BACKBONE])], change.questions)
    return entry(claim, verdict, change.difference, change.margin, note) | behind


def _sounder(claim, found: Methods) -> Row:
    (gain, margin), (verdict, said) = found.reward_gain(GSPO, SFT), found.reward_verdict(GSPO, SFT)
    note = f"by training: {said}; the margin holds questions and runs, not trainings"
    rows = found.judged[found.judged["model"].map(step).isin([GSPO, SFT])]
    behind = _behind(rows, rows["question_id"].nunique())
    return entry(claim, verdict, gain, margin, note) | behind


def _behind(rows: pd.DataFrame, questions: int) -> Row:
    return {"effort": asdict(spent(rows, questions))}


def _reasons(claim, found: Methods) -> Row:
    rows = of_step(found.closed, GSPO).dropna(subset="right")
    rows = rows.assign(kind=rows["group"].map(KINDS))
    scores = {kind: _score(some) for kind, some in rows.groupby("kind") if some["question_id"].nunique() > 1}
    if set(scores) != set(KINDS.values()):
        return entry(claim, "not testable", None, None, "the held-out questions do not say what they take to answer")
    lead = scores["reasoning"].score - scores["recall"].score
    margin = hypot(scores["reasoning"].margin, scores["recall"].margin)
    said = ", ".join(f"{kind} {one.score:.1f} of {one.questions} questions" for kind, one in scores.items())
    note = f"accuracy after GSPO: {said}; vignettes and contraindications against single facts"
    return entry(claim, compare.pattern_verdict(lead, margin), lead, margin, note)


def _score(rows: pd.DataFrame):
    wide = rows.pivot_table(index="question_id", columns=["model", "run"], values="right").dropna()
    return suite_score(wide.to_numpy())


def _adapted(claim, found: Methods) -> Row:
    rows = found.adapters
    tokens, same, alone = (int(rows[name].sum()) for name in ("tokens", "same", "parent_same"))
    lacking, margin = 100 * same / tokens - 100, proportion_margin(same, tokens)
    without = 100 - 100 * alone / tokens
    seen = without > margin  # else the adapter does so little that a checkpoint without it would pass too
    verdict = compare.unchanged_verdict(lacking, margin) if seen else "too few to tell"
    note = f"share of tokens at which the merged checkpoint chooses otherwise than adapter and parent, of {tokens:,}; "
    note += f"the parent alone does at {without:.1f} %; {len(rows)} checkpoints, saved in bfloat16"
    return entry(claim, verdict, lacking, margin, note)
