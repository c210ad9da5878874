"""What a reader found in an answer: one option, or none with the reason.

Holds no rule. Nothing here guesses: an answer that cannot be read is counted apart from an answer that is wrong.
"""

from dataclasses import dataclass

# Why there is no choice. Every reading without a choice uses one of these words.
EMPTY = "empty"
FILTERED = "filtered"  # the endpoint's content filter answered instead of the model
REFUSED = "refused"
SEVERAL = "several options"
NONE_FITS = "none of the options"  # the answer says so, and no option does
NOT_OFFERED = "letter not offered"
CLASH = "letter and text disagree"
NO_OPTION = "no option"
PARSER_UNREADABLE = "parser unreadable"  # the parser model's reply is none of the replies asked for

REASONS = (EMPTY, FILTERED, REFUSED, SEVERAL, NONE_FITS, NOT_OFFERED, CLASH, NO_OPTION, PARSER_UNREADABLE)


@dataclass(frozen=True)
class Reading:
    """One reading of one answer.

    Args:
        choice: index into the question's options, or None when no single option was chosen.
        how: where the choice was found (``"json"``, ``"stated"``, ...), or why there is none (one of `REASONS`).
    """

    choice: int | None
    how: str
