"""The corpora for supervised fine-tuning: medical-o1 for one sister recipe, domain QA and traces for the other."""

from collections.abc import Mapping
from dataclasses import replace

import pyarrow.parquet as pq

from medpsy import strict
from medpsy.corpus.recipe import Filters
from medpsy.corpus.rows import SCHEMA, TrainingRow
from medpsy.corpus.storage import card, folder
from medpsy.recipes import medical_o1, tool_traces
from medpsy.recipes.describing import Origins
from medpsy.recipes.sources import AUTHOR, Copy, drawn
from medpsy.recipes.tool_traces import TOOL_SCHEMA, TracedRow
from medpsy.recipes.writing import Written, write
from medpsy.study import Study

O1, OPENMED_SFT, OPENMED_PAIRS = NAMES = ("o1", "openmed-sft", "openmed-pairs")
TEACHING = "Open questions with reasoning and a concise conclusion."
TOOL_USE = "Questions with reasoning and a conclusion, and traces of models that call tools, a row per assistant turn."


def o1_corpus(
    study: Study, *, configs: Mapping[str, int], filters: Mapping[str, object], origin: Mapping[str, str] | None = None
) -> Written:
    """Write corpus ``"o1"`` from configurations of medical-o1-reasoning-SFT.

    Args:
        configs: configuration -> rows, drawn by the study's seed; 0 means all of it.
        filters: fields of `medpsy.corpus.recipe.Filters`.
        origin: fields of `medpsy.corpus.recipe.HubCopy`; a real study needs a ``revision`` or a ``data_dir``.

    Raises:
        ValueError: bad settings, or no row is left; nothing is written then.
        DataError: the set is not to be had, or a row is malformed.
    """
    source = medical_o1.origin(study, origin or {})
    rows = _domain(source, configs, study)
    origins = _origins(TEACHING, {"medical-o1-reasoning-SFT": source})
    return write(study, O1, rows, filters=_filters(filters), origins=origins)


def tool_corpus(
    study: Study,
    *,
    configs: Mapping[str, int],
    synthetic: Mapping[str, int],
    traces: int,
    filters: Mapping[str, object],
    origin: Mapping[str, str] | None = None,
    trace_origin: Mapping[str, str] | None = None,
) -> Written:
    """Write corpus ``"openmed-sft"``: domain QA, from medical-o1-reasoning-SFT and a teacher, and traces of tool calls.

    Args:
        configs, filters, origin: as those of `o1_corpus`; the recipe's own domain data are not public.
        synthetic: corpus of the study -> rows of it, likewise: without questions that have options, answering them is
            forgotten, and nothing is left to prefer.
        traces: traces drawn by the study's seed; 0 means all. Each gives a row per assistant turn.
        trace_origin: as `origin`, of the traces; a real study names the ``data_dir`` with its ``traces.jsonl``.

    Raises:
        ValueError, DataError: as `o1_corpus`; a malformed trace is named by file, row and turn.
    """
    domain, traced = medical_o1.origin(study, origin or {}), tool_traces.origin(study, trace_origin or {})
    rows: list[TrainingRow] = [_with_tools(row) for row in _domain(domain, configs, study)]
    rows += [_with_tools(row) for name, count in synthetic.items() for row in _taught(study, name, count)]
    rows += tool_traces.read(traced, OPENMED_SFT, traces, study.seed)
    origins = _origins(TOOL_USE, {"medical-o1-reasoning-SFT": domain, "traces": traced})
    own = {f"{name} of this study": card(study, name).licence for name in synthetic}
    origins = replace(origins, sources=origins.sources | own)
    return write(study, OPENMED_SFT, rows, filters=_filters(filters), origins=origins, schema=TOOL_SCHEMA)


def _domain(source: Copy, configs: Mapping[str, int], study: Study) -> list[TrainingRow]:
    if not configs:
        raise ValueError(f"configs: none is named, and there is no default; known are {', '.join(medical_o1.FILES)}")
    return [
        row for config, count in configs.items() for row in medical_o1.trained_on(source, config, count, study.seed)
    ]


def _taught(study: Study, name: str, count: int) -> list[TrainingRow]:
    """Return `count` rows of a corpus that the study's teacher wrote, drawn by the study's seed; 0 means all.

    Raises:
        FileNotFoundError: the corpus is not complete; names the section that makes it.
    """
    files = [folder(study, name) / shard for shard in sorted(card(study, name).shards)]
    found = [one for file in files for one in pq.read_table(file, columns=SCHEMA.names).to_pylist()]
    rows = [TrainingRow(**one | {"messages": tuple(one["messages"]), "facts": ()}) for one in found]
    return drawn(rows, count, f"{OPENMED_SFT}/{name}/{study.seed}")


def _with_tools(row: TrainingRow) -> TracedRow:
    return TracedRow(**row.as_data() | {"corpus": OPENMED_SFT, "messages": row.messages})


def _filters(given: Mapping[str, object]) -> Filters:
    return strict.build(Filters, dict(given), strict.Place("filters"))


def _origins(purpose: str, named: Mapping[str, Copy]) -> Origins:
    sources = {f"{name} ({source.described})": source.licence for name, source in named.items()}
    fiction = all(source.fiction for source in named.values())
    return Origins(purpose, sources, AUTHOR if fiction else "its authors and their models", fiction)
