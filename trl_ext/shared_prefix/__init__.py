"""A prompt that several rows share is computed once: layout, attention, and the model that upstream's methods are given.

Nothing of an upstream is replaced. A trainer hands `SharedPrefixModel` to its parent's method in the model's place; the
parent sees the logits of its own rows.
"""
