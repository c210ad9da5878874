"""Questions are asked until a claim is settled: in batches, of both models that it compares, until an interval that
holds at every look decides it, time runs out, or the suites end.

The status of a claim comes from `medpsy.claims`, the ends of the interval standing in the place of replicates.
Questions come in one random order, so that what is stored is not asked again, and looks fall on the same questions
however often the asking was interrupted.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from medpsy import evaluate, judge, prompts, sequential
from medpsy.claims.draws import PUBLISHED_RUNS
from medpsy.claims.measure import NOT_TESTABLE, OPEN
from medpsy.comparison import Comparison, compare
from medpsy.data.questions import Conversation, Question, shuffled
from medpsy.data.suites import SUITES
from medpsy.engines.base import Prompt
from medpsy.files import write_text
from medpsy.planning import costs
from medpsy.planning.plan import Tally
from medpsy.sequential import ALPHA, Interval
from medpsy.store import ResponseStore, Session, capped
from medpsy.study import Study

BATCH, GROWTH = 50, 4  # ours: a batch has 50 questions, or a quarter of those asked: few looks, few starts of an engine
FURTHEST = 64  # ours: times the questions asked so far, as far as a forecast looks
PUBLISHED_ALPHA = 0.01  # ours: the share of ALPHA that is for the run noise of a published number
BUDGET, SECONDS = re.compile(r"(\d+(?:\.\d+)?)(h|m|s|)"), {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
FOLDER = "settle"  # in the outputs of a profile
TOKENS = ["prompt_tokens", "completion_tokens"]
Item = Question | Conversation
Strata = list[tuple[float, list[Item]]]  # share in the compared number, what there is to ask in random order


# Asking.


def strata(compared: Comparison) -> Strata:
    """Return what there is to ask, in strata that make up the compared number with their shares: of scores the weight
    groups of every suite, of lengths its suites."""
    study, parts = compared.places.study, []
    closed = [suite for suite in compared.weights if suite in SUITES]
    there = evaluate.questions(study, closed) if closed else {}
    if opened := [suite for suite in compared.weights if suite not in SUITES]:
        there |= judge.conversations(study, opened)
    for suite, weight in compared.weights.items():
        groups: dict[str, list[Item]] = {}
        for item in there[suite].values():
            if compared.lengths or item.gold is not None:
                groups.setdefault("" if compared.lengths else item.weight_group, []).append(item)
        parts += [(weight / len(groups), shuffled(items, study.seed)) for items in groups.values()]
    return parts


def in_turn(parts: Strata, seed: int) -> Iterator[Item]:
    """Yield what to ask: each time of a stratum drawn with its share, so that the mean over what was asked has the
    compared number as its expectation; ends where a stratum has no more."""
    shares = np.array([share for share, _ in parts])
    left = [iter(items) for _, items in parts]
    total = sum(len(items) for _, items in parts)
    for stratum in np.random.default_rng(seed).choice(len(parts), size=total, p=shares / shares.sum()):
        item = next(left[stratum], None)
        if item is None:
            return
        yield item


def _ask(compared: Comparison, items: Sequence[Item], progress: Callable[[str], None] | None) -> pd.DataFrame:
    """Return a row per response of both models to `items`: ``model``, ``item``, its ``value`` (1 right, 0 not, or its
    tokens; missing where the request failed) and its tokens."""
    study, models = compared.places.study, (compared.first, compared.second)
    if not compared.lengths:
        asked: dict[str, dict[str, Question]] = {}
        for item in items:
            asked.setdefault(item.suite, {})[item.id] = item
        rows = evaluate.closed_ended(study, models, asked=asked, progress=progress)
        rows = rows.assign(item=rows["suite"] + "/" + rows["question_id"], value=1.0 * (rows["outcome"] == "correct"))
        return _rows(rows, rows["outcome"] == "failed")
    session, frames = Session(study, ResponseStore(study.store_dir), progress), []
    talks = [Prompt(f"{item.suite}/{item.id}", item.messages) for item in items if isinstance(item, Conversation)]
    closed = [item for item in items if isinstance(item, Question)]
    wanted = [Prompt(f"{item.suite}/{item.id}", prompts.closed_ended(item)) for item in closed]
    for model in models:
        for prompted, sampling in ((wanted, study.sampling), (talks, study.open_sampling or study.sampling)):
            frames += session.ask(model, prompted, range(study.runs), sampling) if prompted else []
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.assign(item=rows["prompt_id"], value=1.0 * rows["completion_tokens"])
    return _rows(rows, rows["finish_reason"] == "failed")


def _rows(rows: pd.DataFrame, failed: pd.Series) -> pd.DataFrame:
    return rows.assign(value=rows["value"].mask(failed))[["model", "item", "value", *TOKENS]]


# Looking.


@dataclass
class Settled:
    """How far a claim is settled, and every look on the way.

    A look has ``questions``, the ``estimate`` of the compared number with its interval ``low`` to ``high``, the
    ``status`` of the claim, the ``tokens`` that both models read and wrote, now or earlier, ``minutes`` of this call,
    and the ``dollars`` that the tokens cost on one `gpu`, None where the size of a model is not known.
    """

    claim: str
    text: str
    profile: str
    models: list[str]
    unit: str
    runs: int
    suite: int  # questions there are
    gpu: str
    alpha: float = ALPHA
    stopped: str = ""  # "decided", "budget" or "suite"
    failed: int = 0  # questions left out, since a request failed
    forecast: int | None = None  # questions that would decide it, if the others are like those asked
    looks: list[dict] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The outcome in a few words."""
        last = self.looks[-1]
        asked = f"after {last['questions']:,} of {self.suite:,} questions: {last['status']}"
        return f"settled {asked}" if self.stopped == "decided" else f"not settled {asked}"

    def _repr_html_(self) -> str:
        return pd.DataFrame(self.looks).round(2).to_html(index=False, border=0)


