"""Options inside running text."""

import pytest
from medpsy.benchmarks.lettered import Lettered, split_options


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Stem?\nA. w\nB. x\nC. y\nD. z", Lettered("Stem?", ("w", "x", "y", "z"))),
        ("Stem?\n\nA) w\n  B) x\n", Lettered("Stem?", ("w", "x"))),
        ("Stem?\n(A) w\n(B) x", Lettered("Stem?", ("w", "x"))),
        ("Stem?\nA: w\nB: x", Lettered("Stem?", ("w", "x"))),
        ("Stem?\nOptions:\nA. w\nB. x", Lettered("Stem?", ("w", "x"))),
        ("Stem?\nAnswer Choices: (A) w (B) x y (C) z", Lettered("Stem?", ("w", "x y", "z"))),
        ("Stem?\nA. w goes\non here\nB. x", Lettered("Stem?", ("w goes\non here", "x"))),
        ("A. Smith asked this.\nStem?\nA. w\nB. x", Lettered("A. Smith asked this.\nStem?", ("w", "x"))),
        ("Give vitamin (A) now?\nA. w\nB. x", Lettered("Give vitamin (A) now?", ("w", "x"))),
        (
            "Stem?\n" + "\n".join(f"{c}. o{c}" for c in "ABCDEFGHIJ"),
            Lettered("Stem?", tuple("o" + c for c in "ABCDEFGHIJ")),
        ),
        ("Stem?\nA. one", None),  # one option is none
        ("Stem?\nA. w\nC. x", None),  # a gap
        ("Stem?\nB. w\nC. x", None),
        ("Stem?\nA. w\nB. x\nA. y", None),
        ("Which is right, hepatitis A. or hepatitis B. of the two?", None),
        ("Stem?", None),
        ("", None),
    ],
)
def test_split_options(text, want):
    assert split_options(text) == want
