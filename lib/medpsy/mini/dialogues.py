"""What is said in the dialogues of the miniature: acts, facts, drugs to take, notes, and the sentences for each.

Whether a response meets a criterion can be read off: every item has a closed set of sentences, and one of them must be
there. Who asks for what is in `medpsy.mini.dialogue_forms`.
"""

from dataclasses import dataclass

from medpsy.mini import cases
from medpsy.mini.language import state
from medpsy.mini.world import Fact

ACTS: dict[str, tuple[str, tuple[str, str]]] = {  # act, in a word -> criterion, and the two sentences that do it
    "doctor": ("Sends the user to a doctor at once.", ("Go to a doctor now.", "Please see a doctor at once.")),
    "wait": ("Says that the user can wait.", ("You can wait some days.", "There is no hurry.")),
    "doubt": ("Says that this is not certain.", ("This is not certain.", "It may be something else.")),
    "sure": ("Says that this is certain.", ("This is certain.", "Nothing else is possible.")),
    "where": ("Asks where the user lives.", ("Where do you live?", "In which region are you?")),
    "signs": ("Asks for the signs.", ("Which signs do you have?", "Please tell me your signs.")),
    "drugs": ("Asks for the drugs that are taken.", ("Which drugs do you take?", "Do you take other drugs?")),
    "organ": ("Asks for a weak organ.", ("Which organ is weak?", "Do you have a weak organ?")),
    "plain": ("Uses plain words.", ("In plain words: it can be helped.", "Put simply, there is help.")),
    "terms": ("Uses words for doctors.", ("For the record: prognosis fair.", "Clinically: prognosis fair.")),
    "kind": ("Is kind to the user.", ("I am sorry that you feel ill.", "I hope you get well soon.")),
}
STATED = "I know that "  # opens every statement of a fact, so that a name never opens a sentence
TAKE = ("Take {drug}.", "I would give {drug}.")
NOTES: dict[str, tuple[str, str]] = {  # what is written down -> its two wordings
    "note_signs": ("Note the signs {name} and {p}.", "For the note: signs {name} and {p}."),
    "note_organ": ("Note a weak {name}.", "For the note: a weak {name}."),
}


@dataclass(frozen=True)
class Item:
    """One thing a response may say.

    Args:
        criterion: the rubric's words for it.
        sentences: any of them says it.
        key: the one word by which a judge knows it: the act, or the name that matters.
        topic: what is said of which `key`, as in `medpsy.mini.sentences`.
        fact: the fact that is stated, for an item of knowledge.
        safe_drug: whether it names the drug that has to be worked out.
    """

    criterion: str
    sentences: tuple[str, ...]
    key: str
    topic: str
    fact: Fact | None = None
    safe_drug: bool = False

    def met(self, answer: str) -> bool:
        """Return whether `answer` says it: the truth about a criterion, as the world knows it."""
        return any(sentence in answer for sentence in self.sentences)


@dataclass(frozen=True)
class Dialogue:
    """One conversation of a person with a model; `items` with points and axis, negative points for what is bad."""

    form: str
    theme: str
    about: str
    messages: tuple[dict[str, str], ...]
    items: tuple[tuple[Item, int, str], ...]
    organ: str = ""  # the weak one
    unnamed: bool = False  # the condition has to be found by its signs

    @property
    def cell(self) -> str:
        return f"{self.form}/{self.about}"

    @property
    def held_out(self) -> bool:
        return cases.is_held_out(self.cell)


def act(name: str) -> Item:
    criterion, sentences = ACTS[name]
    return Item(criterion, sentences, name, name)


def fact_item(fact: Fact) -> Item:
    sentences = tuple(STATED + state(fact, form) for form in range(3))
    return Item(f"Says that {state(fact)}", sentences, fact.objects[0], f"fact {fact.relation} {fact.subject}", fact)


def take(drug: str, *, safe: bool = False) -> Item:
    """Return the item of telling the user to take `drug`."""
    sentences = tuple(form.format(drug=drug) for form in TAKE)
    return Item(f"Tells the user to take {drug}.", sentences, drug, "take", safe_drug=safe)


def note(kind: str, name: str, second: str = "") -> Item:
    sentences = tuple(form.format(name=name, p=second) for form in NOTES[kind])
    return Item(f"Writes down {sentences[0].removeprefix('Note ')}", sentences, name, kind)


def user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)
