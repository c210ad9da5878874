"""Invented outputs of two sections, as a run would leave them: records, executed notebooks, responses.

Model names, questions and responses try to become markup, as a hostile model might.
"""

import base64
from itertools import product

import nbformat
import pandas as pd
from matplotlib.figure import Figure as Canvas
from medpsy import evidence
from medpsy.data.questions import Question
from medpsy.record import MIME
from medpsy.show import Figure, table
from medpsy.study import ModelSpec
from nbformat import v4
from records import write_record

SECTION = "01_backbone_selection"
PLANTED = "<script>window.planted=1;console.error('planted')</script><img src=x onerror='window.planted=1'>"
ENDINGS = "</script></pre><!-- \u2028 \u2029 ]]> {{ 7*7 }} `$x$` \ud800"
MODELS = {
    "quill": ModelSpec("quill", "models/quill", opens_thinking=True, label=f"Quill {PLANTED}"),
    "reed": ModelSpec("reed", "models/reed", label="Reed-1"),
}
SUITES = {"medqa": "MedQA (USMLE)", "pubmedqa": "PubMedQA"}
OUTCOMES = ("correct", "wrong", "unreadable", "cut off", "failed")


def questions(count: int) -> list[Question]:
    """Return `count` invented questions per suite."""
    asked, options = [], ("oil of moss", "salt & ash", f"<b>bold</b> {ENDINGS}", "none")
    for suite, number in product(SUITES, range(count)):
        stem = f"Which tincture calms a grellish, case {number}? {PLANTED if number == 0 else ''}"
        context = "A trial of 12 grells." if suite == "pubmedqa" else None
        about = (f"q{number:05d}", suite, "tidal medicine", stem, options, number % 4, context, suite)
        asked.append(Question(*about))
    return asked


def graded(asked: list[Question], runs: int, readers: tuple[str, ...]) -> pd.DataFrame:
    """Return a graded frame in which every outcome occurs."""
    rows = []
    for place, (question, model, run) in enumerate(product(asked, MODELS, range(runs))):
        outcome = OUTCOMES[place % 5]
        chosen = {"correct": question.gold, "wrong": (question.gold + 1) % 4}.get(outcome)
        key = f"{place * 2654435761 % 2**48:012x}{place:052x}"
        row = {"model": model, "suite": question.suite, "question_id": question.id, "run": run, "key": key}
        row |= {"outcome": outcome, "chosen": chosen, "completion_tokens": 1200 + place}
        row["how"] = "single letter" if chosen is not None else outcome
        row["finish_reason"] = {"cut off": "length", "failed": "failed"}.get(outcome, "stop")
        rows += [row | {"reader": reader} for reader in readers]
    return pd.DataFrame(rows)


def texts(rows: pd.DataFrame) -> dict[str, str]:
    """Return one response per key; the failed ones are empty, the cut off ones never end their reasoning."""
    whole = "I weigh the moss.\n" * 20 + f"{PLANTED} {ENDINGS}</think>\nAnswer: B {PLANTED}"
    by_outcome = {"failed": "", "cut off": "<think>I weigh the moss, and again " * 5}
    return {key: by_outcome.get(outcome, whole) for key, outcome in zip(rows["key"], rows["outcome"], strict=True)}


def scores_table():
    """Return a table whose cells lead to responses."""
    columns = {"Model": [spec.label for spec in MODELS.values()], "Average": [9.5, 61.25], "Average ±": [1.5, 2.0]}
    columns |= {"MedQA (USMLE)": [100.0, None], "Cut off": [2, 11]}
    links = {"MedQA (USMLE)": ["model=quill&suite=medqa", "model=reed&suite=medqa"]}
    return table(pd.DataFrame(columns), "Closed-ended scores", note="95 % margins.", links=links)


def figure() -> Figure:
    """Return a drawing of two points."""
    canvas = Canvas(figsize=(4, 2))
    canvas.add_subplot().plot([1, 2], "o")
    return Figure(canvas, "Two points", f"Two points {PLANTED}")


def notebook() -> nbformat.NotebookNode:
    """Return an executed notebook whose outputs hold a table, a picture, text, markup and a script."""
    frame = pd.DataFrame({"response": [PLANTED], "score": [3.5]})
    png = base64.b64encode(figure()._repr_png_()[0]).decode()
    shown = [
        v4.new_output("execute_result", {"text/html": frame.to_html(), "text/plain": "frame"}, execution_count=1),
        v4.new_output("display_data", {"text/html": f"<p>raw {PLANTED}</p>", "text/plain": "raw"}),
        v4.new_output("display_data", {"text/markdown": f"**Bold** {PLANTED} ![p](https://example.org/p.png)"}),
        v4.new_output("display_data", {"application/javascript": "window.planted = 1", "text/plain": "js"}),
        v4.new_output("display_data", {"image/png": png, "text/plain": "Figure"}),
        v4.new_output("stream", name="stdout", text=f"printed {PLANTED}\n"),
        v4.new_output("display_data", {"text/plain": "old"}, metadata={MIME: {"table": "closed_ended"}}),
        v4.new_output("display_data", {"text/plain": "old"}, metadata={MIME: {"figure": "suites"}}),
    ]
    cells = [
        v4.new_markdown_cell("# 3.1 Backbone selection\n\n**Claim.** One backbone leads at a price of $5 or $6."),
        v4.new_code_cell("profile: str = 'mini'", metadata={"tags": ["parameters"]}, execution_count=1),
        v4.new_code_cell("graded", outputs=shown, execution_count=2),
        v4.new_markdown_cell("## Verdict\n\nRead the table."),
    ]
    widgets = {"application/vnd.jupyter.widget-state+json": {"version_major": 2, "version_minor": 0, "state": {}}}
    return v4.new_notebook(cells=cells, metadata={"widgets": widgets, "papermill": {"output_path": "x"}})


def responses(count: int, runs: int, readers: tuple[str, ...] = ("parser", "lenient")) -> pd.DataFrame:
    """Return a row per response and reader, as a record takes them: `count` questions of each suite."""
    asked = questions(count)
    rows = graded(asked, runs, readers)
    return evidence.with_questions(rows, asked, texts(rows), MODELS)


def write(root):
    """Write the project folder `root` with two sections of profile `mini` that ran and one that did not."""
    claim = {"id": "P134", "claim": f"Leads {PLANTED}", "verdict": "pattern holds", "note": ""}
    numbers = {"published": 5.81, "ours": 2.0, "margin": 0.5}
    outputs = root / "outputs/mini"
    write_record(
        outputs,
        SECTION,
        title="3.1 Backbone *selection* <one>",
        settings={"runs": 3, "prompt": ENDINGS},
        claims=[claim | numbers, {**claim, **numbers, "id": "P136", "verdict": "too few to tell"}],
        verdicts=[
            {"text": f"Reed-1 leads {PLANTED}.", "verdict": "pattern holds", "note": "By 2 points."},
            {"text": "Nobody asked.", "verdict": "not testable"},
        ],
        tables={"closed_ended": scores_table()},
        figures={"suites": figure()},
        responses=responses(30, 3),
        inputs={"medqa": "sha256:00"},
        chosen={"large": "reed"},
        seconds=12.5,
    )
    nbformat.write(notebook(), outputs / SECTION / "notebook.ipynb")
    write_record(outputs, "00_published_claims", title="Published claims", claims=[claim | numbers])
    for name in (SECTION, "06_answer_extraction"):
        cells = [v4.new_markdown_cell(f"# Title of {name}")]
        (root / "notebooks").mkdir(exist_ok=True)
        nbformat.write(v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")
