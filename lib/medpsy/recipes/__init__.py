"""Two published recipes on the study's own trainers: `medical_o1` (section 12), and `tools` with `openmed` (13)."""
