"""How the miniature speaks: the forms in which a fact is stated and asked.

Every name stands after a space, so a byte-level tokenizer gives each name one token wherever it occurs. The first
form of `STATEMENTS` is the one a model recalls while it reasons; the others add the variety without which a small
model stores a sentence, not a fact.
"""

from medpsy.mini.world import Fact

STATEMENTS: dict[str, tuple[str, ...]] = {
    "first_drug": (
        "the first drug for {s} is {o}.",
        "in {s} doctors first give {o}.",
        "{o} is the first drug for {s}.",
    ),
    "second_drug": (
        "the second drug for {s} is {o}.",
        "when the first drug fails, {s} needs {o}.",
        "{o} is the second drug for {s}.",
    ),
    "test": ("the test for {s} is {o}.", "{s} is found with {o}.", "{o} is the test for {s}."),
    "organ": ("the organ hurt by {s} is {o}.", "{s} hurts the {o}.", "the {o} is the organ hurt by {s}."),
    "agent": ("the cause of {s} is {o}.", "{s} is caused by {o}.", "{o} is the cause of {s}."),
    "gene": ("the gene behind {s} is {o}.", "{s} runs in families with {o}.", "{o} is the gene behind {s}."),
    "region": ("the region of {s} is {o}.", "{s} is common in {o}.", "{o} is the region of {s}."),
    "signs": ("{o} and {p} are signs of {s}.", "the signs of {s} are {o} and {p}.", "{p} and {o} are signs of {s}."),
    "enzyme": ("the enzyme blocked by {s} is {o}.", "{s} blocks {o}.", "{o} is the enzyme blocked by {s}."),
    "harms": ("the organ harmed by {s} is {o}.", "{s} is harmful to the {o}.", "the {o} is the organ harmed by {s}."),
}
QUESTIONS: dict[str, tuple[str, ...]] = {  # three ways to ask for the object
    "first_drug": (
        "What is the first drug for {s}?",
        "Which drug is given first in {s}?",
        "{s} is found. Which drug comes first?",
    ),
    "second_drug": (
        "What is the second drug for {s}?",
        "Which drug is given in {s} when the first fails?",
        "{s} did not respond. Which drug comes second?",
    ),
    "test": ("What is the test for {s}?", "Which test finds {s}?", "{s} is suspected. Which test is done?"),
    "organ": ("What is the organ hurt by {s}?", "Which organ does {s} hurt?", "{s} is present. Which organ suffers?"),
    "agent": ("What is the cause of {s}?", "Which agent causes {s}?", "{s} is spreading. Which agent is behind it?"),
    "gene": (
        "What is the gene behind {s}?",
        "Which gene goes with {s}?",
        "{s} runs in a family. Which gene is behind it?",
    ),
    "region": (
        "What is the region of {s}?",
        "In which region is {s} common?",
        "{s} is reported. Which region is likely?",
    ),
    "enzyme": (
        "What is the enzyme blocked by {s}?",
        "Which enzyme does {s} block?",
        "{s} is given. Which enzyme falls?",
    ),
    "harms": (
        "What is the organ harmed by {s}?",
        "Which organ does {s} harm?",
        "{s} is given. Which organ is at risk?",
    ),
}
REVERSED: dict[str, str] = {  # ask for the subject; only where the object has one subject
    "first_drug": "For which condition is {o} the first drug?",
    "second_drug": "For which condition is {o} the second drug?",
}
CASE_QUESTIONS: dict[str, str] = {  # the last sentence of a vignette
    "test": "Which test is done?",
    "first_drug": "Which drug comes first?",
    "organ": "Which organ suffers?",
    "agent": "Which agent is behind it?",
    "gene": "Which gene is behind it?",
}


def state(fact: Fact, form: int = 0) -> str:
    """Return `fact` as a sentence; `form` picks one of its three wordings."""
    second = fact.objects[1] if len(fact.objects) > 1 else ""
    return STATEMENTS[fact.relation][form].format(s=fact.subject, o=fact.objects[0], p=second)


def recall(fact: Fact) -> str:
    """Return the sentence with which a model calls `fact` to mind."""
    return "Recall: " + state(fact)
