"""The published numbers: every table and claim of the report and its companion documents, and their audit.

`tables` and `table` give printed numbers, `claims` the statements made of them, `audit` sets both against each other;
`card_claims` are further statements of two model cards. Nothing here was measured by this project.
"""

from medpsy.published.audit import GRADES, audit, groups, printed, summary
from medpsy.published.claims import card_claims, claims, every_claim, recompute
from medpsy.published.tables import SUITE_TITLES, THEMES, UnknownCell, catalog, digests, read_data, table, tables
