"""Tables 1 to 4 of the report, ours with margins, the published rows below, the best of each group marked.

Arranges numbers of `medpsy.report.scores` and `medpsy.report.rubric_scores`. Published scores of other models or judges
are shown as such, never compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medpsy import published
from medpsy.report import rubric_tables, tables
from medpsy.report.compare import known, mode, value_verdict
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.main_claims import SPLITS, TABLE_1, TABLE_2, THEME_JUDGE, THEME_TABLES
from medpsy.report.main_models import CAPTIONS, IN_TABLE_1, SizeClass, stands_for
from medpsy.report.rubric_scores import MAIN, overall
from medpsy.report.rubric_tables import BOOTSTRAP
from medpsy.report.scores import PUBLISHED_RUNS, TITLES, scored
from medpsy.study import Study

NAMES = {TABLE_1: "closed_ended", TABLE_2: "healthbench"} | {
    THEME_TABLES["healthbench"]: "themes",
    THEME_TABLES["healthbench_hard"]: "themes_hard",
}  # published table -> what a record calls it


@dataclass(frozen=True)
class Board:
    """Our scores in the shape of one published table.

    Args:
        rows: columns ``model``, ``label``, ``column``, ``score``, ``margin``, ``link``.
        columns: in the order shown; the first one sorts the models.
        printed: the published table under our names of columns; empty where no column is comparable.
    """

    name: str
    title: str
    note: str
    rows: pd.DataFrame
    columns: list[str]
    printed: pd.DataFrame


def main_boards(
    study: Study,
    classes: Sequence[SizeClass],
    scores: pd.DataFrame,
    rubric: pd.DataFrame,
    judge_columns: Mapping[str, str],
) -> list[Board]:
    """Return our scores in the shape of Tables 1 to 4, of the models of Table 1.

    Args:
        scores, rubric: as `medpsy.report.scored` and `medpsy.report.rubric_scored` return them.
        judge_columns: judge -> judge of Table 2 that it is, or whose part it plays; the first judge's are the themes.
    """
    models = [name for one in classes for name in one.members]
    scores, rubric = scores[scores["model"].isin(models)], rubric[rubric["model"].isin(models)]
    suites = [key for key in SPLITS if key in set(rubric["suite"])]
    themes = [_themes(study, rubric, key, judge_columns) for key in suites]
    return [_closed(scores), _panel(rubric, suites, judge_columns), *themes]


def main_tables(study: Study, classes: Sequence[SizeClass], boards: Sequence[Board]) -> dict[str, Table]:
    """Return Tables 1 to 4; in Table 1 the best of each size class is marked, in the others the best of all."""
    sized = [one.members for one in classes]
    everyone = [[name for members in sized for name in members]]
    size = {name: one.size for one in classes for name in one.members}
    return {NAMES[one.name]: _table(study, one, size, sized if one.name == TABLE_1 else everyone) for one in boards}


def main_beside(
    study: Study, classes: Sequence[SizeClass], graded: pd.DataFrame, boards: Sequence[Board]
) -> dict[str, Table]:
    """Return every score beside the published one, with gap and verdict; nothing where other models stand in.

    The margins of suites are those of the gap; those of HealthBench are of conversations drawn anew, and never too
    narrow.
    """
    if mode(study.profile) == "patterns":
        return {}
    parts = stands_for(classes)
    exact = _closed(scored(study, graded, published_runs=PUBLISHED_RUNS))
    found = {}
    for board in boards:
        rows = (exact if board.name == TABLE_1 else board).rows
        beside = [_beside(row, board.printed, parts.get(row.model)) for row in rows.itertuples()]
        beside = [one for one in beside if known(one["Published"])]
        if beside:
            title = f"{board.title}, ours beside published"
            found[f"{NAMES[board.name]}_beside"] = table(pd.DataFrame(beside), title, note="95 % margin of the gap.")
    return found


def _closed(scores: pd.DataFrame) -> Board:
    links = [tables.link(row.model, row.title) for row in scores.itertuples()]
    rows = scores.assign(column=scores["title"], link=links)
    columns = [title for title in TITLES.values() if title in set(scores["title"])]
    note = "Points, 95 % margins: run noise, and the choice of questions; best of each size class in bold."
    return Board(TABLE_1, "Table 1: closed-ended suites", note, rows, columns, published.table(TABLE_1)[columns])


def _panel(rubric: pd.DataFrame, suites: Sequence[str], judge_columns: Mapping[str, str]) -> Board:
    rows = pd.concat([overall(rubric, key) for key in suites])
    links = [rubric_tables.link(row.model, row.suite) for row in rows.itertuples()]
    rows = rows.assign(column=rows["judge_label"] + " | " + rows["suite_title"], link=links)
    one_each = rows.drop_duplicates("column").sort_values("judge", key=_order(rubric["judge"]), kind="stable")
    ours = {
        f"{judge_columns[one.judge]} | {SPLITS[one.suite]}": one.column
        for one in one_each.itertuples()
        if one.judge in judge_columns
    }
    printed = published.table(TABLE_2)[list(ours)].rename(columns=ours)
    title, note = "Table 2: HealthBench under each judge", f"{BOOTSTRAP} Best of each column in bold."
    return Board(TABLE_2, title, note, rows, list(one_each["column"]), printed)


def _themes(study: Study, rubric: pd.DataFrame, suite: str, judge_columns: Mapping[str, str]) -> Board:
    judge, name = study.judges[0], THEME_TABLES[suite]
    rows = rubric[(rubric["judge"] == judge) & (rubric["suite"] == suite) & (rubric["kind"] != "axis")]
    rows = rows.assign(column=rows["title"], link=[rubric_tables.link(model, suite) for model in rows["model"]])
    printed = published.table(name)
    columns = [title for title in printed if title in set(rows["title"])]
    comparable = judge_columns.get(judge) == THEME_JUDGE
    number, split = ("3", "HealthBench") if suite == MAIN else ("4", "HealthBench Hard")
    note = f"{BOOTSTRAP} Judge: {study.model(judge).label}. Best of each column in bold."
    title = f"Table {number}: {split} by theme"
    return Board(name, title, note, rows, columns, printed[columns] if comparable else printed[[]])


def _table(study: Study, board: Board, size: Mapping[str, str], groups: Sequence[Sequence[str]]) -> Table:
    score = board.rows.pivot(index="model", columns="column", values="score")[board.columns]
    score = score.sort_values(board.columns[0], ascending=False)
    other = {what: board.rows.pivot(index="model", columns="column", values=what) for what in ("margin", "link")}
    labels = board.rows.drop_duplicates("model").set_index("model")["label"]
    frame = pd.DataFrame({"Model": labels[score.index].to_list(), "Class": [size[name] for name in score.index]})
    frame["Source"] = "ours"
    for name in board.columns:
        frame[name] = score[name].to_list()
        frame[name + MARGIN] = other["margin"].loc[score.index, name].to_list()
    below = _published(study, board)
    more = [None] * len(below)
    links = {name: [*other["link"].loc[score.index, name], *more] for name in board.columns}
    marks = {name: [*_best(score[name], groups), *[False] * len(below)] for name in board.columns}
    whole = pd.concat([frame, below], ignore_index=True)
    return table(whole, board.title, note=board.note, links=links, marks=marks)


def _published(study: Study, board: Board) -> pd.DataFrame:
    if board.printed.empty:
        return pd.DataFrame()
    other = "models" if board.name == TABLE_1 else "models and judges"
    source = "published" if mode(study.profile) == "values" else f"published (other {other})"
    below = board.printed.rename_axis("Model").reset_index().assign(Source=source)
    sizes = {row: size for size, rows in CAPTIONS.items() for row in rows[:IN_TABLE_1]}
    return below.assign(Class=below["Model"].map(sizes))


def _best(scores: pd.Series, groups: Sequence[Sequence[str]]) -> list[bool]:
    """Return of every model whether it has the highest score of its group."""
    highest = {name: scores.reindex(group).max() for group in groups for name in group}
    return [bool(score == highest[name]) for name, score in scores.items()]


def _beside(row: object, printed: pd.DataFrame, name: str | None) -> dict:
    there = name in printed.index and row.column in printed.columns
    value = float(printed.at[name, row.column]) if there else None
    ours = {"Model": row.label, "Measure": row.column, "Ours": row.score, "Ours" + MARGIN: row.margin}
    verdict = value_verdict(value, row.score, row.margin)
    return ours | {"Published": value, "Gap": row.score - value if there else None, "Verdict": verdict}


def _order(names: pd.Series) -> object:
    """Return a sort key that keeps the order in which `names` first appear."""
    places = {name: at for at, name in enumerate(names.unique())}
    return lambda column: column.map(places)
