"""The card of an exported model: what it is, how it scored, what it is not for, and how to run it.

Computes no score; the commands to run the model are those of `medpsy.export_quickstart`.
"""

from pathlib import Path

from medpsy import export_scores
from medpsy.engines.weights import text_config
from medpsy.export_quickstart import quickstart
from medpsy.export_scores import Scored
from medpsy.exported import MARK, Exported
from medpsy.partners import EARLIER, FICTION, NOTICE
from medpsy.study import ModelSpec, Study

CARD = """---
license: apache-2.0
library_name: {library}
pipeline_tag: text-generation
---

# {title}

{what}

> **{notice}**

## Quickstart

In this folder:

{quickstart}

Or, with the study installed, `medpsy chat .` in this folder.

## Scores

{compared}{scores}

## Limits

- A rerun of a published recipe, for research and teaching. It is no medical device, no clinician has tested it, and it
  must not be used for diagnosis, treatment or triage.
- It repeats the errors of its teacher and its backbone, and says wrong things with the same confidence as right ones.
- Prompt and response together hold {context:,} tokens. Scores are those of responses of at most {longest:,} tokens.
- It reasons before it answers and ends its reasoning with `</think>`; nobody has checked that it explains the answer.
{more}
## Files

{files}
"""
COMPARED = "Scores of the miniature are not comparable with those of any other model or benchmark.\n\n"
LOSSY = "- Its weights are rounded to {variant}: it answers otherwise than the checkpoint, at few bits worse.\n"
FILES = {
    "*.gguf": "the model for llama.cpp, tokenizer and chat template inside",
    "*.safetensors": "the weights",
    "config.json": "the architecture, `generation_config.json` the tokens that end a response",
    "tokenizer.json": "the tokenizer",
    "chat_template.jinja": "how a conversation becomes a prompt",
    MARK: "what this folder holds, for `medpsy chat`",
}


def card(study: Study, model: ModelSpec, one: Exported, folder: Path) -> str:
    """Return the Markdown card of the exported model in `folder`."""
    limit = text_config(folder).get("max_position_embeddings") or one.sampling.max_tokens + EARLIER
    return CARD.format(
        library="gguf" if one.variant else "transformers",
        title=one.title,
        what=_what(study, model, one),
        notice=NOTICE + (f" {FICTION}" if one.fiction else ""),
        quickstart=quickstart(one, limit),
        scores="\n\n".join(map(_scores, export_scores.found(study, one, folder))),
        compared=COMPARED if one.fiction else "",
        context=limit,
        longest=max(study.sampling.max_tokens, one.sampling.max_tokens),
        more=LOSSY.format(variant=one.variant) if one.variant not in (None, "BF16") else "",
        files="\n".join(f"- `{name}`: {what}" for name, what in FILES.items() if any(folder.glob(name))),
    )


def _what(study: Study, model: ModelSpec, one: Exported) -> str:
    size, stage = model.name.split("-")[:2]
    backbone = study.model(study.targets[size])
    form = f"as a GGUF file in {one.variant} for llama.cpp" if one.variant else "as safetensors for transformers"
    return (
        f"A medical language model of the {size} class after training stage `{stage}`, {form}. Backbone: "
        f"`{backbone.name}` ({backbone.path}). Profile of the study: `{one.profile}`. Digest of the checkpoint: "
        f"`{one.fingerprint}`."
    )


def _scores(scored: Scored) -> str:
    """Return one table of scores, or the sentence that says why there is none."""
    if not scored.scores:
        return f"`{scored.model}`: {scored.note}"
    rows = [
        f"| {measure} | {points:.1f} |" if margin is None else f"| {measure} | {points:.1f} ± {margin:.1f} |"
        for measure, (points, margin) in scored.scores.items()
    ]
    head = f"`{scored.model}`, from the record of section `{scored.section}`:"
    return "\n".join([head, "", "| Suite | Points (0 to 100), 95 % margin |", "| --- | --- |", *rows])
