"""Multi-stage runs."""
