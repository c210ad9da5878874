"""The card's claims beyond its three benchmarks: subjects, scores, merges, calls, lengths, handling, protocols.

Differences are paired; a claim about what the profile did not ask says so. Runs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot

import pandas as pd

from medpsy import published, statistics
from medpsy.harness.card import Benchmark
from medpsy.harness.evaluating import STRIPPED
from medpsy.published import Claim
from medpsy.report import compare
from medpsy.report.compare import Measured
from medpsy.report.harness import BASE, MERGED, RL, difference
from medpsy.report.openmed import calls_gain
from medpsy.report.openmed_lengths import REASONING, longer
from medpsy.report.orders import entry
from medpsy.report.side_by_side import same_questions
from medpsy.statistics import PairedDifference, Z
from medpsy.study import Study

SFT, DPO, LINEAR, SLERP = "sft", "dpo", "linear", "slerp"  # further parts that models play
RIVALS = (LINEAR, SLERP)
SCORES = {  # part -> benchmark -> claims about its score; that of MMLU is the mean of its four groups by questions
    RL: {"MMLU": ("A020",), "MMLU-Pro": ("A021",), "IFEVAL": ("A022",)},
    MERGED: {"MMLU": ("P420", "P431"), "MMLU-Pro": ("P422",), "IFEVAL": ("P424",)},
    BASE: {"MMLU": ("P421", "P432"), "MMLU-Pro": ("P423",), "IFEVAL": ("P425",)},
}
SUBJECTS = tuple(f"A{number:03d}" for number in range(6, 19))
EVERY, HARDER, KEPT, CALLS, CONCISE, THOUGHT, HANDLED, OTHERWISE = (
    *("A019", "A005", "A032", "A033"),
    *("A034", "A035", "A038", "A039"),
)
SURE = 0.05  # p-value, corrected, below which handlings differ


@dataclass(frozen=True)
class CardEvidence:
    """What the section measured.

    Args:
        parts: part (``"base"``, ``"sft"``, ``"dpo"``, ``"rl"``, ``"merged"``, ``"linear"``, ``"slerp"``) -> model.
        benchmarks: of the card, MMLU, MMLU-Pro and IFEval.
        scores, documents: as `medpsy.harness` returns them.
        handled: as `medpsy.harness.handlings` returns them by document.
        calls: as `medpsy.recipes.call_forms` returns them.
        graded: as `medpsy.evaluate.closed_ended` returns it.
        lengths: as `medpsy.lengths.of_responses` returns them.
    """

    study: Study
    parts: Mapping[str, str]
    benchmarks: Sequence[Benchmark]
    scores: pd.DataFrame
    documents: pd.DataFrame
    handled: pd.DataFrame
    calls: pd.DataFrame
    graded: pd.DataFrame
    lengths: pd.DataFrame

    def benchmark(self, title: str) -> Benchmark:
        return next(one for one in self.benchmarks if one.title == title)

    def gap(self, one: Benchmark, first: str, second: str) -> PairedDifference:
        """Return the score of part `first` minus that of `second`."""
        return difference(self.documents, one, self.parts[first], self.parts[second])

    def score(self, title: str, part: str) -> tuple[float, float]:
        """Return the harness's score of a part and its 95 % margin."""
        one = self.benchmark(title)
        known = self.scores.set_index(["model", "task", "metric"]).loc[(self.parts[part], one.task, one.metric)]
        return float(known["value"]), Z * float(known["stderr"])


def recipe_claims(found: CardEvidence) -> list[dict]:
    """Return one row per claim of the card that the section measures beside `medpsy.report.card_claims`."""
    claims = {claim.id: claim for claim in (*published.claims(), *published.card_claims())}
    rows = [_harder(claims[HARDER], found), *_subjects(claims, found)]
    rows += [
        _score(claims[name], found, title, part)
        for part, asked in SCORES.items()
        for title, names in asked.items()
        for name in names
    ]
    rows += [_kept(claims[KEPT], found), _calls(claims[CALLS], found)]
    parts = found.parts
    rows.append(_sign(claims[CONCISE], longer(found.lengths, parts[SFT], parts[DPO]), -1, "after DPO minus before"))
    thought = longer(found.lengths, parts[DPO], parts[RL], REASONING)
    rows.append(_sign(claims[THOUGHT], thought, 1, "after GRPO minus before"))
    return [*rows, _handled(claims[HANDLED], found), _otherwise(claims[OTHERWISE], found)]


def _harder(claim: Claim, found: CardEvidence) -> dict:
    (easy, one), (hard, two) = (found.score(title, MERGED) for title in ("MMLU", "MMLU-Pro"))
    return _sign(claim, Measured(None, easy - hard, hypot(one, two)), 1, "independent questions")


