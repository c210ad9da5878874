"""Ours beside published: scores with margins, tables, figures, verdicts, the record of a section, and the site.

A notebook calls these names and nothing else of the package::

    scores = report.scored(study, graded)
    table = report.closed_ended_table(study, scores, published.table("backbone_4b_closed_ended"))
    figure = report.suite_scores(scores, chance=report.chance(study))
    report.write_result("01_backbone_selection", profile=profile, title=..., tables={"scores": table}, ...)
"""

from medpsy.report.browsing import browse
from medpsy.report.budget import (
    Assumed,
    anchor_table,
    cluster_table,
    memory_table,
    parallelism_table,
    throughput_table,
)
from medpsy.report.budget_claims import budget_claims, budget_verdicts
from medpsy.report.budget_figure import sensitivity_figure
from medpsy.report.budget_forecast import forecast_beside, forecast_verdicts, forecasts, utilization_table
from medpsy.report.budget_hours import hours_table, printed_hours, sensitivity, teacher_table
from medpsy.report.budget_run import amounts_table, restart_table, run_verdicts, runs_table, stored_rows, teacher_runs
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
from medpsy.report.compared import compared_costs, compared_figure, compared_table, compared_verdicts, require_methods
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
from medpsy.report.harness import card_claims, card_table, handling_table
from medpsy.report.judge_ranks import judge_rank_table, judge_verdict, unjudged_verdict
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
from medpsy.report.length_claims import length_claims
from medpsy.report.length_draws import length_draws
from medpsy.report.length_figures import frontier_figure, length_bars
from medpsy.report.length_tables import (
    efficiency_table,
    frontier,
    frontier_table,
    length_table,
    outcome_lengths,
    parts_table,
)
from medpsy.report.length_verdicts import length_verdicts
from medpsy.report.main_claims import main_claims
from medpsy.report.main_draws import main_draws
from medpsy.report.main_figures import main_figures
from medpsy.report.main_gains import gain_table, main_gains
from medpsy.report.main_models import main_models, size_classes
from medpsy.report.main_tables import main_beside, main_boards, main_tables
from medpsy.report.main_verdicts import main_verdicts
from medpsy.report.method_claims import gspo_claims
from medpsy.report.method_figure import method_curves
from medpsy.report.method_found import Methods
from medpsy.report.method_tables import (
    adapter_table,
    attack_table,
    form_table,
    held_out_table,
    methods_table,
    response_table,
    stability_table,
)
from medpsy.report.method_verdicts import method_verdicts
from medpsy.report.openmed import calls_table, fused_figure, fused_table, pairs_table, recipe_table
from medpsy.report.openmed_claims import CardEvidence, card_pattern, recipe_claims
from medpsy.report.openmed_lengths import step_lengths
from medpsy.report.progression import progression
from medpsy.report.quantized import quantized
from medpsy.report.quantized_claims import quantized_claims
from medpsy.report.quantized_costs import (
    budget_table,
    file_table,
    loss_table,
    recommended,
    size_table,
    size_verdict,
    speed_table,
)
from medpsy.report.quantized_figure import quantized_figure
from medpsy.report.quantized_tables import imatrix_table, ratio_table, same_size_table, score_table
from medpsy.report.quantized_verdicts import quantized_verdicts
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
from medpsy.report.side_by_side import both_protocols
from medpsy.report.stage_claims import stage_claims
from medpsy.report.stage_figures import stage_figure
from medpsy.report.stage_tables import stage_beside, stage_table, step_table
from medpsy.report.stage_verdicts import stage_verdicts
from medpsy.report.stages import ladders
from medpsy.report.tables import beside_published, closed_ended_table, gap_table, outcome_table, reader_table
from medpsy.report.trained import fill_cards, retrained, training_spread
from medpsy.report.training import (
    forecast_table,
    journal,
    loss_verdicts,
    settings_table,
    template_table,
)

