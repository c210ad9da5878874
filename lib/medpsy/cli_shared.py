"""What all commands of `medpsy` share: options they have in common, errors as one message, JSON as text."""

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

OPTIONS = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}

Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="smoke, mini, review or paper.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of text.")]
OpensThinking = Annotated[
    bool,
    typer.Option("--opens-thinking", help="The chat template wrote <think>: text without </think> is no answer."),
]


def plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let expected errors end `command` with their message; MEDPSY_DEBUG=1 shows where they came from."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except (ValueError, OSError, RuntimeError) as error:
            if os.environ.get("MEDPSY_DEBUG"):
                raise
            print(f"medpsy: {error}", file=sys.stderr)
            raise typer.Exit(1) from None

    return wrapped


def printed_json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1)
