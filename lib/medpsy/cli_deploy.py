"""The commands `medpsy export`, `convert` and `chat`: a trained model as a folder of its own, and a talk with it.

Holds no logic of its own. Imports what a command needs inside it, so that help appears at once.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from medpsy.cli_shared import Profile, plainly


@plainly
def export(
    stage: Annotated[str, typer.Option(help="Stage of training: sft1, sft2, rl1 or rl2.")] = "rl2",
    size: Annotated[str, typer.Option(help="Size class of the study, e.g. large.")] = "large",
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="GGUF format, e.g. Q4_K_M; default: safetensors.")
    ] = None,
    profile: Profile = "mini",
    out: Annotated[Path | None, typer.Option(help="Folder; default: in outputs/PROFILE/export/.")] = None,
) -> None:
    """Leave a trained model as a folder that llama.cpp or transformers runs, with a card and a quickstart."""
    from medpsy import exporting, study

    print(exporting.export(study.load(profile), stage=stage, size=size, variant=variant, out=out))


@plainly
def convert(
    point: Annotated[Path, typer.Argument(help="checkpoint-N in outputs/PROFILE/training/NAME: your own training's.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    parent: Annotated[Path, typer.Option(help="Folder of the model that the training started from.")],
) -> None:
    """Turn a resume point of a training, sharded or not, into a folder of safetensors that transformers loads."""
    from medpsy.training import converting

    print(converting.convert(point, out, parent=parent))


@plainly
def chat(
    model: Annotated[str, typer.Argument(help="Exported folder, or model, checkpoint or endpoint of the profile.")],
    profile: Profile = "mini",
    system: Annotated[str | None, typer.Option(help="Text that stands before the conversation.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest response; default: as the study says.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy; default: as the study says.")] = None,
    hide_thinking: Annotated[bool, typer.Option("--hide-thinking", help="Show answers only.")] = False,
) -> None:
    """Talk to a model. Ctrl-C stops an answer, Ctrl-D ends; a pipe is read line by line, each a turn."""
    from medpsy import chatting, partners, study

    partner = partners.find(model, lambda: study.load(profile))
    partner = partner.sampled(max_tokens=max_tokens, temperature=temperature)
    print(partner.notice, flush=True)
    with partner.load() as loaded:
        conversation = chatting.Conversation(partner, loaded, system=system)
        chatting.talk(conversation, _turns(), sys.stdout, hide_thinking=hide_thinking)


def _turns() -> Iterator[str]:
    """Yield what the user says: lines typed after a prompt, or those of a pipe."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import readline  # noqa: F401  # lets the arrow keys edit a line

    while True:
        try:
            yield input("\n> ")
        except KeyboardInterrupt:  # nothing to stop
            print()
        except EOFError:
            print()
            return
