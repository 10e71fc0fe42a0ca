"""Gold of `d2po-labels` on one GPU: a reward model that others trained on people's choices, with the texts it was trained on.

The run files' gold, `eurusrm`, reads one row at a time, and its model brings code of its own.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

NAME = "deberta"  # of `trl_ext.moodpo.specs`
ROWS_AT_ONCE = 32


@cache
def _rewards() -> Any:
    import torch

    from trl_ext.moodpo.rewards import RewardBundle, get_reward_specs

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RewardBundle(get_reward_specs([NAME]), device=device, batch_size=ROWS_AT_ONCE)


def liked(prompts: Sequence[str], responses: Sequence[str], metadata: Any = None) -> list[float]:
    """Its score of each response; the model is loaded at the first call, so that a command can be read without it."""
    return _rewards().score(list(prompts), list(responses))[:, 0].tolist()
