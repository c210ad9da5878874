"""The card that comes with a checkpoint: what it is, what made it, how it scored, what it is not for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from medpsy import licences
from medpsy.files import write_text
from medpsy.study import Study
from medpsy.training.jobs import Job

CARD = Path(__file__).with_name("card.md")  # template of the card
METHODS = {"sft": "Supervised fine-tuning", "dpo": "Preference training (DPO)", "rl": "Reinforcement learning"}
Scores = Mapping[str, tuple[float, float | None]]  # title of a suite -> points (0 to 100) and 95 % margin
FICTION = " All that it knows belongs to a fictional medicine of invented names."


def model_card(job: Job, record: Mapping[str, Any]) -> str:
    made_of, method = job.licences(), METHODS[job.method]
    if job.method == "rl":  # one method with other settings
        sequence = job.config.get("importance_sampling_level") == "sequence"
        name = "GSPO" if sequence else job.config.get("loss_type", "dapo").upper()
        method += f" ({name}{', rewarded by a judge' if job.judge else ''})"
    card = ModelCard.from_template(
        ModelCardData(**licences.stated(made_of), library_name="transformers"),
        template_path=str(CARD),
        name=job.name,
        method=method,
        parent=Path(job.parent).name,
        fiction=FICTION if "mini" in job.folder or "smoke" in job.folder else "",
        key=record["key"],
        data=", ".join(sorted({Path(file).parent.name for file in job.data})),
        steps=f"{record['steps']:,}",
        tokens=f"{record['tokens']:,}",
        seconds=f"{record['seconds']:,.0f}",
        licences=licences.table(made_of),
        settings="\n".join(f"    {name}: {value}" for name, value in job.config.items()),
        scores="Not evaluated on the suites yet; the section that does so enters them.",
    )
    return f"{card}\n"


def fill_cards(study: Study, scores: pd.DataFrame, rubric: pd.DataFrame, judge: str) -> None:
    """Write the scores of every checkpoint of the study into its card, for readers and for the hub. `scores`, `rubric`:
    as of `medpsy.scoring`; HealthBench's are those by `judge`."""
    judged = rubric.query("kind == 'overall' and suite == 'healthbench' and judge == @judge").set_index("model")
    for name, rows in scores.groupby("model", sort=False):
        path = study.models_dir / str(name) / "README.md"
        if not path.is_file():
            continue
        points = {row.title: (row.score, row.margin) for row in rows.itertuples()}
        if name in judged.index:
            points[judged.at[name, "suite_title"]] = tuple(judged.loc[name, ["score", "margin"]])
        write_text(path, scored(ModelCard.load(path), str(name), points))


def scored(card: ModelCard, name: str, scores: Scores) -> str:
    """Return the text of `card` with `scores` in the place of those that it has."""
    card.data.model_name, card.data.eval_results = name, evaluations(scores)
    before, after = re.split(r"(?<=## Scores\n\n).*?(?=\n\n## Licences)", card.text, maxsplit=1, flags=re.DOTALL)
    card.text = before + score_table(scores) + after
    return str(card)


def evaluations(scores: Scores) -> list[EvalResult] | None:
    """Return `scores` as the hub lists them, None where there are none."""
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=re.sub(r"\W+", "-", title.lower()),
            dataset_name=title,
            metric_type="points",
            metric_name="Points (0 to 100)",
            metric_value=round(float(points), 1),
            metric_args=None if margin is None else {"margin_95": round(float(margin), 1)},
        )
        for title, (points, margin) in scores.items()
    ] or None


def score_table(scores: Scores) -> str:
    ends = {title: "" if margin is None else f" ± {margin:.1f}" for title, (_, margin) in scores.items()}
    rows = [f"| {title} | {points:.1f}{ends[title]} |" for title, (points, _) in scores.items()]
    return "\n".join(["| Suite | Points (0 to 100), 95 % margin |", "| --- | --- |", *rows])
