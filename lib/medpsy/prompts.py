"""Every prompt the study sends, in one place and in our own words; each is versioned by a hash of its template.

Text written by a model is fenced as data (`as_data`): it can neither close its fence nor become a token that opens or
ends a turn. What it says in words can still persuade.
"""

import hashlib
import re
from pathlib import Path

from medpsy import families, strict
from medpsy.data.questions import LETTERS, Conversation, Criterion, Question

TEMPLATES: dict[str, str] = strict.read(Path(__file__).with_name("prompts.yaml"))


def version(name: str) -> str:
    """Return the 12-digit hash that identifies the wording of template `name`."""
    return hashlib.sha256(TEMPLATES[name].encode()).hexdigest()[:12]


def lettered(options: tuple[str, ...]) -> str:
    """Return one line per option: ``A. first``, ``B. second``, and so on to J."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def closed_ended(question: Question) -> tuple[dict[str, str], ...]:
    """Return the chat messages that ask `question`; the gold is not in them."""
    context = f"Context: {question.context}\n" if question.context else ""
    text = TEMPLATES["closed_ended"].format(context=context, stem=question.stem, options=lettered(question.options))
    return ({"role": "user", "content": text},)


def parser(question: Question, answer: str) -> tuple[dict[str, str], ...]:
    """Return the chat messages that ask a parser which option `answer` chose; the gold is not in them."""
    text = TEMPLATES["parser"].format(stem=question.stem, options=lettered(question.options), answer=as_data(answer))
    return ({"role": "user", "content": text},)


def judge(conversation: Conversation, answer: str, criterion: Criterion) -> tuple[dict[str, str], ...]:
    """Return the chat messages that ask a judge whether `answer` (without its reasoning) meets `criterion`."""
    turns = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in conversation.messages)
    parts = {"conversation": turns, "answer": answer, "criterion": criterion.text}
    fenced = {name: as_data(text) for name, text in parts.items()}
    return ({"role": "user", "content": TEMPLATES["judge"].format(points=f"{criterion.points:g}", **fenced)},)


# What a tokenizer may take for its own marker. Normalizers drop characters that nobody sees and turn wide forms into
# ASCII (NFKC), so both are looked through.
UNSEEN = r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
LESS, SLASH = "[<＜﹤]", rf"{UNSEEN}*+[/／]?{UNSEEN}*+"
NAME = rf"[^\W\d](?:[\w:.|｜▁-]|{UNSEEN}){{,64}}"
# Tags that answers hold and no model takes for a marker: those of HTML but <s>, and <answer>.
HARMLESS = (
    "a|abbr|answer|b|big|blockquote|body|br|caption|center|code|dd|del|details|div|dl|dt|em|font|h[1-6]|head|hr|html|i|"
    "img|ins|kbd|li|mark|ol|p|pre|q|samp|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|title|tr|u|ul"
)
# In square brackets, where any word may stand, only those of Mistral, Llama 2, GLM and BERT are markers.
BRACKETED = "INST|THINK|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]+|CALL_ID|ARGS|[gs]?MASK|CLS|SEP|PAD|UNK|BOS|EOS"
MARKER = re.compile(
    rf"(?:{LESS}|[\[［﹇])(?={UNSEEN}*+[|｜])"  # <|im_end|>, <｜User｜>, [|assistant|]
    rf"|{LESS}(?!/?(?:{HARMLESS})>)(?={SLASH}{NAME}[>＞﹥])"  # <start_of_turn>, </s>, <seed:think>, <turn|>, <<SYS>>
    rf"|{LESS}(?=\s*+{SLASH}\s*+(?:conversation|response|criterion)\b)"  # our own, also as < / Response >
    rf"|[\[［﹇◁](?={SLASH}(?:{BRACKETED}){UNSEEN}*+[\]］﹈▷])"
    rf"|{families.starts(families.known().marks)}",  # and what families.yaml lists, of whatever form
    re.IGNORECASE,
)


def as_data(text: str) -> str:
    """Return `text` with a space after the first character of every marker in it, and none around the whole.

    A marker is what any family of models, or a prompt of ours, takes for the end of a turn, a role, reasoning or a
    fence. A space stays where it is under every tokenizer's normalizer, and a judge still reads what was written.
    Headings such as ``### Assistant`` are words to every tokenizer, and stay.
    """
    return MARKER.sub(r"\g<0> ", text).strip()
