"""Evaluation and diagnostics of a generative reward model: one score a reply, one comparison a pair."""
