"""Preference-optimisation methods for stock TRL, and the mathematics that the ms-swift side shares.

Importing this package imports nothing heavy; submodules load when they are used.
"""
