"""The ledger as a reader sees it: counts, what is open and what it would take, what disagrees, and all of it.

Arranges entries of `medpsy.report.ledger.ledger`; decides nothing.
"""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd

from medpsy.report import compare, figures
from medpsy.report.display import MARGIN, Figure, Table, table
from medpsy.report.ledger import NOT_TESTABLE, NOT_YET_RUN, WORDS
from medpsy.report.settling import OPEN

Entries = Sequence[dict]
ALL = "all"  # the row that counts every claim
COLUMNS = {  # fields of an entry in the order and under the names of the table
    **{"id": "Claim", "document": "Document", "section": "Section", "place": "Place", "text": "Statement"},
    **{"value": "Published", "unit": "Unit", "audit": "Audit", "notebook": "Notebook", "verdict": "Verdict"},
    **{"ours": "Ours", "margin": "Ours" + MARGIN, "note": "Note", "reason": "Reason", "profile": "Profile"},
    **{"measured_by": "Measured by", "audit_note": "Audit note", "questions": "Questions", "runs": "Runs"},
}
SHORT = ("id", "section", "text", "value", "ours", "margin", "verdict", "notebook", "note")
OPEN_FIELDS = (*SHORT, "questions", "runs")
COLOURS = {  # Okabe and Ito's; a pattern has the paler shade of its value, and what says nothing is grey
    **{"agrees": "#009e73", "pattern holds": "#7fceb9", "differs": "#d55e00", "pattern fails": "#eaae7f"},
    **{OPEN: "#f0e442", NOT_TESTABLE: "#999999", NOT_YET_RUN: "#e3e3e3"},
}
LIGHT = ("agrees", "differs")  # colours on which white text is read


def ledger_counts(entries: Entries) -> Table:
    """Return how many claims have which verdict, by the notebook that answers for them, all of them first."""
    frame = _counts(entries).rename_axis("Notebook").reset_index()
    note = "A claim stands with the notebook that answers for it; 00 is the audit of the printed pages."
    return table(frame.assign(Claims=frame[list(WORDS)].sum(axis=1)), "Claims by verdict", note=note)


def ledger_bars(entries: Entries, *, title: str = "The claims and their verdicts") -> Figure:
    """Return one bar per notebook: its claims by verdict, as counts."""
    counts = _counts(entries).drop(index=ALL)
    rows = [str(name) for name in counts.index]
    with mpl.rc_context(figures.STYLE):
        canvas, axes = figures.rows_canvas(title, rows, 1.5 + 0.36 * len(rows))
        left = (counts.cumsum(axis=1) - counts).T
        widest = counts.sum(axis=1).max()
        for word in WORDS:
            bars = axes.barh(range(len(rows)), counts[word], left=left.loc[word], color=COLOURS[word], label=word)
            texts = [str(number) if number > 0.03 * widest else "" for number in counts[word]]
            axes.bar_label(bars, texts, label_type="center", color="white" if word in LIGHT else "black", fontsize=8)
        axes.set_xlabel("claims")
        figures.legend_below(axes, axes.get_legend_handles_labels()[0])
    said = [f"{name}: " + ", ".join(f"{word} {n}" for word, n in counts.loc[name].items() if n) for name in rows]
    return figures.finished(canvas, title, said)


def ledger_open(entries: Entries) -> Table:
    """Return every open claim with the questions that would settle it, per number of runs, and the cheapest plan."""
    chosen = [entry for entry in entries if entry["verdict"] == OPEN]
    rows = [_open_row(entry) for entry in chosen]
    frame = pd.DataFrame(rows, columns=None if rows else [COLUMNS[field] for field in OPEN_FIELDS], dtype=object)
    note = (
        "Questions needed at 95 % and the wanted power, if the truth is what was measured; –: no number would do, or "
    )
    note += "the record does not say what stood behind the claim. Tokens: still to be written for the cheapest plan."
    return table(frame, "How many questions and runs would settle what is open", note=note)


def ledger_disagreements(entries: Entries) -> Table:
    """Return every claim that was tested and did not come out as published."""
    chosen = [entry for entry in entries if compare.KINDS.get(entry["verdict"]) == "bad"]
    frame = pd.DataFrame(chosen, columns=list(SHORT), dtype=object).rename(columns=COLUMNS)
    return table(frame, "Claims that do not come out as published")


def ledger_table(entries: Entries) -> Table:
    """Return the whole ledger, one row per claim, with the cheapest plan of an open one."""
    frame = pd.DataFrame(entries, columns=list(COLUMNS), dtype=object).rename(columns=COLUMNS)
    plans = [entry["plans"][0] if entry["plans"] else {} for entry in entries]
    for field in ("questions", "runs", "tokens"):
        frame[f"Plan {field}"] = [plan.get(field) for plan in plans]
    return table(frame, "Every claim")


def ledger_verdicts(entries: Entries) -> list[dict]:
    """Return one sentence per section that tested claims: whether all that it tested come out as published."""
    found = []
    for notebook in sorted({entry["notebook"] for entry in entries}):
        words = [entry["verdict"] for entry in entries if entry["notebook"] == notebook and _tested(entry)]
        if words:
            counts = ", ".join(f"{words.count(word)} {word}" for word in WORDS if word in words)
            text = f"Section {notebook.partition('_')[0]}: what it tested of the report comes out as published"
            found.append({"text": text, "verdict": compare.all_hold([_as_pattern(w) for w in words]), "note": counts})
    untested = {"text": "No section has tested a published claim yet", "verdict": NOT_TESTABLE, "note": ""}
    return found or [untested]


def _counts(entries: Entries) -> pd.DataFrame:
    """Return counts [all and notebooks, verdicts]."""
    frame = pd.DataFrame([(entry["notebook"], entry["verdict"]) for entry in entries], columns=["notebook", "verdict"])
    counts = pd.crosstab(frame["notebook"], frame["verdict"]).reindex(columns=list(WORDS), fill_value=0)
    return pd.concat([counts.sum().to_frame(ALL).T, counts]).rename_axis(columns=None)


def _open_row(entry: dict) -> dict:
    row = {COLUMNS[field]: entry[field] for field in OPEN_FIELDS}
    plans = {plan["runs"]: plan["questions"] for plan in entry["plans"]}
    row |= {f"Questions at {runs} runs": plans[runs] for runs in sorted(plans)}
    if not entry["plans"]:
        return row
    best = entry["plans"][0]
    return row | {
        "Cheapest (questions × runs)": f"{best['questions']:,} × {best['runs']}",
        "Tokens": round(best["tokens"]),
    }


def _tested(entry: dict) -> bool:
    return entry["verdict"] not in (NOT_TESTABLE, NOT_YET_RUN)


def _as_pattern(verdict: str) -> str:
    """Return the verdict of a value as that of a pattern: published values that hold, or do not."""
    return {"agrees": "pattern holds", "differs": "pattern fails"}.get(verdict, verdict)
