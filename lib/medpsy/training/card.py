"""The card that comes with a checkpoint: what it is, what made it, how it scored, what it is not for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medpsy.files import write_text
from medpsy.training.job import Job

CARD = """---
license: apache-2.0
library_name: transformers
---

# {name}

{method} from `{parent}`, by the study's own notebooks. **Not medical advice**: nothing that this model writes may guide
the care of a person.{fiction}

## How it was made

- Parent: `{parent}`; digest of weights, data, settings, code and versions together: `{key}`
- Data: {data}
- {steps:,} steps, {tokens:,} tokens, {seconds:,.0f} s
- Settings:

{settings}

## Scores

{scores}

## Limits

It repeats the errors of its teacher and of its parent, and says wrong things with the same confidence as right ones.
"""
FICTION = " All that it knows belongs to a fictional medicine of invented names."
UNSCORED = "Not evaluated on the suites yet; the section that does so enters them."
HEADING = "## Scores\n\n"


def model_card(job: Job, record: Mapping[str, Any]) -> str:
    """Return the Markdown card of a checkpoint, still without scores."""
    parent, data = Path(job.parent), sorted({Path(one).parent.name for one in job.data})
    return CARD.format(
        name=job.name,
        method=method(job),
        parent=parent.name,
        fiction=FICTION if "mini" in job.folder or "smoke" in job.folder else "",
        key=record["key"],
        data=", ".join(data),
        steps=record["steps"],
        tokens=record["tokens"],
        seconds=record["seconds"],
        settings="\n".join(f"    {name}: {value}" for name, value in job.settings.items()),
        scores=UNSCORED,
    )


def method(job: Job) -> str:
    """Return what was done, in words; DAPO, GRPO and GSPO are one method with other settings."""
    own = job.settings
    if job.method == "rl":
        name = "GSPO" if own.get("ratio") == "sequence" else "DAPO" if own.get("token_level_loss", True) else "GRPO"
        return f"Reinforcement learning ({name}{', rewarded by a judge' if own.get('judge') else ''})"
    return {"sft": "Supervised fine-tuning", "dpo": "Preference training (DPO)"}[job.method]


def enter_scores(folder: Path, scores: Mapping[str, tuple[float, float]]) -> None:
    """Write `scores` (title -> score and margin, points) into the card of the checkpoint in `folder`."""
    path = folder / "README.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(HEADING)
    after = rest[rest.index("## Limits") :]
    lines = [f"| {title} | {score:.1f} ± {margin:.1f} |" for title, (score, margin) in scores.items()]
    table = "\n".join(["| Suite | Points, 95 % margin |", "| --- | --- |", *lines])
    write_text(path, f"{before}{HEADING}{table}\n\n{after}")
