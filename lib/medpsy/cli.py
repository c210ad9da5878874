"""The command `medpsy`: words on a command line turned into calls of the library, results turned into text.

Holds no logic of its own.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from typer import Argument, Option

OPTIONS = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}

Profile = Annotated[str, Option("--profile", metavar="NAME", help="smoke, mini, laptop, review or paper.")]
Json = Annotated[bool, Option("--json", help="Print JSON for a program instead of text.")]
OpensThinking = Annotated[
    bool, Option("--opens-thinking", help="The template wrote <think>: text without </think> is no answer.")
]
Bundle = Annotated[Path, Argument(help="File that `medpsy store export` wrote.")]


class Late:
    """A module of the library, imported when something of it is first used, so that help appears at once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(f"medpsy.{self._name}"), attribute)


bundles, exports, examination, grading, published, studies = map(
    Late, ("bundle", "export", "doctor", "grade", "published", "study")
)


class Plain(typer.core.TyperGroup):
    """Ends a command with the message of an expected error; MEDPSY_DEBUG=1 shows where it came from."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except (ValueError, OSError, RuntimeError) as error:
            if os.environ.get("MEDPSY_DEBUG"):
                raise
            print(f"medpsy: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Plain, help="MedPsy, rerun: run notebooks and read what they found.", add_completion=False, **OPTIONS
)
grade = typer.Typer(help="Grade your own responses, or your own judges' verdicts.", **OPTIONS)
store = typer.Typer(help="Move, restore and count the stored responses of a profile.", **OPTIONS)
app.add_typer(grade, name="grade")
app.add_typer(store, name="store")


def show(data: object, as_json: bool, text: Any) -> None:
    """Print `data` as JSON, or what `text` makes of it."""
    print(json.dumps(data, ensure_ascii=False, indent=1) if as_json else text(data))


@app.command()
def export(
    stage: Annotated[str, Option(help="Stage of training: sft1, sft2, rl1 or rl2.")] = "rl2",
    size: Annotated[str, Option(help="Size class of the study, e.g. large.")] = "large",
    variant: Annotated[str | None, Option(help="GGUF format, e.g. Q4_K_M; default: safetensors.")] = None,
    profile: Profile = "mini",
    out: Annotated[Path | None, Option(help="Folder; default: in outputs/PROFILE/export/.")] = None,
) -> None:
    """Leave a trained model as a folder that llama.cpp or transformers runs, with a card and a quickstart."""
    print(exports.export(studies.load(profile), stage=stage, size=size, variant=variant, out=out))


@app.command()
def convert(
    point: Annotated[Path, Argument(help="checkpoint-N of a training of yours, or the folder of an adapter.")],
    out: Annotated[Path, Argument(help="New folder.")],
    parent: Annotated[Path, Option(help="Folder of the model that the training started from.")],
) -> None:
    """Turn a resume point of a training, or an adapter, into a folder of safetensors that transformers loads."""
    print(Late("training.save").convert(point, out, parent=parent))


@app.command()
def chat(
    model: Annotated[str, Argument(help="Exported folder, or model or checkpoint of the profile.")],
    profile: Profile = "mini",
) -> None:
    """Talk to a model in llama.cpp's llama-cli, which takes the place of this process."""
    notice, command = exports.chat_command(model, lambda: studies.load(profile))
    print(notice, flush=True)
    os.execv(command[0], command)


