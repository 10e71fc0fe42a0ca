"""Tuning of MODPO: an asynchronous search of several workers, each trial one training run with prefixes that are judged."""
