"""Find option texts in a piece of an answer.

Compares words only; letters are the work of `medpsy.grading.mentions`. An option whose text is contained in
another matched option's text does not count by itself.
"""

import re

from medpsy.grading.text import bare, flat, flat_option, packed, word_set

_NONE = re.compile(
    r"none(?: of (?:the|these|those)(?: (?:above|following|options?|choices?|answers?|given options))?| above)?"
)
_ALL = re.compile(r"all(?: of)?(?: (?:the|these|those))?(?: (?:above|following|options?|choices?|answers?))?")
_COMMON = word_set("yes no maybe none all both other unknown true false increased decreased same normal")


def is_none_text(words: str) -> bool:
    """Tell whether flattened words say "none of the above" in one of its forms."""
    return _NONE.fullmatch(words) is not None


def equal_to(words: str, options: tuple[str, ...]) -> set[int]:
    """Return the options whose text is the same as the flattened `words`, spacing and articles apart."""
    words = bare(words)
    for same in (_same_words, _same_letters, _same_class):
        if found := {i for i, option in enumerate(options) if same(words, flat_option(option))}:
            return found
    return set()


def opening(words: str, options: tuple[str, ...]) -> set[int]:
    """Return the options whose text opens the flattened `words`; of nested ones only the longest."""
    texts = [flat_option(option) for option in options]
    lengths = {i: len(text) for i, text in enumerate(texts) if text and (bare(words) + " ").startswith(text + " ")}
    return {i for i, length in lengths.items() if length == max(lengths.values())}


def contained(text: str, options: tuple[str, ...]) -> set[int]:
    """Return the options named inside `text`; very common words (yes, no, none ...) never count."""
    words = f" {flat(text)} "
    texts = [f" {flat_option(option)} " for option in options]
    named = {i: text for i, text in enumerate(texts) if _tellable(text.strip()) and text in words}
    return {i for i, text in named.items() if not any(text != other and text in other for other in named.values())}


def shares_words(words: str, option: str) -> bool:
    """Tell whether flattened `words` begin like `option`: one opens the other, or the first words overlap by half."""
    own = flat_option(option)
    words = bare(words)
    if not own or not words or own.startswith(words) or words.startswith(own) or packed(own) == packed(words):
        return True
    first = words.split()[:6]
    return 2 * len(set(first) & set(own.split())) >= len(set(first))


def _same_words(words: str, option: str) -> bool:
    return bool(words) and words == option


def _same_letters(words: str, option: str) -> bool:
    return bool(packed(words)) and packed(words) == packed(option)


def _same_class(words: str, option: str) -> bool:
    return any(form.fullmatch(words) and form.fullmatch(option) for form in (_NONE, _ALL))


def _tellable(words: str) -> bool:
    return len(words) >= 3 and words not in _COMMON and not words.isdigit()
