"""The claims of section 3.5, each with a verdict or a plain reason, and what first principles say of them in sentences.

A claim that states machines, settings or hours of the authors' own is not testable by any run; its arithmetic is the
audit's (`medpsy.published`), and what follows from the printed numbers is shown beside it.
"""

from medpsy import published
from medpsy.planning import formulas
from medpsy.planning.sizes import printed
from medpsy.published import Claim
from medpsy.report import budget_hours as hours
from medpsy.report.budget import DATA, LEARNING, MODELS, PARALLEL, TUNING, Assumed, number
from medpsy.report.orders import entry

SECTION = "3.5"
SHARE = "%"  # unit of the one claim about shares: what data generation takes of the pipeline
BUDGET_UNIT = "H100 hours"
SPREAD = "optimizer (ZeRO-1, as in the report)"


def budget_claims(about: Assumed) -> list[dict]:
    """Return one row per claim of section 3.5, for a result's `claims`."""
    return [_row(claim, about) for claim in published.claims(SECTION)]


def data_share(about: Assumed) -> tuple[float, float]:
    """Return the least and most percent of the pipeline's hours that data generation takes, the rest as printed."""
    rest = sum(hours.printed_hours(one) for one in (TUNING, LEARNING))
    found = hours.data_hours(about)
    return tuple(100 * one / (one + rest) for one in (found.least, found.most))


def budget_verdicts(about: Assumed) -> list[dict]:
    """Return what the section concludes."""
    return [_cluster(), _jobs(), _memory(about), _writing(about), _rows(about), _learning(about)]


def _row(claim: Claim, about: Assumed) -> dict:
    found = published.recompute(claim).result
    ours = None if found is None or isinstance(found, bool | str | list) else float(found)
    if claim.unit == SHARE:
        low, high = data_share(about)
        verdict = "pattern holds" if low > 50 else "pattern fails" if high <= 50 else "too few to tell"
        note = "data generation from first principles, over all utilizations; SFT and RL as printed"
        return entry(claim, verdict, (low + high) / 2, (high - low) / 2, note)
    if claim.unit == BUDGET_UNIT:
        note = "hours of the authors' own runs: rows, row lengths and utilization behind them are not stated"
        return entry(claim, "not testable", ours, None, note)
    note = "states the authors' machines or settings, which a rerun adopts; its arithmetic is audited in section 00"
    return entry(claim, "not testable", ours, None, note)


def _cluster() -> dict:
    nodes, each, whole = (
        number("cluster", row, "Specification") for row in ("Worker nodes", "GPUs per node", "Total GPU capacity")
    )
    text = f"{nodes:.0f} nodes of {each:.0f} GPUs are {nodes * each:.0f}, and the report's total says {whole:.0f}"
    verdict = "agrees" if nodes * each == whole else "differs"
    return {"text": text, "verdict": verdict, "note": f"the total would need {whole / each:.0f} nodes"}


def _jobs() -> dict:
    each = number("cluster", "GPUs per node", "Specification")
    fits = []
    for size in MODELS:
        nodes, count, *ways = (number(PARALLEL, size, name) for name in ("Nodes", "GPUs", "TP", "PP", "DP"))
        fits.append(count == nodes * each == ways[0] * ways[1] * ways[2])
    text = "The GPUs of both SFT jobs are nodes times GPUs per node, and TP times PP times DP"
    return {"text": text, "verdict": "agrees" if all(fits) else "differs", "note": ""}


def _memory(about: Assumed) -> dict:
    count, processes = printed(MODELS["4B"]).shape.parameters, int(number(PARALLEL, "4B", "DP"))
    alone, spread = (
        formulas.state_bytes(count, name, processes) / formulas.GIGA
        for name in (next(iter(formulas.SHARDINGS)), SPREAD)
    )
    text = (
        f"With the optimizer spread over {processes} GPUs the 4B model takes {spread:.1f} GB of each, else {alone:.1f}"
    )
    note = f"of {about.sheet.memory:.0f} GB; so TP = PP = 1 is enough"
    return {"text": text, "verdict": "pattern holds" if spread < about.sheet.memory else "pattern fails", "note": note}


def _writing(about: Assumed) -> dict:
    stated = hours.printed_hours(DATA)
    name = next(iter(about.teachers))
    share, needed = hours.roofline(about, name)
    within = max(stated / needed, needed / stated) <= hours.FACTOR
    text = (
        f"{name} writes {about.rows / 1e6:.0f} million rows of {about.row:,.0f} tokens in {needed:,.0f} GPU hours if "
        f"memory bandwidth sets its pace; the printed {stated:,.0f} are within a factor of {hours.FACTOR:.0f}"
    )
    note = f"{100 * share:.1f} % of the peak; the printed hours need {100 * hours.implied_share(about):.1f} %"
    return {"text": text, "verdict": "pattern holds" if within else "pattern fails", "note": note}


def _rows(about: Assumed) -> dict:
    stated, least = hours.printed_hours(TUNING), hours.tuning_hours(about, 1.0).least
    share = hours.used_share(about)
    text = (
        f"The printed {stated:,.0f} hours of SFT cannot have trained on all rows: these need {least:,.0f} at least, so "
        f"the final corpora hold some {about.rows * share / 1e6:.1f} million rows of this length"
    )
    verdict = "pattern holds" if stated < least else "pattern fails"
    return {"text": text, "verdict": verdict, "note": f"{100 * share:.0f} % of the rows written"}


def _learning(about: Assumed) -> dict:
    found = hours.learning_hours(about)
    inside = found.least <= found.published <= found.most
    text = (
        f"The RL recipe of profile paper takes {found.least:,.0f} to {found.most:,.0f} GPU hours, "
        f"the report's {found.published:,.0f}"
    )
    note = "the report states no group size, response length or rollouts; ours are marked in the parameters"
    return {"text": text, "verdict": "pattern holds" if inside else "pattern fails", "note": note}