def settle(
    study: Study, claim: str, *, size: str | None = None, budget: str | float | None = None, batch: int = BATCH,
    gpu: str | None = None, progress: Callable[[str], None] | None = None,
) -> Settled:  # fmt: skip
    """Ask both models that `claim` compares until it is settled, and return how that went; also written, after every
    look, to ``outputs/<profile>/settle/``. What is stored is used first; a call that was stopped or killed goes on.

    Args:
        size: as of `compare`.
        budget: of time for this call, seconds or ``"2h"``, ``"30m"``; checked before each batch but the first.
        batch: questions until the first look, and between two looks at least.
        gpu: what the tokens are priced on; that of the profile by default.
    """
    limit = seconds(budget)
    if batch < 1:
        raise ValueError(f"batch {batch}: give at least 1 question")
    compared = compare(study, claim, size)
    study, parts = compared.places.study, strata(compared)
    items, names = list(in_turn(parts, study.seed)), [compared.first, compared.second]
    card = costs.gpu_name(gpu or costs.unit_costs().usual.get(study.profile) or next(iter(costs.unit_costs().gpus)))
    path = study.outputs / FOLDER / f"{claim}{f'-{size}' if size else ''}.json"
    total = sum(len(each) for _, each in parts)
    settled = Settled(claim, compared.text, study.profile, names, compared.unit, study.runs, total, card)
    start, pace, done, frames = time.monotonic(), 0.0, 0, []
    for count in looks(len(items), batch):
        if time.monotonic() - start + pace * (count - done) > limit:
            settled.stopped = "budget"
            break
        began = time.monotonic()
        frames.append(_ask(compared, items[done:count], progress))
        pace, done = (time.monotonic() - began) / (count - done), count
        rows = pd.concat(frames, ignore_index=True)
        order = [f"{item.suite}/{item.id}" for item in items[:done]]
        pairs = rows.groupby(["item", "model"])["value"].mean().unstack().reindex(index=order, columns=names).dropna()
        settled.failed = done - len(pairs)
        if pairs.empty:
            raise RuntimeError(f"{claim}: none of {done} questions was answered by both {' and '.join(names)}")
        estimate, interval = estimated(compared, parts, pairs.to_numpy().T)
        look = {"questions": done, "estimate": estimate, **interval._asdict(), "status": compared.status(interval)}
        look["tokens"] = int(rows[TOKENS].sum().sum())
        look |= {"minutes": (time.monotonic() - start) / 60, "dollars": _dollars(study, card, rows)}
        settled.looks.append(look)
        settled.stopped = "decided" if look["status"] not in (OPEN, NOT_TESTABLE) else ""
        _write(path, settled)
        if progress:
            progress(
                f"{claim}: {done:,} questions, {estimate:.2f} {settled.unit}, {interval.low:.2f} to {interval.high:.2f}"
            )
        if settled.stopped:
            break
    settled.stopped = settled.stopped or "suite"
    if settled.stopped != "decided":
        settled.forecast = _forecast(compared, parts, pairs.to_numpy().T)
    _write(path, settled)
    return settled


def seconds(budget: str | float | None) -> float:
    """Return the seconds of ``"2h"``, ``"30m"``, ``"90s"`` or a number of them; infinite where there is no budget."""
    if budget is None:
        return np.inf
    written = BUDGET.fullmatch(str(budget).strip())
    if not written or not float(written[1]):
        raise ValueError(f"budget {budget!r} is no time; write 2h, 30m, 90s or seconds")
    return float(written[1]) * SECONDS[written[2]]


