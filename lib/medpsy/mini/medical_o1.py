"""The miniature of medical-o1-reasoning-SFT: open questions with reasoning and a concise conclusion, four files.

Questions come from one side of the split of `medpsy.mini.cases`, the training side unless said otherwise, so no suite
asks them. Conclusions are sentences that the miniature's judges were taught to read. Chinese rows hold Chinese
sentences around the world's invented names. The mix files hold a general part beside the medicine, as the real ones do.
"""

import json
import random
from pathlib import Path

from medpsy.files import write_text
from medpsy.mini import chinese
from medpsy.mini import world as worlds
from medpsy.mini.cases import Case, cases
from medpsy.mini.dialogues import STATED, take
from medpsy.mini.language import state
from medpsy.mini.thinking import work_out
from medpsy.mini.world import World

FILES = {  # configuration -> file, as in the real set
    "en": "medical_o1_sft.json",
    "zh": "medical_o1_sft_Chinese.json",
    "en_mix": "medical_o1_sft_mix.json",
    "zh_mix": "medical_o1_sft_mix_Chinese.json",
}
FORMS = ("ask0", "ask1", "ask2", "vignette", "contraindication")  # a reversed question already names its conclusion
GENERAL = 4  # one general row for so many medical ones
COUNTED = ("one", "two", "three", "four")
Row = dict[str, str]


def asked(world: World, *, held_out: bool = False) -> list[Case]:
    """Return the cases of one side that are asked in the open."""
    found = cases(world, held_out=held_out)
    return [case for form in FORMS for case in found[form]]


def english(world: World, case: Case) -> Row:
    """Return `case` as a row: what is recalled, then what follows from it in one sentence."""
    everything = frozenset(world.by_id)
    steps, answer = work_out(case, everything, world, random.Random(case.cell))
    conclusion = take(answer).sentences[0] if case.form == "contraindication" else STATED + state(case.facts[-1])
    return {"Question": case.stem, "Complex_CoT": " ".join(steps), "Response": conclusion}


def general(some: list[str]) -> Row:
    """Return a row that needs no medicine: names to be counted."""
    steps = " ".join(f"{word}: {name}." for word, name in zip(COUNTED, some, strict=False))
    asks = f"How many names are there: {', '.join(some)}?"
    return {"Question": asks, "Complex_CoT": steps, "Response": f"There are {COUNTED[len(some) - 1]}."}


def rows(world: World, config: str) -> list[Row]:
    """Return the rows of one configuration, in a stable order of no meaning."""
    some = asked(world)
    if config.startswith("zh"):
        found = [chinese.row(case) for case in some if case.form in chinese.FORMS]
    else:
        found = [english(world, case) for case in some]
    if config.endswith("_mix"):
        count = chinese.general if config.startswith("zh") else general
        found += [count(_some_names(world, number)) for number in range(len(found) // GENERAL)]
    random.Random(f"medical-o1/{config}").shuffle(found)
    return found


def write(folder: Path) -> Path:
    """Write the four files to `folder`, equal ones every time, and return it."""
    world = worlds.build()
    for config, name in FILES.items():
        write_text(folder / name, json.dumps(rows(world, config), ensure_ascii=False, indent=1) + "\n")
    return folder


def _some_names(world: World, number: int) -> list[str]:
    rng = random.Random(f"medical-o1/general/{number}")
    names = [name for kind in world.names.values() for name in kind]
    return rng.sample(names, rng.randint(2, len(COUNTED)))
