"""medical-o1-reasoning-SFT: open questions, a chain of thought and a conclusion, in four configurations.

Chen et al., "HuatuoGPT-o1". There is no default configuration: "en" is not "en_mix", and what was called "en" before
the set was divided is neither. Refuses a row without its three texts. Nothing is translated, cut or repaired.
"""

from collections.abc import Mapping

from medpsy import strict
from medpsy.benchmarks.fields import Row
from medpsy.corpus.rows import TrainingRow
from medpsy.mini import medical_o1 as miniature
from medpsy.recipes.sources import Copy, copy, drawn, is_held_out
from medpsy.study import Study

NAME, HUB_ID, LICENCE = "medical-o1", "FreedomIntelligence/medical-o1-reasoning-SFT", "Apache-2.0"
FILES = miniature.FILES  # the names are those of the real set
COLUMNS = ("Question", "Complex_CoT", "Response")


def origin(study: Study, given: Mapping[str, str]) -> Copy:
    """Return the copy of the set that the study reads; `given` as in `medpsy.recipes.sources.copy`."""
    return copy(study, NAME, HUB_ID, LICENCE, given, miniature.write)


def read(source: Copy, config: str) -> list[TrainingRow]:
    """Return all rows of `config`, as rows of a corpus whose kind it is.

    Raises:
        ValueError: an unknown configuration.
        DataError: the file is not there, or a row lacks one of its texts; names file, row and field.
    """
    if config not in FILES:
        raise ValueError(
            f"configuration {config!r} is unknown, and there is no default; {strict.nearest(config, FILES)}"
        )
    return [training_row(row, config, source) for row in source.read(FILES[config])]


def trained_on(source: Copy, config: str, count: int, seed: int) -> list[TrainingRow]:
    """Return `count` rows of `config` by seed, none of them held out; 0 means all."""
    free = [row for row in read(source, config) if source.fiction or not is_held_out(question(row))]
    return drawn(free, count, f"{NAME}/{config}/{seed}")


def question(row: TrainingRow) -> str:
    return row.messages[0]["content"]


def training_row(row: Row, config: str, source: Copy) -> TrainingRow:
    """Return `row` of the set as a row of a corpus.

    Raises:
        DataError: a text is missing or empty.
    """
    asked, thought, said = (row.text(column) for column in COLUMNS)
    messages = ({"role": "user", "content": asked},)
    return TrainingRow(f"{NAME}/{config}/{row.number}", "o1", config, messages, thought, said, (), source.author, "")
