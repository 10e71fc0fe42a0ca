"""Evaluation as papers report it: a multi-head reward model, conflicts, paired comparisons, win rates, one page."""
