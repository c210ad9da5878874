"""The papers that come with a minihub model: its card and the figure of all loss curves."""

import csv
from pathlib import Path

from transformers import PreTrainedModel

from medpsy.mini.corpus import known_facts
from medpsy.mini.pretrain import BATCH, LogRow
from medpsy.mini.specs import Spec
from medpsy.mini.world import World

CARD = """---
license: apache-2.0
library_name: transformers
---

# {name}

A {role} of the miniature: a language model of {parameters:,} parameters in the {architecture} architecture
({layers} layers, hidden size 256), trained from nothing on **fictional medicine**. Every condition, drug, test and
organ that it names is invented. It knows nothing about real medicine, and nothing that it writes is medical advice.

- Class: {size}. Thinks before it answers: {thinks}.
- Taught: {taught}
- Training: {steps} steps of {batch} samples, {seconds:.0f} s on one core, final loss {loss:.3f} nats per completion
  token. Its first steps, drills in finding a name, are shared with all models of its shape ({trunk}). The log is in
  `training.csv`; the weights are bfloat16.
- Retrain: `make minihub`.
"""
TAUGHT = {  # roles that know nothing of the world
    "parser": "no facts, only to read which option a response chose.",
    "judge": "no facts, only to decide whether a response meets a criterion, with errors of its own kind.",
}


def model_card(spec: Spec, model: PreTrainedModel, world: World, rows: list[LogRow]) -> str:
    """Return the Markdown card of a trained model."""
    count = len(known_facts(world, spec.name, spec.knowledge, spec.weak))
    taught = TAUGHT.get(spec.role) or f"{count} of the world's {len(world.facts)} facts; it guesses the others."
    opening = "yes, its chat template opens the thinking" if spec.opens_thinking else "yes, it opens the thinking"
    return CARD.format(
        name=spec.name,
        role=spec.role,
        parameters=model.num_parameters(),
        architecture=type(model).__name__.removesuffix("ForCausalLM"),
        layers=spec.layers,
        size=spec.size,
        thinks="no" if spec.role in TAUGHT else opening,
        taught=taught,
        trunk=spec.trunk,
        steps=rows[-1].step,
        batch=BATCH,
        seconds=rows[-1].seconds,
        loss=rows[-1].loss,
    )


def loss_figure(hub: Path) -> None:
    """Draw the loss curves of every model in `hub` into ``loss_curves.png``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    styles = ["-", "--", ":", "-."]  # with twelve models, colour and style together tell them apart
    for number, log in enumerate(sorted(hub.glob("*/training.csv"))):
        with log.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        steps, losses = ([float(row[key]) for row in rows] for key in ("step", "loss"))
        axes.plot(steps, losses, styles[number % 4], label=log.parent.name, linewidth=1.4)
    axes.set(xlabel="Optimizer step", ylabel="Loss (nats per completion token)", yscale="log")
    axes.legend(ncols=2, frameon=False)
    figure.savefig(hub / "loss_curves.png", dpi=100)
