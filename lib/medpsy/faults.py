"""Faults that real projects shipped, planted one at a time into a copy of a section, and what each costs.

A fault is an entry of ``notebooks/faults.yaml``: lines of a notebook, what stands in their place, and what is measured
of either. Both copies are executed in a replay, in a folder of their own, so that they read the same responses and the
records and outputs of the study stay as they are. The difference has the margin that the one bootstrap gives it.
"""

import difflib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pandas as pd
from jinja2 import StrictUndefined, Template
from nbformat import NotebookNode, v4

from medpsy import bundle, claims, files, keep, record, run, stats, strict, study
from medpsy.store import REPLAY

FILE, PAGE = "notebooks/faults.yaml", "notebooks/pitfalls.md"  # below the root of the project
FOLDER = "faults"  # in the outputs of a profile
PRICE = "price-"  # ids of the cells that keep what is measured
CLOSES = "record.close("  # what stands behind it are exercises
BANNER = """> **A fault is planted in one cell of this copy of section {section}.** Find it before you look:
> `medpsy fault {name} --solve`. It is executed on stored responses; none of its numbers is a result of the study."""
TEMPLATE = Path(__file__).with_name("pitfalls.md.jinja")


@dataclass(frozen=True)
class Edit:
    """Lines of one code cell, which stand in the notebook once, and those in their place."""

    find: str
    replace: str


@dataclass(frozen=True)
class Fault:
    """One entry of the file. `price` is code for the copy, which leaves in ``price`` a frame with a row per response:
    ``question_id``, ``value`` (in `unit`), and where there are any ``measure``, ``stratum``, ``model`` and ``run``."""

    title: str  # the fault in a few words
    section: str  # whose notebook it is planted in
    edits: tuple[Edit, ...]
    quantity: str  # what the price is the difference of
    price: str
    shipped: str  # who shipped it
    cite: str  # key of the source in the bibliography
    story: str  # what went wrong there, and why
    look: str  # how to see that it happened
    unit: str = "points"
    finding: str = ""  # part of the sentence of a finding whose status changes, where one does
    parameters: tuple[str, ...] = ()  # name=value of the notebook, for both copies


class Price(NamedTuple):
    right: float
    fault: float
    margin: float  # 95 %, of their difference
    changed: list[tuple[str, str, str]]  # of findings: status without the fault, with it, and the sentence with it

    @property
    def shown(self) -> str:
        return f"{self.fault - self.right:+.2f} ± {self.margin:.2f}".replace("-", "−")


def load() -> Mapping[str, Fault]:
    """Return the faults there are by name; a SettingsError names the entry of the file that is not as it must be."""
    entries, place = strict.read(study.find_root() / FILE, FILE), strict.Place(FILE)
    return {name: strict.build(Fault, entry, place.at(name)) for name, entry in entries.items()}


def get(name: str) -> Fault:
    """Return the fault called `name`; a SettingsError offers the nearest name for an unknown one."""
    known = load()
    if name not in known:
        raise strict.SettingsError(f"fault {name!r} is not in {FILE}; {strict.nearest(name, known)}")
    return known[name]


def measured(section: str, faults: Mapping[str, Fault]) -> NotebookNode:
    """Return a copy of a notebook up to its record, which keeps what the prices of `faults` are made of: a table each.
    Exercises are left out: their solutions hold for the notebook as it is."""
    notebook = nbformat.read(run.find(section), as_version=4)
    closing = next(at for at, cell in enumerate(notebook.cells) if cell.cell_type == "code" and CLOSES in cell.source)
    keeping = [f'{fault.price.rstrip()}\nrecord.table("{name}", price, show=False)' for name, fault in faults.items()]
    cells = [v4.new_code_cell(source, id=f"{PRICE}{at}") for at, source in enumerate(keeping)]
    notebook.cells = [*notebook.cells[:closing], *cells, notebook.cells[closing]]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def planted(name: str) -> NotebookNode:
    """Return such a copy with the fault `name` in it and a banner that says so. A SettingsError quotes lines that do
    not stand in the notebook once."""
    fault = get(name)
    notebook = measured(fault.section, {name: fault})
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and not cell.id.startswith(PRICE)]
    for edit in fault.edits:
        hits = [cell for cell in code for _ in range(cell.source.count(edit.find))]
        if len(hits) != 1:
            place = strict.Place(FILE, (name, "edits"))
            raise place.error(f"{edit.find!r} stands {len(hits)} times in {fault.section}.ipynb; quote what does once")
        hits[0].source = hits[0].source.replace(edit.find, edit.replace)
    notebook.cells.insert(1, v4.new_markdown_cell(BANNER.format(name=name, section=fault.section), id="banner"))
    return notebook


def solution(name: str) -> str:
    """Return the lines that a fault changes, cell by cell, as a unified diff, and what to look for."""
    fault, shown = get(name), []
    before = {cell.id: cell.source for cell in measured(fault.section, {name: fault}).cells}
    for cell in planted(name).cells[2:]:
        lines = [source.splitlines() for source in (before[cell.id], cell.source)]
        shown += difflib.unified_diff(*lines, f"{fault.section}, cell {cell.id}", "with the fault", lineterm="")
    return "\n".join([*shown, "", fault.story.strip(), "", f"Look for: {fault.look.strip()}"])


