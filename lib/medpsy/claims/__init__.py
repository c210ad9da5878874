"""What we measured set against what was published: scores and replicates, claims and findings, the ledger.

A notebook calls::

    replicates = claims.draws(study, graded, judged, judges=claims.judge_names(judge_columns))
    measured = claims.measure(study, "01_backbone_selection", replicates, plays=..., judges=..., scopes=...)
    record.claims(measured.claims, measured.findings)
"""

from medpsy.claims.draws import AVERAGE, LEAST, Draws, closed_items, drawn, draws, length_items, no_draws
from medpsy.claims.ledger import ledger, plans
from medpsy.claims.measure import (
    KINDS,
    NOT_TESTABLE,
    OPEN,
    STATUSES,
    Places,
    all_hold,
    cells,
    entry,
    judge_names,
    known,
    measure,
    played,
    printed,
    sign_status,
    status,
    unchanged_status,
    value_status,
)
