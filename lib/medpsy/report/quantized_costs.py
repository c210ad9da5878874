"""What GGUF files hold, lose and cost: tensor types, divergence, speed, sizes of the published ones, budgets."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.quantization import Family, Variant
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.quantized import BOTH, Quantized

HALF_DIGIT = 0.005  # GB; sizes are printed with two decimals
MB = "Size (MB)"


def file_table(families: Mapping[str, Family], sizes: pd.DataFrame) -> Table:
    """Return what every file holds, read back from it.

    Args:
        sizes: as `medpsy.quantization.published_sizes` returns it: which types llama.cpp mixes in a format.
    """
    mixed = sizes.groupby("format")["types"].agg(lambda found: set(", ".join(found).split(", ")))
    rows = []
    for family in families.values():
        for one in family.files:
            whole, other = sum(one.matrices.values()), set(one.matrices) - mixed[one.format]
            common = sorted(one.matrices.items(), key=lambda pair: -pair[1])
            shares = ", ".join(f"{kind} {100 * count / whole:.0f} %" for kind, count in common)
            row = {"File": one.name, "Imatrix": one.imatrix, MB: one.bytes / 1e6}
            row |= {"Bits per weight": 8 * one.bytes / whole, "Matrices": shares}
            row |= {"Fallback": ", ".join(sorted(other)) or "no"}
            rows.append(row | {"Unlike its source": ", ".join(one.unlike) or "no"})
    note = (
        "Types of the matrices by share of weights; a fallback is a type that llama.cpp does not mix into this format "
        "where every row fits its blocks. Unlike its source: chat template, end of turn, special tokens."
    )
    return table(pd.DataFrame(rows), "Files", note=note)


def loss_table(found: Quantized, losses: pd.DataFrame) -> Table:
    """Return perplexity and divergence beside what the task scores lose; `losses` as of `divergences`."""
    known, rows = losses.set_index("name"), []
    for one in (one for family in found.families.values() for one in family.files if one.name in known.index):
        values, row = known.loc[one.name], {"File": one.name}
        for title, name in (("Perplexity", "perplexity"), ("ln of its ratio to BF16", "log_ratio")):
            row |= {title: values[name], title + MARGIN: values[f"{name}_margin"]}
        for title, name in (("KL divergence (nats)", "divergence"), ("Same first token (%)", "same_top")):
            row |= {title: values[name], title + MARGIN: values[f"{name}_margin"]}
        change = None if one is found.families[one.size].base else found.change(one)
        row |= {"Δ Score": None if change is None else float(change[0])}
        rows.append(row | {"Δ Score" + MARGIN: None if change is None else found.margin(change, BOTH)})
    note = (
        "On rows of the corpora that the importance matrix was not made of, prompts included. 95 % margins over chunks "
        "of text; those of perplexities hold the choice of text, those of the other columns are paired."
    )
    return table(pd.DataFrame(rows), "What the predictions lose, beside the scores", note=note, decimals=4)


def speed_table(speeds: pd.DataFrame, threads: int) -> Table:
    """Return load time, memory and tokens per second of every file; `speeds` as `medpsy.quantization.speeds`."""
    names = {"name": "File", "load": "Load (s)", "memory": "Memory (MB)"}
    names |= {"prompt": "Prompt (tokens/s)", "bench_prompt": "Prompt, llama-bench"}
    names |= {"generation": "Generation (tokens/s)", "bench_generation": "Generation, llama-bench"}
    frame = speeds.assign(memory=speeds["memory"] / 1e6)[list(names)].rename(columns=names)
    note = (
        f"This machine, CPU threads: {threads or 'as llama.cpp chooses'}, one request at a time, the fastest of three. "
        "Ours through llama-server with sampling, which costs more the smaller the model is. Memory is what the server "
        "holds resident, the file's mapped part included."
    )
    return table(frame, "Load time, memory and speed", note=note)


def size_table(sizes: pd.DataFrame) -> Table:
    """Return printed and recomputed sizes of the published files; `sizes` as of `published_sizes`."""
    names = {"variant": "Variant", "printed": "Published (GB)", "recomputed": "Tensors (GB)"}
    frame = sizes.assign(rest=sizes["printed"] - sizes["recomputed"])
    names |= {"rest": "Published minus tensors (GB)", "tied": "Tensors, one matrix at both ends (GB)", "types": "Types"}
    note = (
        "From the report's architecture table (head size 128, as in Qwen3's configuration) and llama.cpp's own choice "
        "of types. A file also holds tokenizer and template. The printed sizes are those of files that keep embedding "
        "and output apart, which Qwen3 of these sizes shares."
    )
    return table(frame[list(names)].rename(columns=names), "Sizes of the published files", note=note, decimals=3)


def size_verdict(sizes: pd.DataFrame) -> dict:
    """Return the verdict on whether one size of tokenizer and template explains every printed size."""
    low, high = _metadata(sizes["printed"] - sizes["recomputed"])
    tied = _metadata(sizes["printed"] - sizes["tied"])
    text = f"The {len(sizes)} printed file sizes follow from tensor shapes and block sizes"
    if low > high:
        return {"text": f"{text}: no one size of tokenizer and template explains them all", "verdict": "differs"}
    note = "with one matrix for embedding and output they would not" if tied[0] > tied[1] else ""
    text = f"{text}, tokenizer and template taking {1000 * low:.1f} to {1000 * high:.1f} MB in each"
    return {"text": text, "verdict": "agrees", "note": note}


def _metadata(rest: pd.Series) -> tuple[float, float]:
    """Return the least and the most (GB) that may stand beside the tensors if every printed size is rounded."""
    return max(0.0, rest.max() - HALF_DIGIT), rest.min() + HALF_DIGIT


def budget_table(found: Quantized, budgets: Sequence[float]) -> Table:
    """Return, for every budget in MB of file size, the best file and the smallest that cannot be told from it."""
    files = [one for family in found.families.values() for one in family.variants if np.isfinite(found.change(one)[0])]
    rows = [_budget(found, budget, [one for one in files if one.bytes <= 1e6 * budget]) for budget in budgets]
    note = (
        "Best: highest AVG Score among the files that fit, both classes. Not told apart: the smallest file whose gap "
        "to the best is within its 95 % margin, paired. A budget holds the file alone; the cache of a conversation "
        "comes on top."
    )
    return table(pd.DataFrame(rows), "Recommended by budget", note=note)


def _budget(found: Quantized, budget: float, files: Sequence[Variant]) -> dict[str, object]:
    if not files:
        return {"Budget (MB)": float(budget), "Best": "none fits"}
    first = max(files, key=lambda one: found.score(one.name, BOTH)[0])
    best, same = found.score(first.name, BOTH), [first]
    for one in files:
        gap = best - found.score(one.name, BOTH)
        margin = found.margin(gap, BOTH)
        same += [one] if margin is not None and gap[0] <= margin else []
    least = min(same, key=lambda one: one.bytes)
    row = {"Budget (MB)": float(budget), "Best": f"{first.size}, {first.label}", MB: first.bytes / 1e6}
    row |= {BOTH: float(best[0]), BOTH + MARGIN: found.margin(best, BOTH)}
    return row | {"Smallest not told apart": f"{least.size}, {least.label}", "Its size (MB)": least.bytes / 1e6}


def recommended(printed: str = "recommended_configs") -> Table:
    """Return the report's own recommendations, to be read beside ours."""
    frame = published.table(printed).rename_axis("Tier").reset_index()
    return table(frame, "The report's recommendations")
