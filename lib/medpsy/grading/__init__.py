"""What a response says: the option that a reader finds in it, and the points that a rubric gives it."""
