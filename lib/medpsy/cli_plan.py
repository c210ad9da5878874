"""The command `medpsy plan`: what a profile will cost, before anything runs.

Holds no logic of its own. Imports what a command needs inside it, so that help appears at once.
"""

from typing import Annotated

import typer

from medpsy.cli_shared import Json, Profile, plainly, printed_json


@plainly
def plan(
    profile: Profile = "mini",
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kind of GPU, e.g. H100; default: the profile's own.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="Of one GPU hour; default: a usual one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a profile will take: tokens, GPU hours or minutes, memory, disk, money; nothing is run."""
    from medpsy import planning

    found = planning.plan(profile, gpu=gpu, price=price)
    print(printed_json(planning.as_json(found)) if as_json else planning.printed(found))
