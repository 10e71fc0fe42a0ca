"""Scores and reasons from a teacher behind an API: collected, kept, and read back as rows for supervised training."""
