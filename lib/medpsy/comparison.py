"""Which two models a claim compares, and on which suites: read off its formula, for `medpsy.settle`.

The formula is tried on made-up numbers in the place of what is measured: each raised by itself tells its weight, and
then the formula must depend on the two weighted means alone. So a published claim and a finding of a section are
understood alike, and none is known by its id or its words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from medpsy import claims, published, run, size_classes, strict
from medpsy.claims.draws import AVERAGE, DRAWS, LENGTH, TITLES
from medpsy.claims.measure import NOT_TESTABLE, STAND_IN, NotMeasured, Places, patterns, told
from medpsy.data.suites import SUITES
from medpsy.planning.plan import Tally
from medpsy.sequential import Interval
from medpsy.study import Study

CAN = (
    "what can be settled is by how much, or by which factor, one of two models scores above the other on closed-ended "
)
CAN += "suites or their average, or writes longer responses"
BASE, STEP = 100.0, 1e-3  # ours: of made-up numbers
TALKS = "healthbench"  # its replies count in the report's lengths (report 4.6), whatever judges say of them


@dataclass(frozen=True)
class Comparison:
    """What a claim says of two models.

    Args:
        subject: a published claim, or a row of `patterns.csv`; its formula sees `names` and numbers of `cells`.
        weights: suite -> its share in the compared number; they sum to 1.
        lengths: tokens of responses are compared, else scores in points.
        ratio: `first` over `second` is compared, else `first` less `second`.
    """

    id: str
    subject: published.Claim | Mapping[str, str]
    names: Mapping[str, object]
    places: Places
    cells: Sequence[tuple[str, str]]
    first: str = ""
    second: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    lengths: bool = False
    ratio: bool = False

    @property
    def text(self) -> str:
        """What is compared, in words."""
        what, how = "response length" if self.lengths else "score", "over" if self.ratio else "less"
        on = TITLES[next(iter(self.weights))] if len(self.weights) == 1 else f"{len(self.weights)} suites"
        return f"{what} of {self.first} {how} that of {self.second}, {on}"

    @property
    def unit(self) -> str:
        return "x" if self.ratio else "tokens" if self.lengths else "points"

    @property
    def of_value(self) -> bool:
        """Whether a published number is tested, which has run noise of its own."""
        stated = isinstance(self.subject, published.Claim) and self.subject.number is not None
        return stated and self.places.tier(self.cells)[0] != STAND_IN

    def told(self, values: Mapping[tuple[str, str], np.ndarray]) -> tuple[list, set[tuple[str, str]], str]:
        """Return what `medpsy.claims.measure.told` does where `values` are the numbers of `cells`."""
        places = replace(self.places, draws=replace(self.places.draws, values=values))
        return told(self.subject, places, self.names)

    def at(self, numbers: np.ndarray) -> tuple[list, set[tuple[str, str]], str]:
        """Return the same where the compared number is each of `numbers`."""
        first = BASE * numbers if self.ratio else BASE + numbers
        same = np.full(len(numbers), BASE)
        return self.told({(measure, model): first if model == self.first else same for measure, model in self.cells})

    def status(self, interval: Interval) -> str:
        """Return the status of the claim where all that is known of the compared number is an interval."""
        return self.at(np.array([sum(interval) / 2, *np.repeat(interval, DRAWS // 2)]))[2]


# What a claim compares.


def compare(study: Study, claim: str, size: str | None = None) -> Comparison:
    """Return what the published claim, or the section's finding, with the id `claim` compares.

    Args:
        size: size class that a finding is about, where there are several.

    Raises:
        ValueError: no such claim or size class, or one that cannot be settled; the message says why.
        FileNotFoundError: a checkpoint is not there yet.
    """
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
    measures = [*map(TITLES.get, study.suites), *(f"{LENGTH}: {TITLES[suite]}" for suite in suites), LENGTH]
    measures += [AVERAGE] * (set(study.suites) == set(SUITES))
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
        roles = size_classes.by_role(study, params["classes"])
        plays = dict(zip(roles["row"], roles["model"], strict=True))
        parts = {size: part.set_index("role")["model"].to_dict() for size, part in roles.groupby("size", sort=False)}
        scopes = [
            {"size": size, "reference": part.get("rival", part["backbone"])} | part for size, part in parts.items()
        ]
        return plays | {row: model for model, row in params["teacher"].items()}, scopes
    if "stages" in params:
        plays, scopes = claims.played(params["stands_for"], **params["stages"])
        least = params.get("least_gain", {})
        return plays, [scope | {"least_gain": least.get(scope["size"], 0.0)} for scope in scopes["size"]]
    if "stands_for" in params and params.keys() & {"teachers", "large"}:
        return {row: model for model, row in params["stands_for"].items()}, []
    raise _refusal(claim, f"section {section} compares no models on closed-ended suites alone")


def _scope(claim: str, each: str, scopes: Sequence[Mapping], size: str | None) -> Mapping:
    """Return the names that the formula of a finding sees for one size class."""
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
    cells = sorted(behind)
    measures, models = ({cell[place] for cell in cells} for place in (0, 1))
    if len(models) != 2:
        raise _refusal(about.id, f"it is about {len(models)} of our models, {', '.join(sorted(models))}")
    about = replace(about, cells=cells, lengths=all(measure.startswith(LENGTH) for measure in measures))
    raised = np.vstack([np.full(len(cells), BASE), BASE + STEP * np.eye(len(cells))])
    tried = BASE * generator.uniform(0.5, 1.5, (6, len(cells)))
    results = about.told(dict(zip(cells, np.vstack([raised, tried]).T, strict=True)))[0]
    apart = _refusal(about.id, "its formula is no difference or ratio of two numbers")
    if not all(isinstance(result, float) for result in results):
        raise apart
    rises = pd.Series(np.array(results[1 : len(raised)]) - results[0], pd.MultiIndex.from_tuples(cells)).unstack()
    first, second = rises.sum().sort_values(ascending=False).index
    weights = rises[first] / rises[first].sum()
    if not (weights > 0).all() or (not about.lengths and any(measure.startswith(LENGTH) for measure in measures)):
        raise apart
    sides = [
        tried[:, [cells.index((measure, model)) for measure in weights.index]] @ weights for model in (first, second)
    ]
    for ratio, numbers in ((False, sides[0] - sides[1]), (True, sides[0] / sides[1])):
        named = {"first": first, "second": second, "weights": _by_suite(about, weights), "ratio": ratio}
        compared = replace(about, **named)
        if np.allclose(compared.at(numbers)[0], results[len(raised) :], rtol=1e-4, atol=STEP):
            return compared
    raise apart


def _by_suite(about: Comparison, weights: pd.Series) -> dict[str, float]:
    """Return the weights of suites, given those of measures."""
    sizes = about.places.draws.sizes
    shares = {
        AVERAGE: dict.fromkeys(SUITES, 1 / len(SUITES)),
        LENGTH: {each: n / sum(sizes.values()) for each, n in sizes.items()},
    }
    by_suite = dict.fromkeys(sizes, 0.0)
    for measure, weight in weights.items():
        title = measure.removeprefix(f"{LENGTH}: ")
        alone = {suite: 1.0 for suite in sizes if TITLES[suite] == title}
        for suite, share in shares.get(measure, alone).items():
            by_suite[suite] += weight * share
    return {suite: weight for suite, weight in by_suite.items() if weight}
