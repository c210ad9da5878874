"""``python -m medpsy``: the command `medpsy` where its script is not on PATH."""

from medpsy.cli import app

app(prog_name="medpsy")
