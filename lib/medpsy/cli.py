"""The command `medpsy`: words on a command line turned into calls of the library, results turned into text.

Holds no logic of its own. Imports what a command needs inside it, so that help appears at once.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from medpsy import cli_deploy, cli_grade, cli_pin, cli_plan
from medpsy.cli_shared import OPTIONS, Json, Profile, plainly, printed_json

app = typer.Typer(help="MedPsy, rerun: run its notebooks and read what they found.", add_completion=False, **OPTIONS)
store = typer.Typer(help="Move, restore and count the stored responses of a profile.", **OPTIONS)
app.add_typer(cli_grade.grade, name="grade")
app.add_typer(store, name="store")
app.command()(cli_deploy.export)
app.command()(cli_deploy.convert)
app.command()(cli_deploy.chat)
app.command()(cli_plan.plan)
app.command()(cli_pin.pin)


@app.command()
@plainly
def run(
    notebook: Annotated[str, typer.Argument(help="Number or name: 01, 1 or 01_backbone_selection.")],
    profile: Profile = "mini",
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="YAML file of parameters; wins over the profile's.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="One parameter; wins over all.")
    ] = None,
) -> None:
    """Run one notebook into outputs/PROFILE/SECTION/; its result.json appears there when it is done."""
    from medpsy.run import run_notebook

    print(run_notebook(notebook, profile, file or (), parameter or ()))


@app.command()
@plainly
def audit(as_json: Json = False) -> None:
    """Recompute every published claim and print which of them disagree."""
    from medpsy import published

    print(printed_json(published.summary()) if as_json else published.printed_summary())


@store.command("export")
@plainly
def store_export(
    bundle: Annotated[Path, typer.Argument(help="File to write.")], profile: Profile = "mini", as_json: Json = False
) -> None:
    """Write all responses of a profile and its settings to one file, to be replayed where there is no model."""
    from medpsy import replay

    manifest = replay.export(bundle, profile)
    short = {"rows": manifest["rows"], "sha256": manifest["sha256"]}
    print(printed_json(short) if as_json else f"{bundle}: {manifest['rows']:,} responses, SHA-256 {manifest['sha256']}")


@store.command("replay")
@plainly
def store_replay(
    bundle: Annotated[Path, typer.Argument(help="File that `medpsy store export` wrote.")],
    profile: Profile = "mini",
    sha256: Annotated[str | None, typer.Option(help="Digest the file must have; another one is refused.")] = None,
    other_settings: Annotated[
        bool, typer.Option("--other-settings", help="Take the responses although profile or settings differ.")
    ] = False,
) -> None:
    """Add the responses of a bundle to those of a profile; `make replay` goes on from there without any model."""
    from medpsy import replay

    stored = replay.restore(bundle, profile, sha256=sha256, other_settings=other_settings).stats()
    print(f"{stored['rows']:,} responses of {len(stored['models'])} models are stored for profile {profile}")


@store.command("compare")
@plainly
def store_compare(
    bundle: Annotated[Path, typer.Argument(help="File that `medpsy store export` wrote.")], profile: Profile = "mini"
) -> None:
    """Check that the tables of a profile are, byte by byte, those of the machine that wrote the bundle."""
    from medpsy import replay

    print(f"{replay.compare(bundle, profile)} tables are byte by byte those of {bundle.name}")


@store.command("stats")
@plainly
def store_stats(profile: Profile = "mini", as_json: Json = False) -> None:
    """Count the stored responses of a profile, by model and suite."""
    stats = _store(profile).stats()
    if as_json:
        print(printed_json(stats))
        return
    print(f"{stats['rows']:,} responses, {stats['failed']:,} failed, {stats['bytes'] / 2**20:,.1f} MiB", end="")
    print(f" in {stats['shards']:,} shards, {stats['damaged']:,} damaged ones set aside")
    for name, model in stats["models"].items():
        print(f"  {name}: {model['rows']:,} responses, {model['completion_tokens']:,} tokens written")
        for suite, rows in model["suites"].items():
            print(f"    {suite}: {rows:,}")


@app.command()
@plainly
def site(profile: Profile = "mini") -> None:
    """Build the site of a profile from the records there are; prints the path of its front page."""
    from medpsy.report import site as pages

    print(pages.build(profile))


@app.command()
@plainly
def doctor(
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Look at this profile alone; default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine has, and what is missing for which profile."""
    from medpsy import doctor as examination

    found = examination.examine((profile,) if profile else None)
    print(printed_json(found) if as_json else examination.printed(found))


def _store(profile: str) -> Any:
    from medpsy import study
    from medpsy.responses import ResponseStore

    return ResponseStore(study.load(profile).store_dir)
