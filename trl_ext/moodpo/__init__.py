"""MOODPO: online DPO for several objectives at once, whose weights stand in the prompt (MO-ODPO, arXiv 2503.00295)."""
