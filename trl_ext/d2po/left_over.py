"""Which settings of a run file stand in the way of another mode, and the flags that take them out, all at once."""

import json
from typing import Any

from .gold.registry import takes_arguments


def flags_to_take_out(args: Any, by_gold: bool, by_discriminator: bool) -> str:
    """The flags to add to a command so that nothing but its sources of scores is left; empty where nothing is in the way.

    Args:
        args: a `D2POConfig`, which imports this module.
        by_gold: whether a gold function scores or labels.
        by_discriminator: whether a discriminator scores.
    """
    names = []
    if not by_discriminator:
        names += ["discriminator", "discriminator_url", "discriminator_first_pairs"]
    names += ["eval_gold"] if by_gold else ["gold", "max_labels"]
    flags = [f"--{name} null" for name in names if getattr(args, name) is not None]
    if args.mode == "opo" and args.labels_per_window:  # gold buys every label, a fixed reward model none
        flags.append("--labels_per_window 0")
    if flags and by_gold and not arguments_fit(args):
        flags.append("--gold_arguments null")
    return " ".join(flags)


def arguments_fit(args: Any) -> bool:
    """Whether the gold function has these arguments; True for what other checks refuse, a name or a JSON that is none."""
    try:
        return takes_arguments(args.gold or "", json.loads(args.gold_arguments or "{}"))
    except ValueError:
        return True