def _subjects(claims: Mapping[str, Claim], found: CardEvidence) -> list[dict]:
    """Return the rows of the card's table by subject, then that of all of them together."""
    rows, gaps = [], []
    for claim in (claims[name] for name in SUBJECTS):
        one = _subject(claim, found.benchmark("MMLU"))
        if one.task not in set(found.documents["task"]):
            rows.append(entry(claim, "not testable", None, None, "the miniature has no such subject"))
            continue
        gap = found.gap(one, MERGED, BASE)
        gaps.append(gap)
        measured = Measured(float(claim.number), gap.difference, gap.margin, difference=True)
        rows.append(compare.claim(claim.id, claim.text, measured, profile=found.study.profile))
    least = min(gaps, key=lambda gap: gap.difference)
    verdict = compare.all_hold([compare.pattern_verdict(gap.difference, gap.margin) for gap in gaps])
    note = f"the smallest of {len(gaps)} differences, of {len(SUBJECTS)} on the card; each must hold by itself"
    return [*rows, entry(claims[EVERY], verdict, least.difference, least.margin, note)]


def _subject(claim: Claim, mmlu: Benchmark) -> Benchmark:
    """Return the part of `mmlu` that `claim` speaks of, as a benchmark of its own."""
    name = claim.operands[0].row.rpartition(" | ")[2].replace(" ", "_")
    return Benchmark(name, f"{mmlu.task}_{name}", mmlu.metric)


def _score(claim: Claim, found: CardEvidence, title: str, part: str) -> dict:
    measured = Measured(float(claim.number), *found.score(title, part))
    note = "" if compare.mode(found.study.profile) == "values" else "a score of another model than the published one"
    return compare.claim(claim.id, claim.text, measured, profile=found.study.profile, note=note)


def _kept(claim: Claim, found: CardEvidence) -> dict:
    """Return whether Arcee Fusion keeps more of a shown MMLU gain than either other merge of the two checkpoints."""
    mmlu = found.benchmark("MMLU")
    gain, leads = found.gap(mmlu, RL, BASE), [found.gap(mmlu, MERGED, rival) for rival in RIVALS]
    least = min(leads, key=lambda gap: gap.difference)
    verdict = compare.all_hold([compare.pattern_verdict(gap.difference, gap.margin) for gap in (gain, *leads)])
    said = ", ".join(f"{name} {gap.difference:+.2f}" for name, gap in zip(RIVALS, leads, strict=True))
    note = f"MMLU, lead over {said}; before the merge the gain is {gain.difference:+.2f} ± {gain.margin:.2f}"
    return entry(claim, verdict, least.difference, least.margin, note)


def _calls(claim: Claim, found: CardEvidence) -> dict:
    gap = calls_gain(found.calls, found.parts[BASE], found.parts[SFT])
    measured = Measured(None, gap.difference, gap.margin)
    return _sign(claim, measured, 1, f"{gap.questions} held-out traces, paired")


def _handled(claim: Claim, found: CardEvidence) -> dict:
    """Return whether IFEval of the merged model changes with the handling of its reasoning."""
    one, model = found.benchmark("IFEVAL"), found.parts[MERGED]
    own = found.handled[found.handled["model"] == model].assign(model=lambda rows: rows["handling"])
    ways = [name for name in dict.fromkeys(own["model"]) if name != STRIPPED]
    gaps = {name: difference(own, one, name, STRIPPED) for name in ways}
    name = max(gaps, key=lambda way: abs(gaps[way].difference))
    least = min(statistics.holm([gap.p_value for gap in gaps.values()]))
    verdict = "pattern holds" if least < SURE else "too few to tell"
    note = f"IFEval of the merged model, {name} against {STRIPPED}; smallest p of {len(gaps)} (Holm) {least:.3f}"
    return entry(claim, verdict, gaps[name].difference, gaps[name].margin, note)


def _otherwise(claim: Claim, found: CardEvidence) -> dict:
    """Return whether the two protocols give the merged model different scores on the same MMLU questions."""
    gap = same_questions(found.study, found.documents, found.graded, found.benchmark("MMLU"), found.parts[MERGED])
    if gap is None:
        return entry(claim, "not testable", None, None, "too few questions that both asked")
    same = compare.unchanged_verdict(gap.difference, gap.margin)
    verdict = {"pattern holds": "pattern fails", "pattern fails": "pattern holds"}.get(same, same)
    note = f"harness minus ours, merged model, {gap.questions} MMLU questions"
    return entry(claim, verdict, gap.difference, gap.margin, note)


def _sign(claim: Claim, measured: Measured, sign: int, note: str) -> dict:
    """Return the row of a claim that states a sign and no number."""
    number = measured.ours
    return entry(claim, compare.pattern_verdict(sign * number, measured.margin), number, measured.margin, note)


def card_pattern(claims: Sequence[Mapping]) -> dict:
    """Return the verdict on the card's pattern: the RL checkpoint loses instruction following, the merge regains it.

    Args:
        claims: rows of `medpsy.report.card_claims`.
    """
    lost, back = (next(row for row in claims if row["id"] == name) for name in ("A026", "A030"))
    said = ", ".join(
        f"{words} {row['ours']:+.2f} ± {row['margin']:.2f}"
        for words, row in (("RL checkpoint minus base", lost), ("merged minus RL checkpoint", back))
    )
    text = f"Training costs instruction following and the merge brings it back: IFEval, {said} points"
    return {"text": text, "verdict": compare.all_hold([lost["verdict"], back["verdict"]]), "note": "paired by prompt"}
