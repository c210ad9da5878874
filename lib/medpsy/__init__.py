"""What the notebooks of this project share: studies, responses, grades, statistics, claims, training, records."""