@app.command()
def plan(
    profile: Profile = "mini",
    gpu: Annotated[str | None, Option(help="Kind of GPU, e.g. H100; default: the profile's own.")] = None,
    price: Annotated[float | None, Option(metavar="DOLLARS", help="Of one GPU hour; default: a usual one.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a profile will take: tokens, GPU hours or minutes, memory, disk, money; nothing is run."""
    planning = Late("planning.plan")
    forecast = planning.forecast(profile, gpu=gpu, price=price)
    show(planning.as_json(forecast), as_json, lambda _: planning.printed(forecast))


@app.command()
def pin(
    profile: Profile = "review",
    check: Annotated[bool, Option("--check", help="Only list what has no commit; asks no network.")] = False,
) -> None:
    """Write the newest commits of hub models and data sets into the files of a profile, where none is named."""
    if check:
        loose = examination.unpinned(studies.load(profile))
        print(*loose, f"{len(loose)} without a commit in profile {profile}", sep="\n")
        return
    written, refused = examination.pin(profile)
    print(*written, f"{len(written)} written", *refused, f"{len(refused)} refused", sep="\n")
    if refused:
        raise typer.Exit(1)


@app.command()
def run(
    notebook: Annotated[str, Argument(help="Number or name: 01, 1 or 01_backbone_selection.")],
    profile: Profile = "mini",
    file: Annotated[list[Path] | None, Option("-f", "--file", help="YAML file; wins over the profile's.")] = None,
    parameter: Annotated[list[str] | None, Option("-p", "--parameter", help="NAME=VALUE; wins over all.")] = None,
    so_far: Annotated[bool, Option("--so-far", help="Ask nothing; show what is answered so far.")] = False,
) -> None:
    """Run one notebook into outputs/PROFILE/SECTION/; its result.json appears there when it is done."""
    print(Late("run").run_notebook(notebook, profile, file or (), parameter or (), so_far=so_far))


@app.command()
def audit(as_json: Json = False) -> None:
    """Recompute every published claim and print which of them disagree."""
    show(published.summary(), as_json, published.printed)


@store.command("export")
def store_export(bundle: Annotated[Path, Argument(help="File to write.")], profile: Profile = "mini") -> None:
    """Write all responses of a profile and its settings to one file, to be replayed where there is no model."""
    manifest = bundles.export(bundle, profile)
    print(f"{bundle}: {manifest['rows']:,} responses, SHA-256 {manifest['sha256']}")


@store.command("replay")
def store_replay(
    bundle: Bundle,
    profile: Profile = "mini",
    sha256: Annotated[str | None, Option(help="Digest the file must have; another one is refused.")] = None,
    other_settings: Annotated[bool, Option("--other-settings", help="Although profile or settings differ.")] = False,
) -> None:
    """Add the responses of a bundle to those of a profile; `make replay` goes on from there without any model."""
    stored = bundles.restore(bundle, profile, sha256=sha256, other_settings=other_settings).stats()
    rows, models = stored["rows"].sum(), stored.index.unique("model")
    print(f"{rows:,} responses of {len(models)} models are stored for profile {profile}")


@store.command("compare")
def store_compare(
    bundle: Annotated[Path, Argument(help="File that `medpsy store export` wrote, or a folder of records.")],
    profile: Profile = "mini",
) -> None:
    """List the tables of a profile that, numbers to six digits, are not those of the machine that wrote the bundle.

    Given a folder of records (<section>.json), list every number, status and sentence that differs from them.
    """
    apart = bundles.differences(bundle, profile)
    for value in apart:
        print(f"{value.place}: {value.there!r} there, {value.here!r} here")
    print(f"{len(apart)} values differ from those in {bundle.name}")
    raise typer.Exit(bool(apart))


@store.command("stats")
def store_stats(profile: Profile = "mini") -> None:
    """Count the stored responses of a profile, by model and suite; prints JSON."""
    stats = Late("store").ResponseStore(studies.load(profile).store_dir).stats()
    print(stats.reset_index().to_json(orient="records", indent=1))


@app.command()
def settle(
    claim: Annotated[str, Argument(help="Published claim, e.g. P183, or finding of a section, e.g. F701.")],
    profile: Profile = "mini",
    budget: Annotated[str | None, Option(metavar="TIME", help="2h, 30m or 90s; default: until it is decided.")] = None,
    size: Annotated[str | None, Option(help="Size class that a finding is about, e.g. large.")] = None,
    batch: Annotated[
        int | None, Option(help="Questions until the first look, more where engines start slowly; default: 50.")
    ] = None,
    gpu: Annotated[str | None, Option(help="GPU to price the tokens on, e.g. H100; default: a usual one.")] = None,
    as_json: Json = False,
) -> None:
    """Ask both models that a claim compares, batch after batch, until it is decided or the time is up."""
    settling = Late("settle")
    options = {"size": size, "budget": budget, "gpu": gpu} | ({"batch": batch} if batch is not None else {})
    tell = {"progress": lambda line: print(line, file=sys.stderr)}
    settled = settling.settle(studies.load(profile), claim, **options, **tell)
    show(settling.as_json(settled) if as_json else settled, as_json, settling.printed)


@app.command()
def site(profile: Profile = "mini") -> None:
    """Build the site of a profile from the records there are; prints the path of its front page."""
    print(Late("site.build").build(profile))


@app.command()
def keep() -> None:
    """Put the outputs of profile mini's last run into the notebooks, its responses and what faults cost beside them."""
    print(*Late("keep").keep(), Late("faults").write_page(), sep="\n")


@app.command()
def fault(
    name: Annotated[str | None, Argument(help="Which one; without it all are listed.")] = None,
    profile: Profile = "mini",
    solve: Annotated[bool, Option("--solve", help="Show the lines that it changes; nothing is run.")] = False,
    page: Annotated[bool, Option("--page", help="Plant each on the kept responses and write the page of all.")] = False,
) -> None:
    """Plant a fault that a real project shipped into a copy of a notebook, and say what it costs."""
    faults = Late("faults")

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    if page and (name or solve):
        raise ValueError("--page is of all faults; leave out the name and --solve")
    if page:
        print(faults.write_page(say))
    elif name is None:
        print(faults.listed())
    elif solve:
        print(faults.solution(name))
    else:
        print(faults.printed(name, faults.measure([name], profile, say=say)[name], profile))


@app.command()
def doctor(
    profile: Annotated[str | None, Option(help="Look at this profile alone; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine has, and what is missing for which profile."""
    show(examination.examine((profile,) if profile else None), as_json, examination.printed)


@grade.command("answers")
def grade_answers(
    questions: Annotated[Path, Option(help="JSONL: {id, question, options, gold}.")],
    responses: Annotated[Path, Option(help="JSONL: {id, text, finish_reason?}.")],
    reader: Annotated[str, Option(help="strict, lenient, first_letter, last_letter or first_or_last.")] = "lenient",
    opens_thinking: OpensThinking = False,
    out: Annotated[Path | None, Option(help="Outcome of each response, JSONL; default: in outputs/answers/.")] = None,
    as_json: Json = False,
) -> None:
    """Grade your own saved responses: correct, wrong, unreadable, cut off or failed, each counted apart."""
    rows, summary = grading.answers(questions, responses, reader=reader, opens_thinking=opens_thinking)
    out = out or studies.find_root() / "outputs" / "answers" / f"{responses.name.partition('.')[0]}.{reader}.jsonl"
    Late("files").write_text(out, Late("data.rows").written(rows))
    show(summary, as_json, grading.printed_answers)
    print(f"outcome of each response: {out}", file=sys.stderr)


@grade.command("healthbench")
def grade_healthbench(
    examples: Annotated[Path, Option(help="JSONL in the published schema, plain or gzipped.")],
    verdicts: Annotated[Path, Option(help="JSONL: {prompt_id, criterion, criteria_met, judge?}.")],
    judge: Annotated[
        str | None,
        Option(metavar="MODEL", help="Ask it first, a model of the profile; --verdicts is then written."),
    ] = None,
    responses: Annotated[Path | None, Option(help="With --judge. JSONL: {prompt_id, text, finish_reason?}.")] = None,
    profile: Profile = "mini",
    opens_thinking: OpensThinking = False,
    as_json: Json = False,
) -> None:
    """Score verdicts on HealthBench criteria: overall, by theme and by axis; what is missing is counted and named."""
    if (judge is None) != (responses is None):
        raise ValueError("--judge and --responses go together: the model judges these responses")
    if judge and responses:
        tell = {"opens_thinking": opens_thinking, "progress": lambda line: print(line, file=sys.stderr)}
        problems = grading.judge_files(studies.load(profile), judge, examples, responses, verdicts, **tell)
        for line in grading.printed_problems(problems):
            print(line, file=sys.stderr)
    show(grading.healthbench(examples, verdicts), as_json, grading.printed_healthbench)
