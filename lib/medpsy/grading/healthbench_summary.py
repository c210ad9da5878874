"""What `medpsy grade healthbench` prints: scores of a user's verdicts, and what was wrong with them.

Scores are unrounded shares in the summary and points in the printed text.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy.benchmarks.conversation import Conversation
from medpsy.benchmarks.healthbench import AXES, THEMES
from medpsy.grading import rubric
from medpsy.grading.healthbench_files import Rubrics, Verdicts, load_examples, load_verdicts, rubrics
from medpsy.grading.rows import named

KINDS = {"theme": "themes", "axis": "axes"}
PROBLEMS = {  # found in the verdicts -> what it is called in print
    "missing": "criteria without a verdict (unjudged)",
    "null": "criteria whose verdict is null (unjudged)",
    "conflicting": "criteria with verdicts that differ (unjudged)",
    "duplicates": "verdicts on criteria that have one already (counted once if they agree)",
    "unknown_prompts": "verdicts on examples that are not in the file (left out)",
    "unknown_criteria": "verdicts on criteria that are not in the example's rubric (left out)",
}


def grade(examples: Path | str, verdicts: Path | str, *, seed: int = 0) -> dict[str, Any]:
    """Return the scores of a file of verdicts on a file of examples, both JSON lines, plain or gzipped.

    Scores are shares, not rounded, and null where nothing could be scored. Where the verdicts name several judges, the
    scores are those of their plain mean (each example's score averaged over judges), counts are sums over judges, and
    ``judges`` has each alone.

    Returns:
        ``score``, ``bootstrap_std``, ``margin``, ``n``, ``skipped``, ``unjudged``, ``low``, ``high`` (see
        `medpsy.grading.rubric.RubricScore`); ``as_published`` (whole points); ``themes``, ``axes``, ``example_tags``
        (name -> score); ``details`` (the same names -> all of the former numbers); ``other_implementations`` (name ->
        the score they would give); ``examples``, ``criteria``, ``verdicts``; each of `PROBLEMS` as ``{count, first}``;
        ``judges``, if there are several.

    Raises:
        ValueError: a row is malformed; the message names file, row, field and fix.
    """
    known = load_examples(Path(examples))
    given = load_verdicts(Path(verdicts), known)
    decided = {judge: rubrics(known, said) for judge, said in given.said.items()}
    frames = {judge: _frame(known, found) for judge, found in decided.items()}
    together = pd.concat([frame.assign(run=at) for at, frame in enumerate(frames.values())], ignore_index=True)
    summary = {**_scores(together, known, seed), **_counts(known, given, decided)}
    if len(frames) > 1:
        summary["judges"] = {
            judge: {**_scores(frame, known, seed), **_problems([decided[judge]])} for judge, frame in frames.items()
        }
    return _without_nan(summary)


def printed_summary(summary: Mapping[str, Any]) -> str:
    """Return the summary as a few lines of text and a table of themes and axes, in points."""
    judges = summary.get("judges", {})
    lines = [_line("HealthBench" + (f", mean of {len(judges)} judges" if judges else ""), summary)]
    lines += [_line(f"  {name}", one) for name, one in judges.items()]
    for key, names in (("themes", THEMES), ("axes", AXES)):
        lines += ["", f"{key:<34}{'score':>7} {'± 95 %':>7}{'low':>8}{'high':>7}{'examples':>10}{'unjudged':>10}"]
        lines += [_row(names.get(name, name), one) for name, one in summary["details"][key].items()]
    lines.append("")
    if summary["as_published"] is not None:
        lines.append(f"as published (a run is rounded to a whole point): {summary['as_published']:.2f}")
    for name, score in summary["other_implementations"].items():
        lines.append(f"as {name} would score these verdicts: {_points(score)}")
    for name, words in PROBLEMS.items():
        if summary[name]["count"]:
            lines.append(f"{words}: {summary[name]['count']:,}, e.g. {'; '.join(summary[name]['first'])}")
    return "\n".join(lines)


def _frame(known: Mapping[str, Conversation], found: Rubrics) -> pd.DataFrame:
    """Return the rows that `medpsy.grading.rubric` scores."""
    rows = [
        (name, at, criterion.points, criterion.axis, example.theme, outcome)
        for name, example in known.items()
        for at, (criterion, outcome) in enumerate(zip(example.rubric, found.outcomes[name], strict=True))
    ]
    return pd.DataFrame(rows, columns=["conversation_id", "criterion", "points", "axis", "theme", "outcome"])


def _scores(frame: pd.DataFrame, known: Mapping[str, Conversation], seed: int) -> dict[str, Any]:
    """Return the overall numbers, those of themes and axes, and those of every example tag."""
    table = rubric.scores(frame, seed=seed)
    numbers = {(row.pop("kind"), row.pop("name")): row for row in table.to_dict("records")}
    details = {key: {name: row for (kind, name), row in numbers.items() if kind == one} for one, key in KINDS.items()}
    details["example_tags"] = _tags(rubric.example_scores(frame), known, seed)
    brief = {key: {name: row["score"] for name, row in group.items()} for key, group in details.items()}
    published = float(rubric.as_published(frame)["points"].iloc[0])
    others = {
        name: float(rubric.scores(frame, scoring, replicates=0)["score"].iloc[0])
        for name, scoring in rubric.OTHERS.items()
    }
    overall = numbers["overall", rubric.OVERALL]
    return {**overall, "as_published": published, **brief, "details": details, "other_implementations": others}


def _tags(scored: pd.DataFrame, known: Mapping[str, Conversation], seed: int) -> dict[str, dict[str, Any]]:
    """Return the mean of whole-example scores for each example tag, as the reference reports them."""
    tags = scored["conversation_id"].map({name: example.tags for name, example in known.items()})
    rows = scored.assign(tag=tags).explode("tag")
    return {tag: asdict(rubric.summary(group, seed=seed)) for tag, group in rows.groupby("tag")}


def _counts(known: Mapping[str, Conversation], given: Verdicts, decided: Mapping[str, Rubrics]) -> dict[str, Any]:
    strange = {"unknown_prompts": named(given.unknown_prompts), "unknown_criteria": named(given.unknown_criteria)}
    criteria = sum(len(example.rubric) for example in known.values())
    sizes = {"examples": len(known), "criteria": criteria, "verdicts": given.rows}
    return {**sizes, **_problems(list(decided.values())), **strange}


def _problems(decided: Sequence[Rubrics]) -> dict[str, Any]:
    listed = ("missing", "null", "conflicting")
    found = {name: named([one for judge in decided for one in getattr(judge, name)]) for name in listed}
    repeated = sum((judge.duplicates for judge in decided), start=Counter())
    return {**found, "duplicates": named(repeated)}


def _without_nan(value: Any) -> Any:
    """Return `value` with None for every number that is missing: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _line(name: str, numbers: Mapping[str, Any]) -> str:
    if numbers["score"] is None:
        return f"{name}: no example could be scored; {numbers['unjudged']:,} criteria are unjudged"
    text = f"{name}: {_points(numbers['score'])} ± {_points(numbers['margin'])} (95 %), {numbers['n']:,} examples"
    if numbers["unjudged"]:
        text += f"; {numbers['unjudged']:,} criteria unjudged, between {_points(numbers['low'])} and "
        text += f"{_points(numbers['high'])} if they were judged"
    if numbers["skipped"]:
        text += f"; {numbers['skipped']:,} examples none of whose positive points was judged are left out"
    return text


def _row(name: str, one: Mapping[str, Any]) -> str:
    cells = f"{_points(one['score']):>7} {_points(one['margin']):>7}{_points(one['low']):>8}{_points(one['high']):>7}"
    return f"  {name:<32}{cells}{one['n']:>10,}{one['unjudged']:>10,}"


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"
