"""MODPO: what the ms-swift and the TRL trainer share (margin specifications and sources) and the TRL trainer."""
