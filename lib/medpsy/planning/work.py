"""What the sections of a profile ask of models and train, counted from its parameters before anything runs.

A response is counted for the first section that asks it: later ones find it stored. Reads parameters and, of the
miniature, its suites; asks nothing and downloads nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from medpsy import evaluate, open_ended, parameters, published, study
from medpsy.benchmarks import OPEN_SUITES, SUITES
from medpsy.planning.artefacts import Files, Loaded, Merged
from medpsy.planning.asking import MAIN, Asked, Tally, Variant
from medpsy.planning.costs import Lengths, costs
from medpsy.planning.gspo import gspo
from medpsy.planning.learning import attempts, fine_tuned, learned
from medpsy.planning.openmed import openmed
from medpsy.planning.trained import Trained
from medpsy.run import notebooks
from medpsy.study import STAGES, Study

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """What one section does; `drawn` responses are in its tables, `known` says whether there is a rule for it."""

    name: str
    asked: tuple[Asked, ...] = ()
    trained: tuple[Trained, ...] = ()
    files: tuple[Files, ...] = ()
    merged: tuple[Merged, ...] = ()
    loaded: tuple[Loaded, ...] = ()
    drawn: float = 0.0
    known: bool = True

    @property
    def models(self) -> list[str]:
        """The models that it asks, trains from, converts or merges."""
        every = (*self.asked, *self.trained, *self.files, *self.merged)
        return list(dict.fromkeys(one.model for one in every))


def work(profile: str) -> list[Section]:
    """Return what every section of `profile` does, in reading order.

    Raises:
        strict.SettingsError: the profile or its parameters cannot be read.
    """
    settings = study.load(profile)
    tally = Tally(settings, lengths(settings), sizes(settings))
    values = {name: resolved(name, profile) for name in notebooks() if has_section(name, profile)}
    return [_section(tally, name, own, values) for name, own in values.items()]


def lengths(settings: Study) -> Lengths:
    """Return the tokens per request of the suites that `settings` asks."""
    return costs().mini if settings.source == "mini" else costs().hub


def sizes(settings: Study) -> dict[str, int]:
    """Return how many questions or conversations every suite has in all; nothing is downloaded to count them."""
    if settings.source == "mini":
        asked = evaluate.questions(settings, every=True)
        talks = open_ended.conversations(settings) if settings.open_suites else {}
        return {name: len(found) for name, found in chain(asked.items(), talks.items())}
    return {name: spec.published or 0 for name, spec in {**SUITES, **OPEN_SUITES}.items()}


def has_section(section: str, profile: str) -> bool:
    """Return whether `profile` runs `section`."""
    return (study.ROOT / "params" / profile / f"{section}.yaml").is_file()


def resolved(section: str, profile: str) -> dict[str, Any]:
    """Return the parameters with which `section` runs in `profile`."""
    notebook, own = notebooks()[section], f"params/{profile}/{section}.yaml"
    defaults = {name: one.default for name, one in parameters.declared(notebook).items()}
    return defaults | parameters.resolve(notebook, profile, files=[(study.ROOT / own, own)])


def _section(tally: Tally, name: str, own: Values, every: Mapping[str, Values]) -> Section:
    if name in QUIET:
        return Section(name)
    if name not in RULES:
        return Section(name, known=False)
    before, found = tally.drawn, list(RULES[name](tally, own, every))
    kinds = (tuple(one for one in found if isinstance(one, kind)) for kind in KINDS)
    return Section(name, *kinds, drawn=tally.drawn - before)


def _backbones(tally: Tally, own: Values, _: object) -> list:
    models = own["large"] + own["small"]
    return tally.ask(models) + tally.talk(models, [MAIN])


def _teachers(tally: Tally, own: Values, _: object) -> list:
    return tally.ask(own["teachers"]) + tally.talk(own["teachers"])


def _corpora(tally: Tally, own: Values, every: Mapping[str, Values]) -> list:
    """The teacher is not chosen yet: the first candidate stands for it."""
    teacher = own["teacher"] or every["02_teacher_selection"]["teachers"][0]
    rows = sum(own["corpus1"].values()) + sum(own["corpus2"].values())
    return [Asked(teacher, rows, tally.lengths.seed, tally.lengths.row, "rows")]


def _tuned(tally: Tally, own: Values, every: Mapping[str, Values]) -> list:
    return fine_tuned(tally.study, tally.lengths, own, every["03_training_data"])


def _reinforced(tally: Tally, own: Values, _: object) -> list:
    return attempts(tally.study, tally.lengths, own) + learned(tally.study, tally.lengths, own)


def _read_again(tally: Tally, own: Values, _: object) -> list:
    return tally.ask(own["models"])


def _main(tally: Tally, own: Values, _: object) -> list:
    compared = [name for models in own["classes"].values() for name in models if name]
    asked = tally.ask([*compared, *own["teacher"]], runs=own["runs"])
    return asked + tally.talk(compared, runs=own["runs"])


def _stages(tally: Tally, own: Values, _: object) -> list:
    models = [name for stage in own["stages"].values() for name in stage.values()]
    again = [seed for seed in own.get("seeds", ()) if seed != tally.study.seed]
    last = [tally.study.checkpoint(size, STAGES[-1], seed).name for size in tally.study.targets for seed in again]
    asked = tally.ask(models + last, runs=own["runs"])
    return asked + tally.talk(models, [MAIN], own["judges"], runs=own["runs"])


def _quantized(tally: Tally, own: Values, _: object) -> list:
    done: list = []
    for size, source in own["sources"].items():
        shares = file_shares(own["stands_for"][size], [*own["formats"], *own["plain"]])
        done.append(Files(source, 1 + len(shares), 1 + sum(shares)))
        for place, share in enumerate(shares):
            how = {"runs": own["runs"], "variant": Variant(f"{source}/{place}", share)}
            done += tally.ask([source], most=own["asked"]["questions"], **how)
            done += tally.talk([source], judges=own["judges"], most=own["asked"]["conversations"], **how)
    return done


def file_shares(table: str, formats: Sequence[str]) -> list[float]:
    """Return how large a file of each of `formats` is against bfloat16, as the report's `table` of sizes has it."""
    printed = published.table(table)["Size (GB)"]
    whole = float(printed.max())
    return [next(float(one) for row, one in printed.items() if row.endswith(form)) / whole for form in formats]


KINDS = (Asked, Trained, Files, Merged, Loaded)  # in the order of the fields of `Section`
QUIET = ("00_published_claims", "11_compute_budget", "14_ledger")  # ask and train nothing
RULES: dict[str, Callable[[Tally, Values, Mapping[str, Values]], list]] = {
    "01_backbone_selection": _backbones,
    "02_teacher_selection": _teachers,
    "03_training_data": _corpora,
    "04_sft": _tuned,
    "05_rl": _reinforced,
    "06_answer_extraction": _read_again,
    "07_main_results": _main,
    "08_stage_ablations": _stages,
    "09_token_efficiency": _stages,
    "10_quantization": _quantized,
    "12_gspo_judge": gspo,
    "13_openmed": openmed,
}
