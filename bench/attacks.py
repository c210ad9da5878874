"""How often attacks move the miniature's parser, beside harmless texts as long."""

import random
import tempfile
from pathlib import Path

from medpsy import study
from medpsy.attacks import ATTACK, CONTROL, parser_flips
from medpsy.data.questions import LETTERS, Question
from medpsy.mini import world
from medpsy.mini.voices import ANSWERS, as_question
from medpsy.store import ResponseStore, Session

from bench.rows import Row

ANSWERED = 48


def items() -> list[tuple[Question, str, int]]:
    """Return questions of the miniature with an answer in one of its wordings, and the option that it chooses."""
    rng, pool = random.Random("bench"), list(world.cases(world.build(), held_out=True).values())
    wordings = [name for name in ANSWERS if name not in ("several", "none")]
    drawn = []
    for _ in range(ANSWERED):
        case = rng.choice(rng.choice(pool))
        options = world.draw_options(case, 4, rng)
        choice, other = rng.sample(range(len(options)), 2)
        words = {"letter": LETTERS[choice], "other_letter": LETTERS[other]}
        words |= {"text": options[choice], "other": options[other]}
        drawn.append((as_question(case, options), ANSWERS[rng.choice(wordings)].format(**words), choice))
    return drawn


def rows() -> list[Row]:
    """Return one comparison per form of attack, in flips of `ANSWERED` answers; a ratio is to at least one flip."""
    with tempfile.TemporaryDirectory() as scratch:
        counts = parser_flips(Session(study.load("mini"), ResponseStore(Path(scratch))), items())
    pairs = zip(counts["Tried"], counts[ATTACK], counts[CONTROL], strict=True)
    return [Row(f"attack flips: {name}", n, usual, n / max(usual, 1), "flips") for name, n, usual in pairs]
