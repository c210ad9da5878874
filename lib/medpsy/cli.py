"""The command `medpsy`: words on a command line turned into calls of the library, results turned into text.

Holds no logic of its own. Imports what a command needs inside it, so that help appears at once.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

OPTIONS = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
app = typer.Typer(help="MedPsy, rerun: run its notebooks and read what they found.", add_completion=False, **OPTIONS)
grade = typer.Typer(help="Grade responses without running a model.", **OPTIONS)
store = typer.Typer(help="Move, restore and count the stored responses of a profile.", **OPTIONS)
app.add_typer(grade, name="grade")
app.add_typer(store, name="store")

Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="smoke, mini, review or paper.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of text.")]


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

    print(_json(published.summary()) if as_json else published.printed_summary())


@grade.command("answers")
@plainly
def grade_answers(
    questions: Annotated[Path, typer.Option(help="JSONL: {id, question, options, gold}.")],
    responses: Annotated[Path, typer.Option(help="JSONL: {id, text, finish_reason?}.")],
    reader: Annotated[
        str, typer.Option(metavar="NAME", help="strict, lenient, first_letter, last_letter or first_or_last.")
    ] = "lenient",
    opens_thinking: Annotated[
        bool,
        typer.Option("--opens-thinking", help="The chat template wrote <think>: text without </think> is no answer."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Outcome of each response, JSONL; default: in outputs/answers/.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade your own saved responses: correct, wrong, unreadable, cut off or failed, each counted apart."""
    from medpsy import study
    from medpsy.grading import answers

    graded = answers.grade(questions, responses, reader=reader, opens_thinking=opens_thinking)
    out = out or study.ROOT / "outputs" / "answers" / f"{responses.name.partition('.')[0]}.{reader}.jsonl"
    answers.write_rows(graded, out)
    print(_json(graded.summary) if as_json else answers.printed_summary(graded))
    print(f"outcome of each response: {out}", file=sys.stderr)


@store.command("export")
@plainly
def store_export(
    bundle: Annotated[Path, typer.Argument(help="File to write.")], profile: Profile = "mini", as_json: Json = False
) -> None:
    """Write all responses of a profile to one file, to be replayed where there is no model."""
    manifest = _store(profile).export(bundle)
    short = {"rows": manifest["rows"], "sha256": manifest["sha256"]}
    print(_json(short) if as_json else f"{bundle}: {manifest['rows']:,} responses, SHA-256 {manifest['sha256']}")


@store.command("replay")
@plainly
def store_replay(
    bundle: Annotated[Path, typer.Argument(help="File that `medpsy store export` wrote.")],
    profile: Profile = "mini",
    sha256: Annotated[str | None, typer.Option(help="Digest the file must have; another one is refused.")] = None,
) -> None:
    """Add the responses of a bundle to those of a profile; `make report` then needs no model for them."""
    from medpsy import study
    from medpsy.responses import ResponseStore

    stored = ResponseStore.replay(bundle, study.load(profile).store_dir, sha256=sha256).stats()
    print(f"{stored['rows']:,} responses of {len(stored['models'])} models are stored for profile {profile}")


@store.command("stats")
@plainly
def store_stats(profile: Profile = "mini", as_json: Json = False) -> None:
    """Count the stored responses of a profile, by model and suite."""
    stats = _store(profile).stats()
    if as_json:
        print(_json(stats))
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
    print(_json(found) if as_json else examination.printed(found))


def _store(profile: str) -> Any:
    from medpsy import study
    from medpsy.responses import ResponseStore

    return ResponseStore(study.load(profile).store_dir)


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1)
