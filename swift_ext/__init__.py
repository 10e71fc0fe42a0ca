"""Preference-optimisation methods for stock ms-swift, loaded with `swift rlhf --external_plugins FILE`.

`python -m swift_ext modpo` prints the path of the plugin file. Importing this package imports nothing heavy.
"""

from pathlib import Path

# Plugin -> how the names of its settings begin in the environment.
PREFIXES = {"modpo": "MODPO_", "bt_grpo": "BT_", "pairwise_judge": "JUDGE_"}


def plugin_file(name: str) -> Path:
    """Where the plugin of a method is installed; there need be none."""
    return Path(__file__).parent / "plugins" / f"{name}.py"
