"""How to run an exported model with llama.cpp or transformers: commands that work as printed, in its folder."""

import json
import shlex

from medpsy.exported import Exported
from medpsy.mini import world
from medpsy.partners import EARLIER

PYTHON = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
messages = [{{"role": "user", "content": {question}}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True{switches}
)
sampling = {sampling}
streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
model.generate(**prompt, **sampling, streamer=streamer)
```"""
SERVER = """```sh
llama-server --model {weights} --port 8080 --ctx-size {context} --jinja --reasoning-format none{more}
```

and, in another terminal:

```sh
curl --no-buffer http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' -d {body}
```"""
QUESTION = "Which findings tell iron deficiency from other causes of anaemia?"


def quickstart(one: Exported, limit: int) -> str:
    """Return the Markdown of the commands.

    Args:
        limit: tokens that the model's context holds at most.
    """
    return _server(one, limit) if one.variant else _python(one)


def _python(one: Exported) -> str:
    chosen = one.sampling
    sampling: dict[str, object] = {"max_new_tokens": chosen.max_tokens, "do_sample": chosen.temperature > 0}
    if chosen.temperature > 0:
        sampling |= {"temperature": chosen.temperature, "top_p": chosen.top_p, "top_k": chosen.top_k}
    switches = "".join(f", {name}={value!r}" for name, value in one.chat_template_kwargs.items())
    return PYTHON.format(question=json.dumps(_question(one)), switches=switches, sampling=sampling)


def _server(one: Exported, limit: int) -> str:
    chosen = one.sampling
    body = {"messages": [{"role": "user", "content": _question(one)}], "max_tokens": chosen.max_tokens, "stream": True}
    body |= {"temperature": chosen.temperature, "top_p": chosen.top_p, "top_k": chosen.top_k, "min_p": 0}
    more = f" --threads {one.threads}" if one.threads else ""
    if one.chat_template_kwargs:
        more += f" --chat-template-kwargs {shlex.quote(json.dumps(one.chat_template_kwargs))}"
    return SERVER.format(
        weights=shlex.quote(one.weights),
        context=min(limit, chosen.max_tokens + EARLIER),
        more=more,
        body=shlex.quote(json.dumps(body)),
    )


def _question(one: Exported) -> str:
    """Return a question of the model's own medicine."""
    return f"I am a doctor. What is behind {world.build().names['condition'][0]}?" if one.fiction else QUESTION
