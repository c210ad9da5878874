"""How often the teacher errs, by the world of the miniature: a measurement of the corpus, never a filter of it.

The report knows no truth about its teacher's answers and drops none of them for it. What cannot be checked (no single
option, a sentence outside the miniature's grammar) is counted apart.
"""

from collections.abc import Mapping
from functools import lru_cache

from medpsy.corpus.rows import TrainingRow
from medpsy.corpus.seeds import Seed

RIGHT, WRONG, UNTOLD = "right", "wrong", "not told"


def statements(seed: Seed, row: TrainingRow) -> list[str]:
    """Return `RIGHT`, `WRONG` or `UNTOLD` for each statement of `row`: the option chosen, or every fact stated."""
    from medpsy.corpus.mini_seeds import behind  # late: only the miniature has a truth
    from medpsy.mini.dialogues import Dialogue
    from medpsy.mini.truth import chosen

    one = behind(seed)
    if isinstance(one, Dialogue):
        return _stated(row.answer)
    case, options = one
    choice = chosen(row.answer, options).choice
    return [UNTOLD if choice is None else RIGHT if options[choice] == case.answer else WRONG]


def counted(found: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of all three in one order."""
    return {name: found.get(name, 0) for name in (RIGHT, WRONG, UNTOLD)}


def _stated(answer: str) -> list[str]:
    """Return the truth of every sentence of `answer` that states a fact."""
    from medpsy.mini.dialogues import STATED
    from medpsy.mini.sentences import BREAK, said

    found = []
    for sentence in BREAK.split(answer):
        if sentence.startswith(STATED):
            known = RIGHT if sentence in _truths() else WRONG
            found.append(known if said(sentence) else UNTOLD)
    return found


@lru_cache(maxsize=1)
def _truths() -> frozenset[str]:
    """Return every true statement in every wording."""
    from medpsy.mini import world as worlds
    from medpsy.mini.dialogues import STATED
    from medpsy.mini.language import STATEMENTS, state

    facts = worlds.build().facts
    return frozenset(STATED + state(fact, form) for fact in facts for form in range(len(STATEMENTS[fact.relation])))
