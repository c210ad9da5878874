"""The command `medpsy pin`: commits of the hub for what a profile reads from there.

Holds no logic of its own. Imports what a command needs inside it, so that help appears at once.
"""

from dataclasses import asdict
from typing import Annotated

import typer

from medpsy.cli_shared import Json, Profile, plainly, printed_json


@plainly
def pin(
    profile: Profile = "review",
    check: Annotated[bool, typer.Option("--check", help="Only list what has no commit; asks no network.")] = False,
    as_json: Json = False,
) -> None:
    """Write the newest commits of hub models and data sets into the files of a profile, where none is named."""
    from medpsy import pins

    if check:
        found = pins.unpinned(profile)
        lines = [*map(str, found), f"{len(found)} without a commit in profile {profile}"]
        print(printed_json([asdict(one) for one in found]) if as_json else "\n".join(lines))
        return
    from medpsy import pinning

    done = pinning.pin(profile)
    parts = {"written": done.written, "refused": done.refused}
    if as_json:
        rows = {name: [asdict(one) | {"said": said} for one, said in part.items()] for name, part in parts.items()}
        print(printed_json(rows))
    else:
        for name, part in parts.items():
            print("\n".join([*(f"{name}: {one}: {said}" for one, said in part.items()), f"{len(part)} {name}"]))
    if done.refused:
        raise typer.Exit(1)
