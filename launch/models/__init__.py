"""Checkpoints made of others: merged adapters, merged reward models, the embedded model."""
