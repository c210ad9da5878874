"""The text that says which weights matter: rows of the training corpora, written as the target reads them.

Rows kept for measuring (perplexity, divergence) are never among those for calibration. Refuses the suites: nothing that
is evaluated may shape a file. The report names no calibration text.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medpsy import corpus
from medpsy import study as studies
from medpsy.engines.weights import model_folder
from medpsy.study import ModelSpec, Study


@dataclass(frozen=True)
class Calibration:
    """How the importance matrix is made, and what is kept to measure with.

    Args:
        corpora: training corpora whose rows are drawn, by seed.
        text: file (relative to the root) whose paragraphs take the place of rows where there are no corpora.
        rows: for the importance matrix; fewer where there are not so many.
        held_out: rows for perplexity and divergence, at most half of all.
        context: tokens that llama.cpp reads at a time.
    """

    corpora: tuple[str, ...]
    rows: int
    held_out: int
    context: int
    text: str = ""

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("held_out", 0), ("context", 8)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} or more")
        if self.corpora and self.text:
            raise ValueError(f"text: {self.text!r} and corpora {list(self.corpora)} are given; give one of them")


@dataclass(frozen=True)
class Texts:
    """Two texts without a row in common; empty where nothing was given to make them of."""

    calibration: str = ""
    held_out: str = ""
    calibration_rows: int = 0
    held_out_rows: int = 0


def texts(study: Study, model: ModelSpec, calibration: Calibration) -> Texts:
    """Return the texts for `model`, its chat template around every row of a corpus.

    Raises:
        FileNotFoundError: a corpus or the text is not there.
        ValueError: there are too few rows to part them.
    """
    pieces = _paragraphs(calibration.text) if calibration.text else _rows(study, model, calibration.corpora)
    if not pieces:
        return Texts()
    if len(pieces) < 2:
        raise ValueError("calibration: one row cannot be parted into calibration and measuring; give more")
    random.Random(study.seed).shuffle(pieces)
    apart = min(calibration.held_out, len(pieces) // 2)
    measuring, rest = pieces[:apart], pieces[apart:][: calibration.rows]
    return Texts("\n".join(rest) + "\n", "\n".join(measuring) + "\n", len(rest), len(measuring))


def _rows(study: Study, model: ModelSpec, corpora: Sequence[str]) -> list[str]:
    from transformers import AutoTokenizer

    from medpsy.training.examples import form

    if not corpora:
        return []
    tokenizer = AutoTokenizer.from_pretrained(model_folder(model), trust_remote_code=False)
    target = form(tokenizer, opens_thinking=model.opens_thinking, switches=model.chat_template_kwargs)
    rows = [row for name in corpora for row in corpus.load(study, name)]
    return ["".join(target.example(tokenizer, row).values()) for row in rows]


def _paragraphs(name: str) -> list[str]:
    path = studies.ROOT / Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"calibration.text: no file {name!r}; give one relative to the project, or corpora")
    return [part.strip() for part in path.read_text(encoding="utf-8").split("\n\n") if part.strip()]
