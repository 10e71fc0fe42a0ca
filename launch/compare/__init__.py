"""Scored answers against each other: trade-offs, fronts, runs, conflicts, win rates, and the page of everything."""
