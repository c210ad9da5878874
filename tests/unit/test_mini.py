"""What the miniature writes, to the letter."""

import hashlib
import json
import random
from itertools import islice

import pytest
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.mini import suites, voices, world
from medpsy.mini.voices import Voice

WORLD = world.build()
EVERYTHING = frozenset(WORLD.by_id)
TALKS = world.dialogues(WORLD)
CASES = {held_out: world.cases(WORLD, held_out=held_out) for held_out in (True, False)}


def samples(count=500):
    """Return exercises of every kind, `count` of each."""
    rows = [
        voices.thinker_samples(WORLD, EVERYTHING, Voice(hasty=0.2), "", random.Random(2)),
        voices.parser_samples(WORLD, random.Random(2)),
        suites.judge_samples(WORLD, suites.Ear(0.2, 0.3), random.Random(2)),
        voices.drills(WORLD, random.Random(2)),
    ]
    return [[*islice(row, count)] for row in rows]


WRITTEN = {
    "names and facts": (lambda: (WORLD.names, WORLD.facts), "f172475c57d9e1b5"),
    "cases and dialogues": (lambda: (CASES, TALKS), "6901989f100555ac"),
    "suites": (lambda: [suites.load(key) for key in SUITES], "4a0b3784a5381002"),
    "conversations": (lambda: [suites.load_conversations(key) for key in OPEN_SUITES], "99abc809d055b134"),
    "open questions": (lambda: [suites.o1_rows(WORLD, config) for config in ("en", "zh")], "f1502f9efa362ecc"),
    "traces": (lambda: [suites.traces(WORLD, held_out=held_out) for held_out in (True, False)], "84191d6eaa2fa9a7"),
    "exercises": (samples, "1fe548ba21454bb2"),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_every_text_is_what_the_models_of_the_hub_were_trained_on_and_asked(what):
    """Where it is to change, `make minihub` and a whole run of the study come with it."""
    write, digest = WRITTEN[what]
    assert hashlib.sha256(json.dumps(write(), default=vars).encode()).hexdigest()[:16] == digest