def measure(
    names: Sequence[str], profile: str, *, kept: bool = False, say: Callable[[str], None] = lambda _: None
) -> dict[str, Price]:
    """Plant the faults `names`, execute each beside its section as it is, and return what each costs. The copies land
    in ``outputs/<profile>/faults/NAME/``, a notebook and a record each. They read the profile's stored responses; where
    there are none, or if `kept`, those of the bundle beside the notebooks. FileNotFoundError where no response is
    stored; RuntimeError, which ends with the traceback, where a copy failed, e.g. for want of one."""
    faults, prices = {name: get(name) for name in names}, {}
    outputs = study.load(profile).outputs / FOLDER
    with _project(profile, kept=kept) as (project, environment):

        def executed(notebook: NotebookNode, fault: Fault, folder: Path) -> record.Result:
            files.write_text(project / "notebooks" / f"{fault.section}.ipynb", nbformat.writes(notebook) + "\n")
            folder.mkdir(parents=True, exist_ok=True)
            section = project / "outputs" / profile / fault.section
            section.unlink(missing_ok=True)
            section.symlink_to(folder)  # or a copy would find the record of another
            given = [word for parameter in fault.parameters for word in ("-p", parameter)]
            keep.medpsy(environment, "run", fault.section, *given, profile=profile)
            return record.read(folder)

        for alike in dict.fromkeys((fault.section, fault.parameters) for fault in faults.values()):
            here = {name: fault for name, fault in faults.items() if (fault.section, fault.parameters) == alike}
            first, (section, given) = next(iter(here)), alike
            say(" ".join([section, "as it is", *given]))
            right = executed(measured(section, here), here[first], project / FOLDER / first)
            for name, fault in here.items():
                say(f"{section} with the fault {name}")
                prices[name] = price(name, right, executed(planted(name), fault, outputs / name))
    return prices


@contextmanager
def _project(profile: str, *, kept: bool) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Make a project of its own that replays the responses of `profile`; give its folder and the environment for it."""
    root, loaded = study.find_root(), study.load(profile)
    kept = kept or (profile == keep.PROFILE and not loaded.store_dir.is_dir())
    if not (root / keep.BUNDLE if kept else loaded.store_dir).exists():
        where = f"outputs/{profile}/{loaded.store_dir.name}"
        raise FileNotFoundError(
            f"{where}: no responses are stored, and a fault asks no model; run its section first, or `medpsy store "
            f"replay FILE --profile {profile}`"
        )
    with tempfile.TemporaryDirectory(prefix="medpsy-fault-") as scratch:
        project = Path(scratch)
        (project / "params").symlink_to(root / "params")
        (project / "notebooks").mkdir()
        responses = project / loaded.store_dir.relative_to(root)
        responses.parent.mkdir(parents=True)
        if kept:
            bundle.add(root / keep.BUNDLE, responses)
        else:
            responses.symlink_to(loaded.store_dir)
        for top in {part for folder in loaded.data_dirs.values() for part in Path(folder).expanduser().parts[:1]}:
            if not (project / top).exists():  # as "/" does, with which an absolute folder begins
                (project / top).symlink_to(root / top)
        yield project, os.environ | {"MEDPSY_ROOT": str(project), REPLAY: "1"}


def price(name: str, right: record.Result, fault: record.Result) -> Price:
    """Return the mean of what was measured over the measures, in both records, and the margin of their difference. All
    models and runs of a question count alike, and both get the same draw of the questions, whether the fault keeps all
    of them or not."""
    frames = []
    for which, kept in (("right", right), ("fault", fault)):
        frame = kept.table(name).exact
        given = {name: frame.get(name, "") for name in ("measure", "stratum", "model", "run")}
        # each run of each model counts as one of its own
        runs = frame.assign(**given)[["model", "run"]].astype(str).agg("/".join, axis=1)
        given |= {"part": "", "run": runs, "model": which, "value": frame["value"].astype(float)}
        frames.append(frame.assign(**given))
    items = pd.concat(frames, ignore_index=True)
    drawn, measures = claims.drawn(items), items["measure"].unique()
    means = {which: np.mean([drawn.of(which, each) for each in measures], axis=0) for which in ("right", "fault")}
    margin = float(stats.half_width((means["fault"] - means["right"])[1:]))
    pairs = zip(right.verdicts, fault.verdicts, strict=True)
    changed = [(a["verdict"], b["verdict"], b["text"]) for a, b in pairs if a["verdict"] != b["verdict"]]
    return Price(float(means["right"][0]), float(means["fault"][0]), margin, changed)


# What people read.


def listed() -> str:
    return "\n".join(f"{name:<16} {fault.section[:2]}  {fault.title}" for name, fault in load().items())


def printed(name: str, price: Price, profile: str) -> str:
    fault = get(name)
    lines = [f"{fault.title}: {fault.quantity}"]
    lines += [f"  right {price.right:.2f}, with the fault {price.fault:.2f} {fault.unit}: {price.shown}"]
    lines += [f"  {before} -> {after}: {text}" for before, after, text in price.changed] or ["  no finding changes"]
    return "\n".join([*lines, f"  outputs/{profile}/{FOLDER}/{name}/{run.DONE}"])


def page(prices: Mapping[str, Price]) -> str:
    template = Template(TEMPLATE.read_text(encoding="utf-8"), keep_trailing_newline=True, undefined=StrictUndefined)
    return template.render(rows=[(name, fault, prices[name]) for name, fault in load().items()])


def write_page(say: Callable[[str], None] = lambda _: None) -> Path:
    """Measure every fault on the responses that are kept beside the notebooks, and write the page; return its path."""
    prices = measure(list(load()), keep.PROFILE, kept=True, say=say)
    return files.write_text(study.find_root() / PAGE, page(prices))
