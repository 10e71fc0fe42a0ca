"""Generation, scoring and reports: same prompts for every model, scores with intervals, one page to read."""
