"""Preference-optimisation methods for stock ms-swift, loaded with `swift rlhf --external_plugins FILE`.

`python -m swift_ext modpo` prints the path of the plugin file. Importing this package imports nothing heavy.
"""
