"""What a generative reward model reads and writes: pointwise prompts, and the parsers of the scores in its answers."""
