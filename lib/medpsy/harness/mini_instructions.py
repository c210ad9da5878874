"""Prompts with instructions that a program can verify, in the miniature's language and IFEval's schema.

Only kinds that IFEval checks without downloaded data, and that a model which was never taught to follow them sometimes
satisfies by chance: differences between models count, not levels. Checks nothing; that is the work of IFEval's code.
"""

import random
from typing import Any

from medpsy import benchmarks, prompts

PROMPTS = 48
TWO = 3  # every third prompt gives two instructions
Instruction = tuple[str, dict[str, Any], str]  # IFEval's kind and arguments, and the sentence that asks for it

INSTRUCTIONS: tuple[Instruction, ...] = (
    ("length_constraints:number_words", {"relation": "at least", "num_words": 8}, "Write at least 8 words."),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 8}, "Write less than 8 words."),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 16}, "Write less than 16 words."),
    ("keywords:existence", {"keywords": ["answer"]}, "Include the word answer."),
    ("keywords:existence", {"keywords": ["because"]}, "Include the word because."),
    ("keywords:existence", {"keywords": ["know"]}, "Include the word know."),
    (
        "keywords:frequency",
        {"relation": "at least", "keyword": "is", "frequency": 2},
        "Let the word is appear at least 2 times.",
    ),
    (
        "keywords:frequency",
        {"relation": "less than", "keyword": "the", "frequency": 2},
        "Let the word the appear less than 2 times.",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["fails"]}, "Do not use the word fails."),
    ("keywords:forbidden_words", {"forbidden_words": ["answer"]}, "Do not use the word answer."),
    ("keywords:forbidden_words", {"forbidden_words": ["look", "think"]}, "Do not use the words look and think."),
    (
        "keywords:letter_frequency",
        {"letter": "e", "let_frequency": 4, "let_relation": "at least"},
        "Let the letter e appear at least 4 times.",
    ),
    (
        "keywords:letter_frequency",
        {"letter": "s", "let_frequency": 3, "let_relation": "less than"},
        "Let the letter s appear less than 3 times.",
    ),
    ("punctuation:no_comma", {}, "Use no comma."),
    ("startend:end_checker", {"end_phrase": "I cannot tell."}, "End with the words I cannot tell."),
    ("startend:quotation", {}, "Put all of it in quotation marks."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "Highlight 1 part with *stars*."),
)


def instructed() -> list[dict[str, Any]]:
    """Return `PROMPTS` rows ``{key, prompt, instruction_id_list, kwargs}``, over questions and dialogues in turn."""
    asked = tasks()
    return [row(key, asked[key % len(asked)]) for key in range(PROMPTS)]


def tasks() -> list[str]:
    """Return held-out questions and openings of held-out dialogues in turn, as a user writes them."""
    questions = benchmarks.load_suite("medmcqa", source="mini").questions
    dialogues = benchmarks.load_conversations("healthbench", source="mini").conversations
    openings = [one.messages[0]["content"] for one in dialogues if len(one.messages) == 1]
    closed = [prompts.closed_ended(one)[0]["content"] for one in questions]
    return [text for pair in zip(closed, openings, strict=False) for text in pair]


def row(key: int, task: str) -> dict[str, Any]:
    """Return one prompt: `task` with one or two instructions of different kinds, drawn by `key`."""
    drawn = random.Random(f"ifeval/{key}").sample(INSTRUCTIONS, len(INSTRUCTIONS))
    first = drawn[0]
    second = [one for one in drawn if one[0] != first[0]][:1] if key % TWO == 0 else []
    given = [first, *second]
    return {
        "key": key,
        "prompt": " ".join([task, *(sentence for _, _, sentence in given)]),
        "instruction_id_list": [kind for kind, _, _ in given],
        "kwargs": [arguments for _, arguments, _ in given],
    }
