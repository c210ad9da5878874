"""From graded and judged responses to scores and their replicates: one bootstrap for everything a section says.

A measure is named as the printed cells name it (`published/data/cells.csv`): ``"MedQA (USMLE)"``, ``"Average"``,
``"HealthBench (CompassJudger-2-32B)"``, ``"HealthBench Hard: Response Depth (CompassJudger-2-32B)"``, ``"Response
length"``. HealthBench Hard is part of HealthBench: both are scored on the same conversations.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy import evaluate, judge, stats
from medpsy.data.healthbench import THEMES
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.grading.rubric import example_scores
from medpsy.study import Study

AVERAGE, LENGTH = "Average", "Response length"
TITLES = {key: spec.title for key, spec in (SUITES | OPEN_SUITES).items()}
PARTS = {AVERAGE: {TITLES[suite] for suite in SUITES}, LENGTH: {f"{LENGTH}: {title}" for title in TITLES.values()}}
OPENED = tuple(TITLES[suite] for suite in OPEN_SUITES)
LEAST = 30  # questions or conversations; ours: a bootstrap of fewer says little but what it saw
DRAWS, NOISE_DRAWS = 1000, 200  # replicates; those of run noise only tell its share of a margin
PUBLISHED_RUNS = 3  # card: every published score is the mean of three runs
Values = NDArray[np.float64]  # [1 + draws]: measured, then replicates
Cell = tuple[str, str]  # measure, model
ITEM = ["part", "measure", "model", "stratum", "question_id", "run"]
COLUMNS = [*ITEM, "value", "tokens"]


class Behind(NamedTuple):
    questions: int | None  # of several parts the fewest; None where nothing was asked
    runs: int
    tokens: float  # written per question and run, by all models together


@dataclass(frozen=True)
class Draws:
    """Every measure of every model: scores in points, lengths in tokens."""

    values: Mapping[Cell, Values]
    noise: Mapping[Cell, Values]  # replicates that differ by run noise alone; empty where one run cannot tell
    items: pd.DataFrame  # a row per response and measure, with `COLUMNS`
    sizes: Mapping[str, int]  # suite -> questions it has; of finite suites, and where lengths are weighted by them
    whole: bool = False  # all questions of finite suites were asked

    def of(self, model: str, measure: str = AVERAGE) -> Values:
        """Return the values of a model; KeyError, naming both, where it was not measured."""
        return self.values[measure, model]

    def lead(self, first: str, second: str, measure: str = AVERAGE) -> Values:
        """Return by how much `first` is above `second`."""
        return self.of(first, measure) - self.of(second, measure)

    def mean_length(self, model: str, quantity: str = LENGTH, suites: Sequence[str] | None = None) -> Values:
        """Return the mean of a quantity of `length_items` over `suites`, weighted by the questions they have (report
        4.6: by the number of samples per benchmark), however many were asked."""
        weights = {suite: self.sizes[suite] for suite in suites or self.length_suites()}
        missing = np.full(DRAWS + 1, np.nan)
        means = {suite: self.values.get((f"{quantity}: {TITLES[suite]}", model), missing) for suite in weights}
        return sum(weight * means[suite] for suite, weight in weights.items()) / sum(weights.values())

    def length_suites(self) -> list[str]:
        there = {measure for measure, _ in self.values}
        return [suite for suite, title in TITLES.items() if f"{LENGTH}: {title}" in there]

    def behind(self, cells: Iterable[Cell]) -> Behind:
        """Return what stands behind some measures of some models: the items of all suites behind an average."""
        pairs = [(part, model) for measure, model in cells for part in PARTS.get(measure, {measure})]
        key = tuple(map(frozenset, zip(*pairs, strict=True))) or (frozenset(), frozenset())
        if key not in self._counted:  # a section asks some thousand times about some hundred cells
            self._counted[key] = self._count(*key)
        return self._counted[key]

    def questions(self, cells: Iterable[Cell]) -> int | None:
        """Return how many questions stand behind `cells`, as `behind` says."""
        return self.behind(cells).questions

    def _count(self, measures: Iterable[str], models: Iterable[str]) -> Behind:
        answers = [self._answers[cell] for cell in itertools.product(measures, models) if cell in self._answers]
        if not answers:
            return Behind(None, 0, 0.0)
        rows = pd.concat(answers)
        questions = rows.drop_duplicates("question")["part"].value_counts().min()
        responses = rows.drop_duplicates("response")
        tokens = responses.groupby("model", sort=False)["tokens"].mean().sum()
        return Behind(int(questions), responses["run"].nunique(), float(tokens))

    @cached_property
    def _counted(self) -> dict[tuple[frozenset[str], frozenset[str]], Behind]:
        return {}

    @cached_property
    def _answers(self) -> dict[Cell, pd.DataFrame]:
        """What was answered behind every measure of every model; the same question of two parts is two."""
        numbered = {
            "question": self.items.groupby(["part", "stratum", "question_id"], sort=False).ngroup(),
            "response": self.items.groupby(["model", "stratum", "question_id", "run"], sort=False).ngroup(),
        }
        rows = self.items[["part", "measure", "model", "run", "tokens"]].assign(**numbered)
        return dict(list(rows.groupby(["measure", "model"], sort=False)))

    def margin(self, values: Values, cells: Iterable[Cell]) -> float | None:
        """Return the 95 % margin of `values`; None where too few questions stand behind them to speak of one."""
        asked = self.questions(cells)
        few = asked is not None and asked < LEAST
        return None if few or not np.isfinite(values).all() else float(stats.half_width(values[1:]))

    def given(self, measure: str, numbers: Mapping[str, tuple[float, float]], *, seed: int = 0) -> "Draws":
        """Return draws that hold numbers measured elsewhere, model -> (number, 95 % margin), independent and normal."""
        generator = np.random.default_rng(seed)
        values = {
            (measure, model): np.append(number, generator.normal(number, margin / stats.Z, DRAWS))
            for model, (number, margin) in numbers.items()
        }
        return replace(self, values={**self.values, **values})

    def beside(self, other: "Draws") -> "Draws":
        values, noise = {**self.values, **other.values}, {**self.noise, **other.noise}
        items = pd.concat([self.items, other.items], ignore_index=True)
        return Draws(values, noise, items, {**self.sizes, **other.sizes}, self.whole)


def draws(
    study: Study,
    graded: pd.DataFrame | None = None,
    judged: pd.DataFrame | None = None,
    *,
    judges: Mapping[str, str] = {},
    lengths: pd.DataFrame | None = None,
    published_runs: int = PUBLISHED_RUNS,
) -> Draws:
    """Return the scores of all models, drawn together: `graded`, `judged` and `lengths` are as `evaluate.closed_ended`,
    `judge.open_ended` and `evaluate.lengths` return them; `judges` are judge -> the report's name of the judge that it
    is, or whose part it plays (others keep their own); `published_runs` are behind published scores of finite suites,
    margins are then those of the difference."""
    finite, options = study.source == "hub", {"seed": study.seed}
    asked = {suite for frame in (graded, judged, lengths) if frame is not None for suite in frame["suite"].unique()}
    questions = every_question(study, asked) if finite or lengths is not None else {}
    if finite:
        options |= {"sizes": stratum_sizes(questions), "published_runs": published_runs}
    together = replace(no_draws(), sizes={suite: len(group) for suite, group in questions.items()})
    if graded is not None:
        together = together.beside(drawn(closed_items(graded), bounds=(0.0, 100.0), **options))
    if judged is not None and len(judged):
        together = together.beside(drawn(_common(open_items(judged, judges)), **options))
    if lengths is not None:
        together = together.beside(drawn(length_items(lengths), **options))
    whole = finite and not (study.questions_per_suite or study.conversations_per_suite or study.so_far)
    values = together.values | averages(together)
    noise = together.noise | averages(replace(together, values=together.noise))
    return replace(together, values=values, noise=noise, whole=whole)


def no_draws() -> Draws:
    """Return draws of nothing, to add numbers `given` elsewhere."""
    return Draws({}, {}, pd.DataFrame(columns=COLUMNS), {})


def drawn(items: pd.DataFrame, **options) -> Draws:
    """Return the measures of `items`, drawn together; `options` as of `medpsy.stats.bootstrap`. The mean of
    conversations is kept within 0 to 100, as HealthBench has it."""
    items = items.assign(tokens=np.nan) if "tokens" not in items else items
    values = items.set_index(ITEM[1:])["value"]
    measured, noise = stats.score(values), {}
    if (values.dropna().groupby(level=ITEM[1:-1]).size() > 1).any():
        asked = items.groupby("stratum")["question_id"].nunique().to_dict()
        noise = _columns(stats.bootstrap(values, NOISE_DRAWS, options.get("seed", 0), sizes=asked))
    replicates = _columns(stats.bootstrap(values, DRAWS, **options))
    scores = {cell: np.append(measured.at[cell], column) for cell, column in replicates.items()}
    scores = {cell: column for cell, column in scores.items() if np.isfinite(column[0])}
    opened = {cell: np.clip(column, 0.0, 100.0) for cell, column in scores.items() if cell[0].startswith(OPENED)}
    return Draws(scores | opened, noise, items, {})


def _columns(replicates: pd.DataFrame) -> dict[Cell, Values]:
    wide = replicates.unstack("measure")
    return {(measure, model): wide[model, measure].to_numpy() for model, measure in wide.columns}


def averages(part: Draws) -> dict[Cell, Values]:
    """Return the plain mean of the seven suites, of every model that answered all of them, and the mean length of its
    responses over all suites that were asked."""
    averages, lengths = {}, part.length_suites()
    for model in {model for _, model in part.values}:
        scores = [part.values[title, model] for title in map(TITLES.get, SUITES) if (title, model) in part.values]
        if len(scores) == len(SUITES):
            averages[AVERAGE, model] = np.mean(scores, axis=0)
        if lengths:
            averages[LENGTH, model] = part.mean_length(model, LENGTH, lengths)
    return averages


# What is drawn: a row per response and measure.


def closed_items(graded: pd.DataFrame) -> pd.DataFrame:
    """Return a row per response to a question with a key, 100 where it is right; missing where the request failed."""
    rows = graded[graded["gold"].notna()].rename(columns={"completion_tokens": "tokens"})
    right = (100.0 * (rows["outcome"] == "correct")).where(rows["outcome"] != "failed")
    measure, stratum = rows["suite"].map(TITLES), rows["suite"] + "/" + rows["weight_group"]
    return rows.assign(part="closed-ended", measure=measure, stratum=stratum, value=right)[COLUMNS]


def open_items(judged: pd.DataFrame, judges: Mapping[str, str] = {}) -> pd.DataFrame:
    """Return a row per response, judge and measure: the whole of an open suite, and the conversation's theme."""
    examples = example_scores(judged, by=["suite", "judge", "model"])
    keys = ["suite", "model", "conversation_id", "run"]
    tokens = judged.drop_duplicates(keys)[[*keys, "completion_tokens"]]
    rows = examples.merge(tokens.rename(columns={"completion_tokens": "tokens"}), how="left", on=keys)
    rows = rows.assign(part=rows["suite"], stratum="conversations", value=100 * rows["score"])
    rows = rows.rename(columns={"conversation_id": "question_id"})
    titles, names = rows["suite"].map(TITLES), rows["judge"].map(lambda judge: judges.get(judge, judge))
    whole = rows.assign(measure=titles + " (" + names + ")")
    themes = rows.assign(measure=titles + ": " + rows["theme"].map(THEMES) + " (" + names + ")")
    return pd.concat([whole, themes], ignore_index=True)[COLUMNS]


