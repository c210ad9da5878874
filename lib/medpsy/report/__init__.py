"""Ours beside published: scores with margins, tables, figures, verdicts, the record of a section, and the site.

A notebook calls these names and nothing else of the package::

    scores = report.scored(study, graded)
    table = report.closed_ended_table(study, scores, published.table("backbone_4b_closed_ended"))
    figure = report.suite_scores(scores, chance=report.chance(study))
    report.write_result("01_backbone_selection", profile=profile, title=..., tables={"scores": table}, ...)
"""

from medpsy.report.browsing import browse
from medpsy.report.compare import (
    RESOLUTION,
    VERDICTS,
    Measured,
    all_hold,
    claim,
    mode,
    pattern_verdict,
    value_verdict,
)
from medpsy.report.corpora import (
    contamination_table,
    corpora_table,
    corpus_effort_table,
    corpus_inputs,
    corpus_verdicts,
    coverage_table,
    example_table,
    funnel_table,
    teacher,
    teacher_error_table,
)
from medpsy.report.corpus_figures import row_lengths, topic_coverage
from medpsy.report.curves import training_curves
from medpsy.report.display import Figure, Table, table
from medpsy.report.extraction import differing, reader_agreement, reader_truth, reader_verdicts, truth_by_wording
from medpsy.report.figures import average_ranking, outcome_bars, reader_comparison, suite_scores
from medpsy.report.gathering import readable, readable_conversations
from medpsy.report.judge_truth import judge_truth, truth_by_axis
from medpsy.report.ledger import ledger, records
from medpsy.report.ledger import write_json as write_ledger
from medpsy.report.ledger_tables import (
    ledger_bars,
    ledger_counts,
    ledger_disagreements,
    ledger_open,
    ledger_table,
    ledger_verdicts,
)
from medpsy.report.progression import progression
from medpsy.report.remeasured import remeasured
from medpsy.report.result import Result, ResultError, read_result, write_result
from medpsy.report.rl import (
    PANELS,
    levels_figure,
    levels_table,
    rl_journal,
    rl_table,
    rl_verdicts,
    switch_table,
    switch_verdicts,
)
from medpsy.report.rubric_figures import judge_comparison, theme_scores
from medpsy.report.rubric_scores import rubric_gaps, rubric_scored
from medpsy.report.rubric_tables import (
    agreement_table,
    judge_gap_table,
    judges_table,
    scoring_table,
    theme_table,
    unjudged_table,
)
from medpsy.report.scores import best, chance, gaps, scored
from medpsy.report.section_claims import measured_claims
from medpsy.report.selecting import claim_table, inputs, panel_lead, selection, tokens
from medpsy.report.stage_claims import stage_claims
from medpsy.report.stage_figures import stage_figure
from medpsy.report.stage_tables import stage_beside, stage_table, step_table
from medpsy.report.stage_verdicts import stage_verdicts
from medpsy.report.stages import ladders
from medpsy.report.tables import beside_published, closed_ended_table, gap_table, outcome_table, reader_table
from medpsy.report.training import (
    forecast_table,
    journal,
    loss_verdicts,
    settings_table,
    template_table,
)

__all__ = [
    "PANELS",
    "levels_figure",
    "levels_table",
    "rl_journal",
    "rl_table",
    "rl_verdicts",
    "switch_table",
    "switch_verdicts",
    "contamination_table",
    "corpora_table",
    "corpus_effort_table",
    "corpus_inputs",
    "corpus_verdicts",
    "coverage_table",
    "example_table",
    "funnel_table",
    "row_lengths",
    "teacher",
    "teacher_error_table",
    "topic_coverage",
    "ladders",
    "progression",
    "stage_beside",
    "stage_claims",
    "stage_figure",
    "stage_table",
    "stage_verdicts",
    "step_table",
    "forecast_table",
    "journal",
    "loss_verdicts",
    "settings_table",
    "template_table",
    "training_curves",
    "judge_comparison",
    "theme_scores",
    "rubric_gaps",
    "rubric_scored",
    "agreement_table",
    "judge_gap_table",
    "judges_table",
    "scoring_table",
    "theme_table",
    "unjudged_table",
    "judge_truth",
    "truth_by_axis",
    "measured_claims",
    "panel_lead",
    "RESOLUTION",
    "VERDICTS",
    "Figure",
    "Measured",
    "Result",
    "ResultError",
    "Table",
    "all_hold",
    "average_ranking",
    "beside_published",
    "best",
    "browse",
    "chance",
    "claim",
    "closed_ended_table",
    "gap_table",
    "gaps",
    "ledger",
    "ledger_bars",
    "ledger_counts",
    "ledger_disagreements",
    "ledger_open",
    "ledger_table",
    "ledger_verdicts",
    "mode",
    "outcome_bars",
    "outcome_table",
    "pattern_verdict",
    "read_result",
    "readable",
    "readable_conversations",
    "records",
    "reader_comparison",
    "reader_table",
    "differing",
    "reader_agreement",
    "reader_truth",
    "reader_verdicts",
    "truth_by_wording",
    "remeasured",
    "claim_table",
    "inputs",
    "selection",
    "tokens",
    "scored",
    "suite_scores",
    "table",
    "value_verdict",
    "write_ledger",
    "write_result",
]
