"""What a policy picks between two held-out answers: objectives that neither beta nor a margin's scale can inflate.

N pairs, K margins. Let d_i = [log pi - log pi_ref](chosen_i) - [log pi - log pi_ref](rejected_i) be the policy's own
ranking of pair i, and g_i the gap of some reward, chosen minus rejected. A policy that picks the answer it moved toward
collects sgn(d_i) g_i, out of at most |g_i|. The share of the reward that it picks up,

    picked = (1 + sum_i sgn(d_i) g_i / sum_i |g_i|) / 2,

is 1 when it always picks the better answer, 1/2 for the reference itself (d = 0) and 0 when it always picks the worse.
With g = 1 (the label of the trained preference) it is the ranking accuracy with ties as one half.

It reads the signs of d alone, and g up to a factor: multiplying beta or a margin changes nothing unless the policy itself
changes. The mean of z = (beta d - sum_j w_j m_j) / w_k, which trainers log as `rewards/margins`, scales with both.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from launch.tune.objective import PREFERENCE


def picked_share(policy_gaps: Sequence[float], reward_gaps: Sequence[float]) -> float:
    """Share in [0, 1] of a reward that the policy picks up, see above.

    Args:
        policy_gaps: (N,) d, in nats.
        reward_gaps: (N,) g, in any unit; higher is better.

    Returns:
        NaN when a gap is NaN.

    Raises:
        ValueError: no pairs, unequal lengths, or a reward that is the same on both sides of every pair.
    """
    d, g = np.asarray(policy_gaps, dtype=np.float64), np.asarray(reward_gaps, dtype=np.float64)
    if d.shape != g.shape or d.ndim != 1 or not d.size:
        raise ValueError(
            f"one gap of the policy and one of the reward for each pair are needed, got {d.shape} and {g.shape}"
        )
    total = np.abs(g).sum()
    if total == 0:
        raise ValueError("the reward does not differ between the answers of any held-out pair")
    return float((1 + (np.sign(d) * g).sum() / total) / 2)


def picked_shares(policy_gaps: Sequence[float], margin_gaps: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """`picked_share` of the preference, whose label is the pair's order, and of each margin.

    Args:
        policy_gaps: (N,) d.
        margin_gaps: name -> (N,), signed by role: higher is what the run pushes toward.

    Raises:
        ValueError: as `picked_share`, the margin named.
    """
    shares = {PREFERENCE: picked_share(policy_gaps, np.ones(len(policy_gaps)))}
    for name, gaps in margin_gaps.items():
        try:
            shares[name] = picked_share(policy_gaps, gaps)
        except ValueError as error:
            raise ValueError(f"margin {name!r}: {error}") from error
    return shares
