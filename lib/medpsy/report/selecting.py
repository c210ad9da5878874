"""What a section says of its models as a whole: the verdict on the best one, its claims as a table, its cost."""

import hashlib

import pandas as pd

from medpsy import evaluate, open_ended, prompts
from medpsy.report import compare
from medpsy.report.display import Table, table
from medpsy.report.rubric_scores import rubric_gaps
from medpsy.report.scores import best, gaps, scored
from medpsy.responses import ResponseStore
from medpsy.scoring import AVERAGE
from medpsy.study import Study


def selection(study: Study, graded: pd.DataFrame, models: list[str]) -> dict:
    """Return the verdict on the best of `models`: whether it leads the next one beyond the margin of the pair."""
    rows = graded[graded["model"].isin(models)]
    first = best(scored(study, rows))
    leads = gaps(study, rows, reference=first)
    lead = leads[leads["suite"] == AVERAGE].sort_values("difference").iloc[0]
    verdict = compare.pattern_verdict(lead.difference, lead.margin)
    ahead = f"{lead.difference:.2f}{_width(lead.margin)}"
    text = f"{study.model(first).label} is chosen: it leads {lead.label} by {ahead}"
    return {"text": text, "verdict": verdict, "note": "closed-ended average, paired by question"}


def panel_lead(study: Study, judged: pd.DataFrame, models: list[str], first: str) -> dict:
    """Return the verdict on whether `first` leads each other of `models` on HealthBench under every judge."""
    leads = rubric_gaps(study, judged[judged["model"].isin(models)], reference=first)
    closest = leads.sort_values("difference").iloc[0]
    found = [compare.pattern_verdict(lead.difference, lead.margin) for lead in leads.itertuples()]
    text = f"{study.model(first).label} leads on HealthBench under every judge"
    if not compare.known(closest.difference):
        return {"text": text, "verdict": "not testable", "note": "no judge decided on a conversation of two models"}
    nearest = f"{closest.label}, by {closest.difference:+.2f}{_width(closest.margin)} under {closest.judge_label}"
    text += f"; closest comes {nearest}"
    return {"text": text, "verdict": compare.all_hold(found), "note": "paired by conversation"}


def claim_table(claims: list[dict]) -> Table:
    """Return the claims of a section with ours beside published."""
    names = {"id": "Claim", "claim": "What is claimed", "published": "Published", "ours": "Ours", "margin": "Ours ±"}
    frame = pd.DataFrame(claims)[[*names, "verdict", "note"]].rename(columns=names)
    frame = frame.rename(columns={"verdict": "Verdict", "note": "Note"})
    return table(
        frame, "Published claims, measured", note="95 % margins; where other models stand in, signs are tested."
    )


def inputs(study: Study, models: list[str], judged: pd.DataFrame | None = None) -> dict[str, str]:
    """Return the digests of what a section read: questions, conversations, prompts and models."""
    asked: dict[str, dict] = dict(evaluate.questions(study))
    readers = [study.parser]
    if judged is not None:
        asked |= open_ended.conversations(study, list(judged["suite"].unique()))
        readers += list(judged["judge"].unique())
    found = {f"suite/{suite}": _digest(sorted(map(repr, group.values()))) for suite, group in asked.items()}
    found |= {f"prompt/{name}": prompts.version(name) for name in prompts.TEMPLATES}
    store = ResponseStore(study.store_dir)  # knows the models of stored responses, where the weights are gone
    return found | {f"model/{name}": store.fingerprint(study.model(name)) for name in [*models, *readers]}


def tokens(graded: pd.DataFrame, judged: pd.DataFrame | None = None) -> dict[str, int]:
    """Return the tokens behind a section: of the prompts, of what was generated, and of the reasoning in it.

    The responses to conversations are counted as generated; what parser and judges wrote is not.
    """
    columns = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
    found = {name: int(graded[name].sum()) for name in columns}
    if judged is not None:
        found["conversation_tokens"] = int(judged.drop_duplicates("key")["completion_tokens"].sum())
    return found


def _width(margin: float) -> str:
    return f" ± {margin:.2f} points" if compare.known(margin) else " points (too few for a margin)"


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