__all__ = [
    "PANELS",
    "RESOLUTION",
    "VERDICTS",
    "Assumed",
    "CardEvidence",
    "Figure",
    "Measured",
    "Methods",
    "Result",
    "ResultError",
    "Table",
    "adapter_table",
    "agreement_table",
    "all_hold",
    "amounts_table",
    "anchor_table",
    "attack_table",
    "average_ranking",
    "beside_published",
    "best",
    "both_protocols",
    "browse",
    "budget_claims",
    "budget_table",
    "budget_verdicts",
    "calls_table",
    "card_claims",
    "card_pattern",
    "card_table",
    "chance",
    "claim",
    "claim_table",
    "closed_ended_table",
    "cluster_table",
    "compared_costs",
    "compared_figure",
    "compared_table",
    "compared_verdicts",
    "contamination_table",
    "corpora_table",
    "corpus_effort_table",
    "corpus_inputs",
    "corpus_verdicts",
    "coverage_table",
    "differing",
    "efficiency_table",
    "example_table",
    "file_table",
    "fill_cards",
    "forecast_beside",
    "forecast_table",
    "forecast_verdicts",
    "forecasts",
    "form_table",
    "frontier",
    "frontier_figure",
    "frontier_table",
    "funnel_table",
    "fused_figure",
    "fused_table",
    "gain_table",
    "gap_table",
    "gaps",
    "gspo_claims",
    "handling_table",
    "held_out_table",
    "hours_table",
    "imatrix_table",
    "inputs",
    "journal",
    "judge_comparison",
    "judge_gap_table",
    "judge_rank_table",
    "judge_truth",
    "judge_verdict",
    "judges_table",
    "ladders",
    "ledger",
    "ledger_bars",
    "ledger_counts",
    "ledger_disagreements",
    "ledger_open",
    "ledger_table",
    "ledger_verdicts",
    "length_bars",
    "length_claims",
    "length_draws",
    "length_table",
    "length_verdicts",
    "levels_figure",
    "levels_table",
    "loss_table",
    "loss_verdicts",
    "main_beside",
    "main_boards",
    "main_claims",
    "main_draws",
    "main_figures",
    "main_gains",
    "main_models",
    "main_tables",
    "main_verdicts",
    "measured_claims",
    "memory_table",
    "method_curves",
    "method_verdicts",
    "methods_table",
    "mode",
    "outcome_bars",
    "outcome_lengths",
    "outcome_table",
    "pairs_table",
    "panel_lead",
    "parallelism_table",
    "parts_table",
    "pattern_verdict",
    "printed_hours",
    "progression",
    "quantized",
    "quantized_claims",
    "quantized_figure",
    "quantized_verdicts",
    "ratio_table",
    "read_result",
    "readable",
    "readable_conversations",
    "reader_agreement",
    "reader_comparison",
    "reader_table",
    "reader_truth",
    "reader_verdicts",
    "recipe_claims",
    "recipe_table",
    "recommended",
    "records",
    "remeasured",
    "require_methods",
    "response_table",
    "restart_table",
    "retrained",
    "rl_journal",
    "rl_table",
    "rl_verdicts",
    "row_lengths",
    "rubric_gaps",
    "rubric_scored",
    "run_verdicts",
    "runs_table",
    "same_size_table",
    "score_table",
    "scored",
    "scoring_table",
    "selection",
    "sensitivity",
    "sensitivity_figure",
    "settings_table",
    "size_classes",
    "size_table",
    "size_verdict",
    "speed_table",
    "stability_table",
    "stage_beside",
    "stage_claims",
    "stage_figure",
    "stage_table",
    "stage_verdicts",
    "step_lengths",
    "step_table",
    "stored_rows",
    "suite_scores",
    "switch_table",
    "switch_verdicts",
    "table",
    "teacher",
    "teacher_error_table",
    "teacher_runs",
    "teacher_table",
    "template_table",
    "theme_scores",
    "theme_table",
    "throughput_table",
    "tokens",
    "topic_coverage",
    "training_curves",
    "training_spread",
    "truth_by_axis",
    "truth_by_wording",
    "unjudged_table",
    "unjudged_verdict",
    "utilization_table",
    "value_verdict",
    "write_ledger",
    "write_result",
]
