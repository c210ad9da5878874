"""The commands `medpsy grade ...`: a user's own files in, scores out.

Holds no logic of its own. Imports what a command needs inside it, so that help appears at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from medpsy.cli_shared import OPTIONS, Json, OpensThinking, Profile, plainly, printed_json

grade = typer.Typer(help="Grade your own responses, or your own judges' verdicts.", **OPTIONS)


@grade.command("answers")
@plainly
def grade_answers(
    questions: Annotated[Path, typer.Option(help="JSONL: {id, question, options, gold}.")],
    responses: Annotated[Path, typer.Option(help="JSONL: {id, text, finish_reason?}.")],
    reader: Annotated[
        str, typer.Option(metavar="NAME", help="strict, lenient, first_letter, last_letter or first_or_last.")
    ] = "lenient",
    opens_thinking: OpensThinking = False,
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
    print(printed_json(graded.summary) if as_json else answers.printed_summary(graded))
    print(f"outcome of each response: {out}", file=sys.stderr)


@grade.command("healthbench")
@plainly
def grade_healthbench(
    examples: Annotated[Path, typer.Option(help="JSONL in the published schema, plain or gzipped.")],
    verdicts: Annotated[Path, typer.Option(help="JSONL: {prompt_id, criterion, criteria_met, judge?}.")],
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Ask this model of the profile first; --verdicts is then written."),
    ] = None,
    responses: Annotated[
        Path | None, typer.Option(help="With --judge. JSONL: {prompt_id, text, finish_reason?}.")
    ] = None,
    profile: Profile = "mini",
    opens_thinking: OpensThinking = False,
    as_json: Json = False,
) -> None:
    """Score verdicts on HealthBench criteria: overall, by theme and by axis; what is missing is counted and named."""
    from medpsy.grading import healthbench_summary

    if (judge is None) != (responses is None):
        raise ValueError("--judge and --responses go together: the model judges these responses")
    if judge and responses:
        from medpsy import panel, study

        files = {"examples": examples, "responses": responses, "verdicts": verdicts}
        tell = {"opens_thinking": opens_thinking, "progress": lambda line: print(line, file=sys.stderr)}
        if notes := panel.printed_notes(panel.judge_files(study.load(profile), judge, files, **tell)):
            print(notes, file=sys.stderr)
    summary = healthbench_summary.grade(examples, verdicts)
    print(printed_json(summary) if as_json else healthbench_summary.printed_summary(summary))
