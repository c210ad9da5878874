"""The published numbers: every table and claim of the report and its companion documents, and their audit.

`tables` and `table` give printed numbers, `claims` the statements made of them, `audit` sets both against each other;
`card_claims` are further statements of two model cards.
Nothing here runs a model, and nothing here was measured by this project.
"""

from medpsy.published.auditing import GRADES, Audit, audit
from medpsy.published.cards import CardClaim, card_claims
from medpsy.published.cells import SUITE_TITLES, THEMES, UnknownCell, catalog, digests, table, tables
from medpsy.published.claim import Claim, Recomputed, claims, recompute
from medpsy.published.overview import printed_summary, summary

__all__ = [
    "GRADES",
    "SUITE_TITLES",
    "THEMES",
    "Audit",
    "CardClaim",
    "Claim",
    "Recomputed",
    "UnknownCell",
    "audit",
    "card_claims",
    "catalog",
    "claims",
    "digests",
    "printed_summary",
    "recompute",
    "summary",
    "table",
    "tables",
]
