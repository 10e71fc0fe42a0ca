"""Preference-optimisation methods for stock ms-swift, loaded with `swift rlhf --external_plugins FILE`.

`python -m swift_ext modpo` prints the path of the plugin file. Importing this package imports nothing heavy.
"""

# Plugin -> how the names of its settings begin in the environment.
PREFIXES = {"modpo": "MODPO_", "bt_grpo": "BT_", "pairwise_judge": "JUDGE_"}