def looks(total: int, batch: int) -> Iterator[int]:
    """Yield after how many questions a look falls."""
    count = min(batch, total)
    while count < total:
        yield count
        count += max(batch, count // GROWTH)
    yield total


def estimated(compared: Comparison, parts: Strata, pairs: np.ndarray, whole: bool = True) -> tuple[float, Interval]:
    """Return the estimate of the compared number and its interval, in its unit; `pairs`: [model, question].

    A suite counts as finite where its values are not drawn at random, unless `whole` is False. Beside a published value
    stands run noise of its own, of `PUBLISHED_RUNS` runs, all variance taken for it.
    """
    study, (first, second) = compared.places.study, pairs
    talking = study.open_sampling or study.sampling
    samplings = [study.sampling, talking if compared.lengths else study.parser_sampling]
    models = [study.model(name) for name in (compared.first, compared.second)]
    bounds = [capped(each, model).max_tokens for each in samplings for model in models]
    most = max(bounds) if compared.lengths else 1.0
    fixed = study.source == "hub" and len(parts) == 1 and all(each.temperature == 0 for each in samplings)
    alpha, scale = ALPHA - PUBLISHED_ALPHA * compared.of_value, 1.0 if compared.lengths or compared.ratio else 100.0
    if compared.ratio:
        interval, weight = sequential.ratio(first, second, most, alpha=alpha), second.mean()
        estimate = first.mean() / weight
        gaps = first - estimate * second
    else:
        gaps, weight = first - second, 1.0
        size = len(parts[0][1]) if fixed and whole else None
        interval, estimate = sequential.mean(gaps, -most, most, size=size, alpha=alpha), gaps.mean()
    noise = 0.0
    if compared.of_value:
        spread = np.var(gaps) * sum(share**2 / len(items) for share, items in parts) / PUBLISHED_RUNS
        noise = NormalDist().inv_cdf(1 - PUBLISHED_ALPHA / 2) * np.sqrt(spread) / weight
    return scale * float(estimate), Interval(scale * (interval.low - noise), scale * (interval.high + noise))


def _forecast(compared: Comparison, parts: Strata, pairs: np.ndarray) -> int | None:
    """Return after how many questions the claim is decided if those asked so far come again and again, None where
    `FURTHEST` times as many do not decide it."""

    def decided(count: int) -> bool:
        again = np.resize(np.arange(pairs.shape[1]), count)
        return compared.status(estimated(compared, parts, pairs[:, again], whole=False)[1]) not in (OPEN, NOT_TESTABLE)

    low, high = pairs.shape[1], 2 * pairs.shape[1]
    while not decided(high):
        low, high = high, 2 * high
        if high > FURTHEST * pairs.shape[1]:
            return None
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


def _dollars(study: Study, gpu: str, rows: pd.DataFrame) -> float | None:
    """Return what the responses in `rows` cost on one `gpu`, in dollars."""
    card = costs.unit_costs().gpus[gpu]
    tally = Tally(study, card)
    try:
        for model, part in rows.groupby("model"):
            tally.add(str(model), len(part), *part[TOKENS].mean(), "answers")
    except ValueError:  # of a model whose size is nowhere listed
        return None
    return float(sum(row["hours"] for row in tally.rows) * card.price)


# Telling.


def as_json(settled: Settled) -> dict:
    """Return `settled` as JSON-ready data."""
    return asdict(settled) | {"said": settled.said}


def _write(path: Path, settled: Settled) -> None:
    write_text(path, json.dumps(as_json(settled), indent=1) + "\n")


def said(outputs: Path) -> dict[str, str]:
    """Return claim -> what `settle` said of it last, of all that it was asked for in a profile."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((outputs / FOLDER).glob("*.json"))]
    return {record["claim"]: record["said"] for record in records}


def printed(settled: Settled) -> str:
    """Return what was looked at as a table, the outcome, and what would decide what is open."""
    table = pd.DataFrame(settled.looks).rename(columns={"estimate": settled.unit, "dollars": f"$ on one {settled.gpu}"})
    lines = [
        f"{settled.claim}: {settled.text}",
        table.to_string(index=False, float_format="{:,.2f}".format),
        settled.said,
    ]
    if settled.failed:
        lines.append(f"{settled.failed} questions are left out: a request failed; run again to ask only these")
    if settled.stopped != "decided":
        why = (
            "the budget is spent; run again to go on"
            if settled.stopped == "budget"
            else "a suite has no more questions"
        )
        more = (
            "no number within reach would"
            if settled.forecast is None
            else f"about {settled.forecast:,} questions would"
        )
        lines.append(f"{why}. If further ones are like these, {more} decide it")
    return "\n".join(lines)
