"""Keep what a run of `mini` shows: its responses as a bundle beside the notebooks, and the outputs of a replay in them:
what is stored says the same on every machine, and prints no progress."""

import base64
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from medpsy import bundle, files, run, study
from medpsy.store import REPLAY

PROFILE = "mini"
BUNDLE = "notebooks/mini.bundle"  # below the root of the project
COLOURS = 64  # of a kept figure: flat colours and smoothed text need no more, and it stays below 100 kB


def keep() -> list[Path]:
    """Write the bundle, then the outputs of its replay into the notebooks; return them. FileNotFoundError where a
    section has no record; RuntimeError where one failed in the replay, and the notebooks are as they were."""
    root = study.find_root()
    for section in run.notebooks(root):
        if not (result := root / "outputs" / PROFILE / section / run.RESULT).is_file():
            raise FileNotFoundError(f"{result}: not there; run `make report` first")
    bundle.export(root / BUNDLE, PROFILE)
    with tempfile.TemporaryDirectory() as scratch:
        environment = replay_root(root, Path(scratch))
        for section in run.notebooks(root):
            medpsy(environment, "run", section)
        executed = {
            path: nbformat.read(Path(scratch) / "outputs" / PROFILE / section / run.DONE, as_version=4)
            for section, path in run.notebooks(root).items()
        }
    for path, notebook in executed.items():
        files.write_text(path, nbformat.writes(with_outputs(nbformat.read(path, as_version=4), notebook)) + "\n")
    return list(executed)


def replay_root(root: Path, folder: Path) -> dict[str, str]:
    """Make `folder` a project with the bundle's responses, if there are any, that asks no model; return the environment
    to work in it."""
    for name in ("notebooks", "params", "lib"):  # in the last lies what the miniature's models are
        (folder / name).symlink_to(root / name)
    environment = os.environ | {"MEDPSY_ROOT": str(folder), REPLAY: "1"}
    if (root / BUNDLE).is_file():
        medpsy(environment, "store", "replay", str(root / BUNDLE))
    return environment


def medpsy(environment: Mapping[str, str], *words: str, profile: str = PROFILE) -> None:
    """Run a command of `medpsy`; a RuntimeError holds the end of what it said where it failed."""
    command = [sys.executable, "-m", "medpsy", *words, "--profile", profile]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"medpsy {' '.join(words)}, in a replay: {done.stderr[-4000:]}")


def with_outputs(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Return `source` with the outputs of its cells in `executed`, the same notebook after papermill."""
    outputs = {cell.id: cell.get("outputs", []) for cell in executed.cells}
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.outputs, cell.execution_count = [], count
        for output in outputs[cell.id]:
            if output.get("name") == "stderr":
                continue
            if cell.outputs and output.output_type == cell.outputs[-1].output_type == "stream":
                cell.outputs[-1].text += output.text  # in one piece: how it is cut differs from run to run
            else:
                cell.outputs.append(_kept(output, count))
    return source


def _kept(output: NotebookNode, count: int) -> NotebookNode:
    if "execution_count" in output:
        output.execution_count = count
    if image := output.get("data", {}).get("image/png"):
        few, sink = Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB").quantize(COLOURS), io.BytesIO()
        few.save(sink, "PNG", optimize=True)
        output.data["image/png"] = base64.b64encode(sink.getvalue()).decode()
    return output
