"""Questions are asked until a claim is settled: in batches, of both models that it compares, until an interval that
holds at every look decides it, time runs out, or the suites end.

Which two models a claim compares, and on which suites, is read off its formula, which is tried on made-up numbers in
the place of what is measured: so a published claim and a finding of a section are understood alike, and none is known
by its id or its words. Its status comes from `medpsy.claims`, the ends of the interval standing in the place of
replicates. Questions come in one random order, so that what is stored is not asked again, and looks fall on the same
questions however often the asking was interrupted.
"""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from medpsy import claims, evaluate, prompts, published, run, size_classes, stats, strict
from medpsy.claims.draws import DRAWS, LENGTH, PUBLISHED_RUNS, TITLES, Cell, averages, every_question
from medpsy.claims.measure import NOT_TESTABLE, OPEN, STAND_IN, NotMeasured, Places, patterns, told
from medpsy.data.questions import Conversation, Question, shuffled
from medpsy.engines.base import Prompt
from medpsy.files import write_text
from medpsy.planning import costs
from medpsy.planning.plan import Tally
from medpsy.published.claims import Claim
from medpsy.stats import ALPHA, Interval
from medpsy.store import Progress, ResponseStore, Session, capped, recorded_models
from medpsy.study import Study

CAN = (
    "what can be settled is by how much, or by which factor, one of two models scores above the other on closed-ended "
    "suites or their average, or writes longer responses"
)
BASE, STEP = 100.0, 1e-3  # ours: of made-up numbers
TALKS = "healthbench"  # its replies count in the report's lengths (report 4.6), whatever judges say of them
BATCH, GROWTH = 50, 4  # ours: a batch has 50 questions, or a quarter of those asked: few looks, few starts of an engine
# ours: times the questions asked so far, as far as a forecast looks. A decision takes some 3 standard errors; what even
# 8 times the questions do not decide is now about one away from the other side, so that a forecast knows no sign
FURTHEST = 8
PUBLISHED_ALPHA = 0.01  # ours: the share of ALPHA that is for the run noise of a published number
BUDGET, SECONDS = re.compile(r"(\d+(?:\.\d+)?)(h|m|s|)"), {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
FOLDER = "settle"  # in the outputs of a profile
ALONE = ("vllm", "ray")  # engines that take nearly all memory of a GPU: each is closed before the next one is opened
TOKENS = ["prompt_tokens", "completion_tokens"]
ROW = ["model", "item", "value", *TOKENS]  # of a response
Item = Question | Conversation
Strata = list[tuple[float, list[Item]]]  # share in the compared number, what there is to ask in random order

log = logging.getLogger(__name__)


# What a claim compares.


@dataclass(frozen=True)
class Comparison:
    """What a claim says of two models. Its formula sees `names` and the numbers of `cells`."""

    id: str
    subject: Claim | Mapping[str, str]  # a published claim, or a row of `patterns.csv`
    names: Mapping[str, object]
    places: Places
    cells: Sequence[Cell]
    first: str = ""
    second: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)  # suite -> its share in the compared number; sum to 1
    lengths: bool = False  # tokens of responses are compared, else scores in points
    ratio: bool = False  # `first` over `second` is compared, else `first` less `second`

    @property
    def text(self) -> str:
        what, how = "response length" if self.lengths else "score", "over" if self.ratio else "less"
        on = TITLES[next(iter(self.weights))] if len(self.weights) == 1 else f"{len(self.weights)} suites"
        return f"{what} of {self.first} {how} that of {self.second}, {on}"

    @property
    def unit(self) -> str:
        return "x" if self.ratio else "tokens" if self.lengths else "points"

    @property
    def of_value(self) -> bool:
        """Whether a published number is tested, which has run noise of its own."""
        stated = isinstance(self.subject, Claim) and self.subject.number is not None
        return stated and self.places.tier(self.cells)[0] != STAND_IN

    def told(self, values: Mapping[Cell, np.ndarray]) -> tuple[list, set[Cell], str]:
        """Return what `medpsy.claims.measure.told` does where `values` are all that was measured."""
        draws = replace(self.places.draws, values=values)
        draws = replace(draws, values=averages(draws) | values)
        return told(self.subject, replace(self.places, draws=draws), self.names)

    def at(self, numbers: np.ndarray) -> tuple[list, set[Cell], str]:
        """Return the same where the compared number is each of `numbers`."""
        both = {self.first: BASE * numbers if self.ratio else BASE + numbers}
        return self.told({cell: both.get(cell[1], np.full(len(numbers), BASE)) for cell in self.cells})

    def status(self, interval: Interval) -> str:
        """Return the status of the claim where all that is known of the compared number is an interval."""
        return self.at(np.array([sum(interval) / 2, *np.repeat(interval, DRAWS // 2)]))[2]


def compare(study: Study, claim: str, size: str | None = None) -> Comparison:
    """Return what the published claim, or the section's finding, with the id `claim` compares; `size` is the size class
    that a finding is about, where there are several. A ValueError says why a claim or size class is unknown or cannot
    be settled; FileNotFoundError where a checkpoint is not there yet."""
    published_claim = next((each for each in published.every_claim() if each.id == claim), None)
    rows = [(section, row) for section in run.notebooks(study.root) for row in patterns(section)]
    section, subject = next((each for each in rows if claim in (each[1]["id"], each[1]["claim"])), (None, None))
    if subject is None and published_claim is None:
        ids = [each.id for each in published.every_claim()] + [row["id"] for _, row in rows]
        raise ValueError(f"claim {claim!r} is unknown; {strict.nearest(claim, ids)}")
    if subject is None:
        section, subject = published_claim.notebook, published_claim
        if not subject.rule:
            raise _refusal(claim, subject.fact or "the documents state no rule for it")
    notebook = run.notebooks(study.root)[section]
    params = run.profile_parameters(notebook, study.profile, study.root)
    study = replace(study, questions_per_suite=0, conversations_per_suite=0, runs=params.get("runs") or study.runs)
    plays, scopes = _cast(study, section, params, claim)
    names = {"closed": list(study.suites)}
    if each := "" if subject is published_claim else subject["each"]:
        names |= _scope(claim, each, scopes, size)
    elif size:
        raise ValueError(f"--size {size}: {claim} is about no size class; leave it out")
    suites = [*study.suites, *({TALKS} & set(study.open_suites))]
    measures = [*map(TITLES.get, study.suites), *(f"{LENGTH}: {TITLES[suite]}" for suite in suites)]
    sizes = {suite: count for suite, count in Tally(study).sizes.items() if suite in suites}
    places = Places(study, replace(claims.no_draws(), sizes=sizes), plays)
    cells = [(measure, model) for measure in measures for model in dict.fromkeys(plays.values())]
    compared = _paired(Comparison(claim, subject, names, places, cells))
    if compared.status(Interval(2.0, 2.0)) == NOT_TESTABLE:
        raise _refusal(claim, "neither a value nor a sign of it is published")
    for model in (compared.first, compared.second):
        size_classes.require(study, model)
    return compared


def _refusal(claim: str, why: str) -> ValueError:
    return ValueError(f"{claim} cannot be settled by asking questions: {why}; {CAN}")


def _cast(study: Study, section: str, params: Mapping, claim: str) -> tuple[dict[str, str], list[dict]]:
    """Return who plays which printed model in a section, and the names that its findings see, a mapping per class."""
    if "classes" in params:
        roles = size_classes.by_role(study, params["classes"], whole=False)
        plays = dict(zip(roles["row"], roles["model"], strict=True))
        parts = {size: part.set_index("role")["model"].to_dict() for size, part in roles.groupby("size", sort=False)}
        scopes = [{"size": size, "reference": who.get("rival", who["backbone"])} | who for size, who in parts.items()]
        return plays | {row: model for model, row in params["teacher"].items()}, scopes
    if "stages" in params:
        plays, scopes = claims.played(params["stands_for"], **params["stages"])
        least = params.get("least_gain", {})
        return plays, [scope | {"least_gain": least.get(scope["size"], 0.0)} for scope in scopes["size"]]
    if "stands_for" in params and params.keys() & {"teachers", "large"}:
        return {row: model for model, row in params["stands_for"].items()}, []
    raise _refusal(claim, f"section {section} compares no models on closed-ended suites alone")


def _scope(claim: str, each: str, scopes: Sequence[Mapping], size: str | None) -> Mapping:
    kind, _, name = each.partition(" ")
    fit = [scope for scope in scopes if not name or scope.get("class") == name]
    fit = {scope["size"]: scope for scope in fit if kind == "size" or (kind == "rivalled" and "rival" in scope)}
    if not fit:
        raise _refusal(claim, "it is about models that its section chooses by what they answer, or about no two models")
    if size is None and len(fit) > 1:
        raise ValueError(f"{claim} is a finding of several size classes; name one with --size: {', '.join(fit)}")
    if (size or next(iter(fit))) not in fit:
        raise ValueError(f"--size {size}: {claim} is about no such size class; {strict.nearest(size, fit)}")
    return fit[size or next(iter(fit))]


def _paired(about: Comparison) -> Comparison:
    """Return `about` with the two models and the suites that its formula sets against each other: each number raised
    by itself tells its weight, and then the formula must know the two weighted means alone."""
    generator = np.random.default_rng(0)
    try:
        _, behind, _ = about.told({cell: BASE * generator.uniform(1, 2, 4) for cell in about.cells})
    except NotMeasured as missing:
        raise _refusal(about.id, f"it rests on what answers and their tokens do not tell here ({missing})") from None
    measures, models = ({cell[place] for cell in behind} for place in (0, 1))
    if len(models) != 2:
        raise _refusal(about.id, f"it is about {len(models)} of our models, {', '.join(sorted(models))}")
    cells = [cell for cell in about.cells if cell[1] in models]
    about = replace(about, cells=sorted(behind), lengths=all(measure.startswith(LENGTH) for measure in measures))
    raised = np.vstack([np.full(len(cells), BASE), BASE + STEP * np.eye(len(cells))])
    tried = BASE * generator.uniform(0.5, 1.5, (6, len(cells)))
    results = about.told(dict(zip(cells, np.vstack([raised, tried]).T, strict=True)))[0]
    apart = _refusal(about.id, "its formula is no difference or ratio of two numbers")
    if not all(isinstance(result, float) for result in results):
        raise apart
    rises = pd.Series(np.array(results[1 : len(raised)]) - results[0], pd.MultiIndex.from_tuples(cells)).unstack()
    first, second = rises.sum().sort_values(ascending=False).index
    weights = rises.loc[rises[first] != 0, first] / rises[first].sum()
    if not (weights > 0).all() or (not about.lengths and any(measure.startswith(LENGTH) for measure in measures)):
        raise apart
    titles = {suite: (f"{LENGTH}: " if about.lengths else "") + TITLES[suite] for suite in about.places.draws.sizes}
    by_suite = {suite: float(weights[title]) for suite, title in titles.items() if title in weights}
    sides = [tried[:, [cells.index((name, model)) for name in weights.index]] @ weights for model in (first, second)]
    expected, near = results[len(raised) :], {"rtol": 1e-4, "atol": STEP}
    for ratio, numbers in ((False, sides[0] - sides[1]), (True, sides[0] / sides[1])):
        compared = replace(about, first=first, second=second, weights=by_suite, ratio=ratio)
        if np.allclose(compared.at(numbers)[0], expected, **near):
            if not np.allclose(np.polyval(np.polyfit(numbers, expected, 1), numbers), expected, **near):
                what = "ratio" if ratio else "difference"
                raise _refusal(about.id, f"its formula is not linear in the {what}, and a margin is")
            return compared
    raise apart


# Asking.


def strata(compared: Comparison) -> Strata:
    """Return what there is to ask, in strata that make up the compared number with their shares: of scores the weight
    groups of every suite, of lengths its suites."""
    study, parts = compared.places.study, []
    there = every_question(study, compared.weights)
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


def _ask(compared: Comparison, items: Sequence[Item], session: Session) -> pd.DataFrame:
    """Return a row per response of both models to `items`: ``model``, ``item``, its ``value`` (1 right, 0 not, or its
    tokens; missing where the request failed) and its tokens."""
    study, models = session.study, (compared.first, compared.second)
    if not compared.lengths:
        asked: dict[str, dict[str, Question]] = {}
        for item in items:
            asked.setdefault(item.suite, {})[item.id] = item
        rows = evaluate.answered(session, models, asked)
        value = (1.0 * (rows["outcome"] == "correct")).mask(rows["outcome"] == "failed")
        return rows.assign(item=rows["suite"] + "/" + rows["question_id"], value=value)[ROW]
    asked = {Question: [], Conversation: []}
    for item in items:
        messages = prompts.closed_ended(item) if isinstance(item, Question) else item.messages
        asked[type(item)].append(Prompt(f"{item.suite}/{item.id}", messages))
    frames = []
    for model in models:
        with ExitStack() as stack:  # one start for both samplings
            one = session if session.stack else replace(session, stack=stack, running={})
            for wanted, sampling in zip(
                asked.values(), (study.sampling, study.open_sampling or study.sampling), strict=True
            ):
                frames += one.ask(model, wanted, range(study.runs), sampling) if wanted else []
    rows = pd.concat(frames, ignore_index=True)
    value = (1.0 * rows["completion_tokens"]).mask(rows["finish_reason"] == "failed")
    return rows.assign(item=rows["prompt_id"], value=value)[ROW]


# Looking.


@dataclass
class Settled:
    """How far a claim is settled, and every look on the way: ``questions``, the ``estimate`` of the compared number
    with its interval ``low`` to ``high``, the ``status`` of the claim, the ``tokens`` that both models read and wrote,
    now or earlier, ``minutes`` of this call, and the ``dollars`` that the tokens cost on one `gpu`, None where the size
    of a model is not known."""

    claim: str
    text: str
    profile: str
    fingerprints: dict[str, str]  # of both models, and of the parser where it reads their answers, by name
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
        last = self.looks[-1]
        asked = f"after {last['questions']:,} of {self.suite:,} questions: {last['status']}"
        return f"settled {asked}" if self.stopped == "decided" else f"not settled {asked}"


def settle(
    study: Study,
    claim: str,
    *,
    size: str | None = None,
    budget: str | float | None = None,
    batch: int = BATCH,
    gpu: str | None = None,
    progress: Progress = None,
) -> Settled:
    """Ask both models that `claim` compares until it is settled, and return how that went; also written, after every
    look, to ``outputs/<profile>/settle/``. What is stored is used first; a call that was stopped or killed goes on.
    `budget` is of time for this call, seconds or ``"2h"``, ``"30m"``, checked before each batch but the first; `batch`
    are questions until the first look, and between two looks at least; tokens are priced on `gpu`, by default that of
    the profile. Errors as of `compare`."""
    limit = seconds(budget)
    if batch < 1:
        raise ValueError(f"batch {batch}: give at least 1 question")
    compared = compare(study, claim, size)
    study, parts = compared.places.study, strata(compared)
    items, names = list(in_turn(parts, study.seed)), [compared.first, compared.second]
    card = costs.gpu_name(gpu or costs.unit_costs().usual.get(study.profile) or next(iter(costs.unit_costs().gpus)))
    path = study.outputs / FOLDER / f"{claim}{f'-{size}' if size else ''}.json"
    total, store = sum(len(each) for _, each in parts), ResponseStore(study.store_dir)
    answering = names if compared.lengths else [*names, study.parser]
    models = {name: store.fingerprint(study.model(name)) for name in answering}
    settled = Settled(claim, compared.text, study.profile, models, compared.unit, study.runs, total, card)
    start, pace, done, frames = time.monotonic(), 0.0, 0, []
    with ExitStack() as stack:
        session = Session(study, store, progress, None if study.engine in ALONE else stack)
        for count in looks(len(items), batch):
            if done and time.monotonic() - start + pace * (count - done) > limit:
                settled.stopped = "budget"
                break
            began = time.monotonic()
            frames.append(_ask(compared, items[done:count], session))
            pace, done = (time.monotonic() - began) / (count - done), count
            rows = pd.concat(frames, ignore_index=True)
            order = [f"{item.suite}/{item.id}" for item in items[:done]]
            values = rows.groupby(["item", "model"])["value"].mean().unstack()
            pairs = values.reindex(index=order, columns=names).dropna()
            settled.failed = done - len(pairs)
            if pairs.empty:
                raise RuntimeError(f"{claim}: none of {done} questions was answered by both {' and '.join(names)}")
            estimate, interval = estimated(compared, parts, pairs.to_numpy().T)
            look = {"questions": done, "estimate": estimate, **interval._asdict(), "status": compared.status(interval)}
            look |= {"tokens": int(rows[TOKENS].sum().sum()), "minutes": (time.monotonic() - start) / 60}
            settled.looks.append(look | {"dollars": _dollars(study, card, rows)})
            settled.stopped = "decided" if look["status"] not in (OPEN, NOT_TESTABLE) else ""
            _write(path, settled)
            if progress:
                ends = f"{interval.low:.2f} to {interval.high:.2f}"
                progress(f"{claim}: {done:,} questions, {estimate:.2f} {settled.unit}, {ends}")
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
    """Return the estimate of the compared number and its interval, in its unit; `pairs`: [model, question]. A suite
    counts as finite where its values are not drawn at random, unless `whole` is False. Beside a published value stands
    run noise of its own, of `PUBLISHED_RUNS` runs; all variance is taken for it, and that of one run is as many times
    that of a mean over runs."""
    study = compared.places.study
    talking = study.open_sampling or study.sampling
    samplings = [study.sampling, talking if compared.lengths else study.parser_sampling]
    models = [study.model(name) for name in (compared.first, compared.second)]
    bounds = [capped(each, model).max_tokens for each in samplings for model in models]
    most = max(bounds) if compared.lengths else 1.0
    first, second = np.minimum(pairs, most)  # endpoints count the tokens of a response each in their own way
    fixed = study.source == "hub" and len(parts) == 1 and all(each.temperature == 0 for each in samplings)
    alpha, scale = ALPHA - PUBLISHED_ALPHA * compared.of_value, 1.0 if compared.lengths or compared.ratio else 100.0
    if compared.ratio:
        interval, weight = stats.ratio_interval(first, second, most, alpha=alpha), second.mean()
        estimate = first.mean() / weight
        gaps = first - estimate * second
    else:
        gaps, weight = first - second, 1.0
        size = len(parts[0][1]) if fixed and whole else None
        interval, estimate = stats.mean_interval(gaps, -most, most, size=size, alpha=alpha), gaps.mean()
    noise = 0.0
    if compared.of_value:
        spread = study.runs * np.var(gaps) * sum(share**2 / len(items) for share, items in parts) / PUBLISHED_RUNS
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
    return asdict(settled) | {"said": settled.said}


def _write(path: Path, settled: Settled) -> None:
    write_text(path, json.dumps(as_json(settled), indent=1) + "\n")


def said(outputs: Path) -> dict[str, str]:
    """Return claim -> what `settle` said of it last, of the claims that it was asked for in a profile, as long as the
    models that answered are those on record in the store; a file that is no record of it is named in the log."""
    models, told_of = recorded_models(outputs / "responses"), {}
    for path in sorted((outputs / FOLDER).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["fingerprints"].items() <= models.items():
                told_of[record["claim"]] = str(record["said"])
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            log.warning("%s is left out: no record of `medpsy settle` as it is now (%r); settle it again", path, error)
    return told_of


def printed(settled: Settled) -> str:
    """Return what was looked at as a table, the outcome, and what would decide what is open."""
    table = pd.DataFrame(settled.looks).rename(columns={"estimate": settled.unit, "dollars": f"$ on one {settled.gpu}"})
    shown = table.to_string(index=False, float_format="{:,.2f}".format)
    lines = [f"{settled.claim}: {settled.text}", shown, settled.said]
    if settled.failed:
        lines.append(f"{settled.failed} questions are left out: a request failed; run again to ask only these")
    why = {"budget": "the budget is spent; run again to go on", "suite": "a suite has no more questions"}
    if settled.stopped in why:
        more = f"about {settled.forecast:,} questions" if settled.forecast else "no number within reach"
        lines.append(f"{why[settled.stopped]}. If further ones are like these, {more} would decide it")
    return "\n".join(lines)
