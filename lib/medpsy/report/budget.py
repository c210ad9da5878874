"""Section 3.5 from first principles: cluster, parallelism, memory and throughput beside the printed tables.

Arithmetic on printed tables, shapes and data sheets; measures nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medpsy import published
from medpsy.planning import formulas
from medpsy.planning.anchors import anchors
from medpsy.planning.costs import Gpu, costs, gpu_name
from medpsy.planning.sizes import Size, known, printed
from medpsy.report.display import Table, table

MODELS = {"1.7B": "Qwen3-1.7B", "4B": "Qwen3-4B"}  # row of the parallelism table -> column of the architectures
CLUSTER, PARALLEL, SFT, HOURS = "cluster", "sft_parallelism", "sft_settings", "compute_budget"
DATA, TUNING, LEARNING, PIPELINE = "Data generation", "SFT", "RL", "Primary final pipeline (total)"


@dataclass(frozen=True)
class Assumed:
    """What the report does not state, or states in words; every value is a parameter of the notebook.

    Args:
        gpu: name in ``planning/costs.yaml``.
        rows: that the teacher wrote over all experiments; `row`: tokens of one.
        prompt: tokens of a question.
        training, writing: shares of the GPU's peak, 0 to 1, lowest first.
        teachers: name -> hub id in ``planning/models.csv``; the first is the one that was chosen.
    """

    gpu: str
    rows: float
    row: float
    prompt: float
    training: Sequence[float]
    writing: Sequence[float]
    teachers: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "gpu", gpu_name(self.gpu))
        for name in ("training", "writing"):
            if not self.shares_rise(getattr(self, name)):
                raise ValueError(
                    f"{name}: {list(getattr(self, name))} must be shares above 0 and up to 1, lowest first"
                )
        for name, path in self.teachers.items():
            if path not in known():
                raise ValueError(f"teachers.{name}: the size of {path!r} is not known; add it to planning/models.csv")

    @staticmethod
    def shares_rise(shares: Sequence[float]) -> bool:
        return bool(shares) and shares[0] > 0 and shares[-1] <= 1 and list(shares) == sorted(shares)

    @property
    def sheet(self) -> Gpu:
        return costs().gpus[self.gpu]

    @property
    def teacher(self) -> Size:
        """The size of the teacher that was chosen."""
        return known()[next(iter(self.teachers.values()))]


def number(name: str, row: str, column: str) -> float:
    """Return one number of a published table."""
    cells = published.tables(name).set_index(["row", "column"])
    return float(cells.at[(row, column), "number"])


def cluster_table() -> Table:
    """Return the size of the cluster as printed, and what its own parts give."""
    nodes, each, whole = (
        number(CLUSTER, row, "Specification") for row in ("Worker nodes", "GPUs per node", "Total GPU capacity")
    )
    rows = [["Worker nodes (worker-0 to worker-29)", nodes, nodes], ["GPUs per node", each, each]]
    rows += [["GPUs in all", whole, nodes * each]]
    rows += [["Nodes that the printed total needs", nodes, whole / each]]
    rows += [["GPUs per node that the printed total needs", each, whole / nodes]]
    frame = pd.DataFrame(rows, columns=["Quantity", "Published", "Recomputed"])
    frame["Same"] = frame["Published"] == frame["Recomputed"]
    note = (
        "The total is twice what nodes and GPUs per node give. Every other number of the section needs 32 GPUs at most."
    )
    return table(frame, "Cluster", note=note, decimals=0)


def parallelism_table() -> Table:
    """Return the parallelism of the SFT jobs, and what one GPU of them does in a step."""
    each, packs = (
        number(CLUSTER, "GPUs per node", "Specification"),
        number(SFT, "Global batch size (packed sequences)", "Value"),
    )
    length, rows = number(SFT, "Packed sequence size", "Value"), []
    for size in MODELS:
        nodes, count, *ways = (number(PARALLEL, size, name) for name in ("Nodes", "GPUs", "TP", "PP", "DP"))
        product = ways[0] * ways[1] * ways[2]
        rows.append([size, count, nodes * each, product, packs / ways[2], packs * length / 1e6])
    columns = ["Model", "GPUs, published", "Nodes × GPUs per node", "TP × PP × DP", "Packs per GPU and step"]
    frame = pd.DataFrame(rows, columns=[*columns, "Tokens per step (millions)"])
    return table(frame, "Parallelism of the SFT jobs", note="Packs are taken as full.")


def memory_table(about: Assumed) -> Table:
    """Return what one GPU holds of weights, gradients and Adam's states, by what is spread over the GPUs of a job."""
    rows = []
    for size, model in MODELS.items():
        count, processes = printed(model).shape.parameters, int(number(PARALLEL, size, "DP"))
        for sharding in formulas.SHARDINGS:
            held = formulas.state_bytes(count, sharding, processes) / formulas.GIGA
            rows.append([size, count / 1e9, sharding, held, about.sheet.memory - held])
    columns = ["Model", "Parameters (billions)", "Spread over the GPUs", "GB per GPU", "GB left for activations"]
    note = f"Parameters counted from the table of section 3.1; {about.gpu} with {about.sheet.memory:.0f} GB."
    return table(pd.DataFrame(rows, columns=columns), "Memory of training", note=note, decimals=2)


def throughput_table(about: Assumed) -> Table:
    """Return tokens per second and the seconds of a step at several shares of the peak."""
    length = number(SFT, "Packed sequence size", "Value")
    step = number(SFT, "Global batch size (packed sequences)", "Value") * length
    rows = []
    for size, model in MODELS.items():
        for share in about.training:
            rates = [formulas.training_rate(printed(model), about.sheet, share, tokens) for tokens in (length, 0)]
            rows.append([size, 100 * share, *rates, step / rates[0] / number(PARALLEL, size, "GPUs")])
    columns = ["Model", "Share of the peak (%)", "Tokens/s and GPU, whole packs", "Tokens/s and GPU, short documents"]
    note = (
        "Whole packs: attention over all of a pack; short documents: attention costs nothing. The report prints none."
    )
    return table(pd.DataFrame(rows, columns=[*columns, "Seconds per step"]), "Throughput of SFT", note=note, decimals=1)


def anchor_table() -> Table:
    """Return published training speeds and the share of the peak that follows from them."""
    found = anchors()
    frame = found[["source", "setup", "gpu", "tokens_per_second"]].assign(
        printed=100 * found["printed"], recomputed=100 * found["utilization"]
    )
    names = ["Source", "Setup", "GPU", "Tokens/s", "Share of the peak, printed (%)", "Recomputed (%)"]
    note = "6 operations per parameter and token, 4 where only an adapter takes gradients; attention left out."
    return table(frame.set_axis(names, axis=1), "Training speeds that others publish", note=note, decimals=0)
