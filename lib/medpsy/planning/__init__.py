"""What a profile will cost before anything runs, and what the report's own budget follows from.

A command or a notebook calls these names and nothing else of the package::

    found = planning.plan("paper", gpu="H100", price=2.5)
    print(planning.printed(found))

Runs nothing, asks no model and downloads nothing. Costs per unit are data, in ``costs.yaml`` and ``models.csv``.
"""

from medpsy.planning.costs import digests
from medpsy.planning.plans import Plan, Row, plan, stage_hours
from medpsy.planning.printing import as_json, printed

__all__ = ["Plan", "Row", "as_json", "digests", "plan", "printed", "stage_hours"]
