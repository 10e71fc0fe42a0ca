"""Prompts in, answers out: readers, policies, back ends, sampling, and the records that everything else reads."""
