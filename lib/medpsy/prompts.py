"""Every prompt the study sends, in one place, all but `grader`'s in our own words; versioned by hashes of templates.

Text written by a model is made data (`as_data`) and, but in `grader`'s, fenced by a boundary of its own: it can
neither close its fence nor become a token that opens or ends a turn. What it says in words can still persuade.
"""

import ast
import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from medpsy import families, strict
from medpsy.data.questions import LETTERS, Conversation, Criterion, Question
from medpsy.study import Study

TEMPLATES: dict[str, str] = strict.read(Path(__file__).with_name("prompts.yaml"))
HEALTHBENCH, CARRIED = "inspect_evals", "healthbench/scorer.py"  # package and its file that have HealthBench's prompt
PLACES = {"<<conversation>>": "{conversation}\n\nassistant: {answer}", "<<rubric_item>>": "[{points}] {criterion}"}
Messages = tuple[dict[str, str], ...]


def version(name: str) -> str:
    """Return the 12-digit hash that identifies the wording of template `name`."""
    return hashlib.sha256(TEMPLATES[name].encode()).hexdigest()[:12]


def grader(study: Study) -> str | None:
    """Return the template that judges of HealthBench are asked with: None for ours, its own out of `CARRIED` (a text
    with all `PLACES`; the file is read and not imported, since what the package wants does not go with our own
    versions), or that of a file of the user's. A SettingsError says what is missing, and the fix."""
    if (source := study.judge_prompt) == "ours":
        return None
    try:
        if source == HEALTHBENCH:
            code = Path(*find_spec(HEALTHBENCH).submodule_search_locations, CARRIED).read_text("utf-8")
            texts = [str(node.value).strip() for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        else:
            texts = [(study.root / Path(source).expanduser()).read_text("utf-8")]
        return next(text for text in texts if all(place in text for place in PLACES))
    except Exception as error:  # a package may fail in any way
        lacking = isinstance(error, StopIteration)
        why = f"has no text with {' and '.join(PLACES)}" if lacking else f"cannot be read ({error!r})"
    fix = f"{HEALTHBENCH} wants `pip install --no-deps inspect-evals`; or name a file with the prompt, or ours"
    raise strict.Place(study.file, ("judge_prompt",)).error(f"{source!r} {why}; {fix}")


def lettered(options: tuple[str, ...]) -> str:
    """Return one line per option: ``A. first``, ``B. second``, and so on to J."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def closed_ended(question: Question) -> Messages:
    """Return the chat messages that ask `question` in its wording; the gold is not in them."""
    context = f"Context: {question.context}\n" if question.context else ""
    template = question.wording or TEMPLATES["closed_ended"]
    text = template.format(context=context, stem=question.stem, options=lettered(question.options))
    return ({"role": "user", "content": text},)


def parser(question: Question, answer: str) -> Messages:
    """Return the chat messages that ask a parser which option `answer` chose; the gold is not in them."""
    parts = {"stem": question.stem, "options": lettered(question.options), "boundary": boundary(answer)}
    text = TEMPLATES["parser"].format(answer=as_data(answer), **parts)
    return ({"role": "user", "content": text},)


def judge(conversation: Conversation, answer: str, criterion: Criterion, template: str | None = None) -> Messages:
    """Return the chat messages that ask a judge whether `answer` (without its reasoning) meets `criterion`, in our
    words or those of `template`, as of `grader`, which has no fences."""
    turns = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in conversation.messages)
    parts = {"conversation": turns, "answer": answer, "criterion": criterion.text}
    fenced = {name: as_data(text) for name, text in parts.items()}
    fenced |= {"points": f"{criterion.points:g}", "boundary": boundary(answer)}
    text = TEMPLATES["judge"].format(**fenced)
    if template is not None:  # as HealthBench's, where the answer is the last turn
        text = re.sub("|".join(PLACES), lambda place: PLACES[place[0]].format(**fenced), template)
    return ({"role": "user", "content": text},)


def boundary(answer: str) -> str:
    """Return six digits drawn from `answer`, which mark both ends of its fence: a text cannot hold the digits that
    hashing it gives, but by trying a million times."""
    return f"{int.from_bytes(hashlib.sha256(answer.encode(errors='surrogatepass')).digest()[:8]) % 10**6:06d}"


MARKER = strict.patterns(Path(__file__).with_name("markers.yaml"), known=families.starts(families.known().marks)).marker


def as_data(text: str) -> str:
    """Return `text` with a space after the first character of every marker in it, and none around the whole. A marker
    is what any family of models, or a prompt of ours, takes for the end of a turn, a role, reasoning or a fence. A
    space stays where it is under every tokenizer's normalizer, and a judge still reads what was written. Headings such
    as ``### Assistant`` are words to every tokenizer, and stay."""
    return MARKER.sub(r"\g<0> ", text).strip()