def _common(items: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of conversations of which every judge and model of the suite left a score, so that differences
    are paired."""
    whole = items[items["value"].notna() & ~items["measure"].str.contains(": ")]
    whole = whole.assign(pair=whole["measure"] + whole["model"])
    pairs = whole.groupby("part")["pair"].nunique()
    counts = whole.groupby(["part", "question_id"])["pair"].nunique().reset_index(name="scores")
    kept = counts[counts["scores"] == counts["part"].map(pairs)]
    return items.merge(kept[["part", "question_id"]], on=["part", "question_id"])


def length_items(lengths: pd.DataFrame) -> pd.DataFrame:
    """Return a row per response and quantity, of the questions that every model answered: tokens of the response and
    of its reasoning, and whether it was cut off; of closed-ended suites whether it was correct or wrong, and its tokens
    if so."""
    models = lengths["model"].nunique()
    rows = lengths[lengths.groupby(["suite", "item"])["model"].transform("nunique") == models]
    if lost := sorted(set(lengths["suite"]) - set(rows["suite"])):
        raise ValueError(f"suite {lost[0]!r}: no question was answered by every model; run their sections again")
    closed = rows[rows["suite"].isin(SUITES)]
    quantities = {LENGTH: rows["tokens"], "Reasoning length": rows["reasoning"], "Cut off": 1.0 * rows["cut_off"]}
    for outcome in ("correct", "wrong"):
        share = 1.0 * (closed["outcome"] == outcome)
        quantities |= {f"Share {outcome}": share, f"Tokens {outcome}": share * closed["tokens"]}
    rows = rows.assign(stratum=rows["suite"], question_id=rows["item"], part="lengths", title=rows["suite"].map(TITLES))
    frames = []
    for name, value in quantities.items():
        behind = rows.loc[value.index]
        frames.append(behind.assign(measure=f"{name}: " + behind["title"], value=value))
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def every_question(study: Study, suites: Iterable[str]) -> dict[str, Mapping[str, object]]:
    """Return all questions or conversations that `suites` have, asked or not, by suite and id."""
    closed = evaluate.questions(study, [suite for suite in SUITES if suite in suites], every=True)
    opened = [suite for suite in OPEN_SUITES if suite in suites]
    whole = judge.conversations(replace(study, conversations_per_suite=0), opened) if opened else {}
    return {**closed, **whole}


def stratum_sizes(questions: Mapping[str, Mapping[str, object]]) -> dict[str, int]:
    """Return how many questions with a key, or conversations, every stratum of `draws` has."""
    opened = {name for suite in OPEN_SUITES for name in questions.get(suite, ())}
    strata = {"conversations": len(opened), **{suite: len(group) for suite, group in questions.items()}}  # of lengths
    for suite in [suite for suite in SUITES if suite in questions]:
        keyed = [question for question in questions[suite].values() if question.gold is not None]
        strata |= Counter(f"{suite}/{question.weight_group}" for question in keyed)
    return strata
