"""Evidence as script files that a page opened from disk can load on demand.

A browser refuses to read files beside a page (`fetch`) when the page comes from disk, but it runs scripts from
there; so every file is one function call with packed data. Packed text cannot end the script, and no row stands in
plain text in any file.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from medpsy.files import write_text
from medpsy.report.indexing import Index

CHUNK = 1_000_000  # characters before packing; opens from disk in some 20 milliseconds


def write_chunks(rows: Iterable[dict], folder: Path, index: Index) -> int:
    """Write ``index.js`` and ``0000.js``, ``0001.js`` ... into `folder`; return how many responses they hold.

    Args:
        rows: as `medpsy.report.evidence` reads them: responses to the same task stand together.
        index: an empty one of their kind.
    """
    for number, content in enumerate(_chunks(rows, index)):
        write_text(folder / f"{number:04d}.js", f'medpsyEvidence.chunk({number},"{packed(content)}");\n')
    write_text(folder / "index.js", f'medpsyEvidence.index("{packed(_json(index.as_data()))}");\n')
    return len(index.keys)


def packed(content: str) -> str:
    """Return `content` deflated and in base64: letters, digits, ``+``, ``/`` and ``=`` alone."""
    return base64.b64encode(zlib.compress(content.encode())).decode()


def _chunks(rows: Iterable[dict], index: Index) -> Iterator[str]:
    """Yield JSON of the texts of some responses and of the tasks they answer, cut between tasks if possible."""
    texts, tasks, size = [], {}, 0
    for row in rows:
        task = index.add(row)
        if texts and (size > 4 * CHUNK or (size > CHUNK and task not in tasks)):
            yield _joined(texts, tasks)
            texts, tasks, size = [], {}, 0
        if not texts:
            index.starts.append(len(index.keys) - 1)
        if task not in tasks:
            tasks[task] = _json(index.task_text(row))
            size += len(tasks[task])
        texts.append(_json(index.text(row)))
        size += len(texts[-1])
    if texts:
        yield _joined(texts, tasks)


def _joined(texts: list[str], tasks: dict[int, str]) -> str:
    named = ",".join(f'"{number}":{text}' for number, text in tasks.items())
    return f"[[{','.join(texts)}],{{{named}}}]"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
