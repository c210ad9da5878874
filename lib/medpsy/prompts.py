"""Every prompt the study sends, in one place and in our own words; each is versioned by a hash of its template.

The report prints none of its prompts, so these are ours. Text written by a model is fenced as data: it can neither
close its fence nor pass for an instruction of ours.
"""

import hashlib

from medpsy.benchmarks.question import LETTERS, Question

CLOSED_ENDED = """{context}Question: {stem}
{options}
Think step by step. End with the letter of the one best option."""

PARSER = """Question: {stem}
{options}
<response>
{answer}
</response>
Which option does the response choose? Extract only, do not solve. Reply with its letter, SEVERAL or NONE."""

TEMPLATES = {"closed_ended": CLOSED_ENDED, "parser": PARSER}


def version(name: str) -> str:
    """Return the 12-digit hash that identifies the wording of template `name`."""
    return hashlib.sha256(TEMPLATES[name].encode()).hexdigest()[:12]


def lettered(options: tuple[str, ...]) -> str:
    """Return one line per option: ``A. first``, ``B. second``, and so on to J."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def closed_ended(question: Question) -> tuple[dict[str, str], ...]:
    """Return the chat messages that ask `question`; the gold is not in them."""
    context = f"Context: {question.context}\n" if question.context else ""
    text = CLOSED_ENDED.format(context=context, stem=question.stem, options=lettered(question.options))
    return ({"role": "user", "content": text},)


def parser(question: Question, answer: str) -> tuple[dict[str, str], ...]:
    """Return the chat messages that ask a parser which option `answer` chose; the gold is not in them."""
    fenced = answer.replace("<response>", "< response>").replace("</response>", "< /response>").strip()
    text = PARSER.format(stem=question.stem, options=lettered(question.options), answer=fenced)
    return ({"role": "user", "content": text},)
