"""Whether a response has the form that the corpus teaches: one think block, then a concise conclusion.

Says nothing of what is concluded. The end of the reasoning is found as everywhere (`medpsy.grading.reasoning`).
"""

from medpsy.grading.reasoning import CLOSES, OPENS, pattern, split
from medpsy.training.rewards import has_words

IN_FORM = "in form"
NO_CONCLUSION = "no conclusion"  # the reasoning never ended, or nothing follows it
NO_BLOCK = "no think block"  # nothing is reasoned, or its beginning is not marked
BLOCKS = "several blocks"
LONG = "long conclusion"
FORMS = (IN_FORM, NO_CONCLUSION, NO_BLOCK, BLOCKS, LONG)


def form(text: str, finish_reason: str, *, opens_thinking: bool, longest: int) -> str:
    """Return which of `FORMS` a response has; the first that is wrong counts.

    Args:
        opens_thinking: the chat template already wrote the opening marker.
        longest: characters of a conclusion that still counts as concise.
    """
    parts = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
    if parts.answer is None or finish_reason != "stop":
        return NO_CONCLUSION
    opened = opens_thinking or parts.reasoning.lstrip().startswith(OPENS)
    if not opened or not has_words(parts.reasoning):
        return NO_BLOCK
    if any(marker in parts.reasoning for marker in CLOSES) or len(pattern(OPENS).findall(parts.reasoning)) > 1:
        return BLOCKS
    return IN_FORM if len(parts.answer) <= longest else LONG
